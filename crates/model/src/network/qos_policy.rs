//! QoS policies: bandwidth limits and packet marks of ports, networks and floating IPs (Neutron's noun).

use crate::{
    Owned, ProjectId, QosPolicyId, QosRuleId, Scoped, State,
    error::Error,
    network::{
        rbac_policy::{RbacAction, RbacObject},
        security_group::Direction,
    },
    policy::{Action, Caller},
    record,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// The content of a rule of a QoS policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum QosRuleKind {
    /// An upper limit of the bandwidth.
    BandwidthLimit {
        /// Kilobits in a second.
        max_kbps: u32,
        /// Burst in kilobits; 0 for the driver's default.
        max_burst_kbps: u32,
        /// The direction, seen from the guest.
        direction: Direction,
    },
    /// Outgoing packets carry this mark.
    DscpMarking {
        /// The mark (RFC 2474).
        dscp_mark: u8,
    },
    /// A guaranteed bandwidth.
    MinimumBandwidth {
        /// Kilobits in a second.
        min_kbps: u32,
        /// The direction, seen from the guest.
        direction: Direction,
    },
}

/// A rule of a QoS policy. A policy has at most one rule of each kind and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QosRule {
    /// Its id.
    pub id: QosRuleId,
    /// The content of the rule.
    #[serde(flatten)]
    pub kind: QosRuleKind,
}

record! {
    /// A QoS policy with its rules.
    pub struct QosPolicy: QosPolicyId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// True shows it to every project.
        #[serde(default)]
        pub shared: bool,
        /// True for the project's default policy: new networks without a policy get it.
        #[serde(default)]
        pub is_default: bool,
        /// Its rules.
        #[serde(default)]
        pub rules: Vec<QosRule>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl Scoped for QosPolicy {
    fn missing(id: impl Display) -> Error {
        Error::not_found_text(format!("QoS policy {id} could not be found.")).coded("QosPolicyNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.rbac_allows(caller, RbacObject::QosPolicy(self.id), RbacAction::AccessAsShared)
    }
}

impl Owned for QosPolicy {
    const WRITE: Action = Action::QosPolicyWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
