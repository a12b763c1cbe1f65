//! Security groups and their rules: the traffic that reaches and leaves a port (Neutron's nouns).

use crate::{
    AddressGroupId, Owned, ProjectId, Scoped, SecurityGroupId, SecurityGroupRuleId, State,
    error::Error,
    network::rbac_policy::{RbacAction, RbacObject},
    policy::{Action, Caller},
    record,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

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

/// The direction of traffic, seen from the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the guest.
    Ingress,
    /// From the guest.
    Egress,
}

/// The remote side of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remote {
    /// All addresses.
    Any,
    /// Addresses in this range. The range may have bits beyond its prefix.
    Range(IpNet),
    /// Ports in this group.
    Group(SecurityGroupId),
    /// Addresses that this address group lists.
    AddressGroup(AddressGroupId),
}

record! {
    /// A rule: it permits the traffic that it matches.
    pub struct SecurityGroupRule: SecurityGroupRuleId {
        /// Its group.
        pub security_group_id: SecurityGroupId,
        /// Its project.
        pub project_id: ProjectId,
        /// The direction.
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
        /// The remote side.
        pub remote: Remote,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

/// The protocols that rules name, and their numbers. `ip` is every protocol.
const PROTOCOLS: &[(&str, u8)] = &[
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", 1),
    ("icmpv6", 58),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
    ("vrrp", 112),
];

/// The number of a protocol, given by name or number; `None` if there is none.
pub fn protocol_number(said: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(name, _)| *name == said).map(|(_, number)| *number);
    named.or_else(|| said.parse().ok())
}

impl Scoped for SecurityGroup {
    fn missing(id: impl Display) -> Error {
        Error::not_found_text(format!("Security group {id} does not exist")).coded("SecurityGroupNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.rbac_allows(caller, RbacObject::SecurityGroup(self.id), RbacAction::AccessAsShared)
    }
}

impl Owned for SecurityGroup {
    const WRITE: Action = Action::SecurityGroupWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}

impl Scoped for SecurityGroupRule {
    fn missing(id: impl Display) -> Error {
        Error::not_found_text(format!("Security group rule {id} does not exist"))
            .coded("SecurityGroupRuleNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        let group = state.security_groups.get(&self.security_group_id);
        caller.sees(self.project_id) || group.is_some_and(|group| group.visible_to(state, caller))
    }
}

impl Owned for SecurityGroupRule {
    const WRITE: Action = Action::SecurityGroupWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
