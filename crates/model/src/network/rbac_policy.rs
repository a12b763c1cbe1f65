//! RBAC policies: a project's permissions for other projects to use its objects (Neutron's noun).

use crate::{
    AddressGroupId, AddressScopeId, NetworkId, Owned, ProjectId, QosPolicyId, RbacPolicyId, Scoped,
    SecurityGroupId, State, SubnetPoolId,
    error::Error,
    policy::{Action, Caller},
    record,
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

/// The way in which others may use an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RbacAction {
    /// Like an own object, but without the right to change it.
    AccessAsShared,
    /// As an external network.
    AccessAsExternal,
}

/// The projects that may use an object.
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
    /// An RBAC policy. A policy for everyone always agrees with the object's `shared` or `external`.
    pub struct RbacPolicy: RbacPolicyId {
        /// Its project.
        pub project_id: ProjectId,
        /// The object that others may use.
        pub object: RbacObject,
        /// The way in which they may use it.
        pub action: RbacAction,
        /// The projects that may.
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
