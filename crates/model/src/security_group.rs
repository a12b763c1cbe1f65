//! Security groups and their rules: what traffic reaches and leaves a port (Neutron's nouns).

use crate::{record, AddressGroupId, ProjectId, SecurityGroupId, SecurityGroupRuleId};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

record! {
    /// A security group.
    pub struct SecurityGroup: SecurityGroupId {
        /// Its project.
        pub project_id: ProjectId,
        /// `default` once in each project.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False filters without connection tracking.
        pub stateful: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

/// Which way traffic goes, seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the guest.
    Ingress,
    /// From the guest.
    Egress,
}

/// Whom a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    /// Everyone.
    Any,
    /// Addresses in this range, which may be written with bits beyond its prefix.
    Range(IpNet),
    /// Ports in this group.
    Group(SecurityGroupId),
    /// Addresses that this address group lists.
    AddressGroup(AddressGroupId),
}

record! {
    /// A rule: traffic that it matches is let through.
    pub struct SecurityGroupRule: SecurityGroupRuleId {
        /// Its group.
        pub security_group_id: SecurityGroupId,
        /// Its project.
        pub project_id: ProjectId,
        /// Which way.
        pub direction: Direction,
        /// 4 or 6.
        pub ip_version: u8,
        /// `tcp`, `udp`, a number, …; `None` for all.
        #[serde(default)]
        pub protocol: Option<String>,
        /// The lowest port, or the ICMP type.
        #[serde(default)]
        pub port_range_min: Option<u32>,
        /// The highest port, or the ICMP code.
        #[serde(default)]
        pub port_range_max: Option<u32>,
        /// Whom it is about.
        pub remote: Remote,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}
