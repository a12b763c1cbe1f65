//! RBAC policies: what a project allows others to use (Neutron's noun).

use crate::{
    error::Error,
    policy::{Action, Caller},
    record, AddressGroupId, AddressScopeId, NetworkId, Owned, ProjectId, QosPolicyId, RbacPolicyId, Scoped,
    SecurityGroupId, State, SubnetPoolId,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// The object that others may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "type", content = "id", rename_all = "snake_case")]
pub enum RbacObject {
    /// A network.
    Network(NetworkId),
    /// A QoS policy.
    QosPolicy(QosPolicyId),
    /// A security group.
    SecurityGroup(SecurityGroupId),
    /// An address scope.
    AddressScope(AddressScopeId),
    /// A subnet pool.
    #[serde(rename = "subnetpool")]
    SubnetPool(SubnetPoolId),
    /// An address group.
    AddressGroup(AddressGroupId),
}

/// As what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RbacAction {
    /// As if it were the project's own, but for changing it.
    AccessAsShared,
    /// As a way out of the cloud.
    AccessAsExternal,
}

/// By whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RbacTarget {
    /// Every project.
    #[serde(rename = "*")]
    Everyone,
    /// One project.
    #[serde(untagged)]
    Project(ProjectId),
}

record! {
    /// An RBAC policy. Those for everyone stand beside the object's own `shared` or `external`, and say the same.
    pub struct RbacPolicy: RbacPolicyId {
        /// Its project.
        pub project_id: ProjectId,
        /// The object that others may use.
        pub object: RbacObject,
        /// As what.
        pub action: RbacAction,
        /// By whom.
        pub target: RbacTarget,
    }
}

impl Scoped for RbacPolicy {
    fn missing(id: impl Display) -> Error {
        Error::not_found_text(format!("RBAC policy {id} could not be found.")).coded("RbacPolicyNotFound")
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        let target = caller.project_id().map(RbacTarget::Project);
        caller.sees(self.project_id) || (caller.may_read() && target == Some(self.target))
    }
}

impl Owned for RbacPolicy {
    const WRITE: Action = Action::RbacWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_and_targets_are_written_in_neutrons_words() {
        let project = ProjectId::from_random([3; 16]);
        assert_eq!(text(&RbacTarget::Everyone), "\"*\"");
        assert_eq!(text(&RbacTarget::Project(project)), format!("\"{project}\""));
        assert!(text(&RbacObject::SubnetPool(SubnetPoolId::default())).contains("\"subnetpool\""));
        for target in [RbacTarget::Everyone, RbacTarget::Project(project)] {
            assert_eq!(serde_json::from_str::<RbacTarget>(&text(&target)).unwrap(), target);
        }
        assert!(serde_json::from_str::<RbacTarget>("\"somebody\"").is_err());
    }

    fn text(value: &impl Serialize) -> String {
        serde_json::to_string(value).unwrap()
    }
}
