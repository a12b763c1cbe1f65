//! Role assignments: the roles of users and groups on projects, domains and the system.

use crate::{AssignmentId, DomainId, GroupId, ProjectId, RoleId, UserId, record};
use serde::{Deserialize, Serialize};

/// The target of a role assignment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// In one project.
    Project(ProjectId),
    /// On one domain.
    Domain(DomainId),
    /// On the whole cloud.
    System,
}

/// The holder of a role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Actor {
    /// A user.
    #[serde(rename = "user_id")]
    User(UserId),
    /// A group: each of its users has the role.
    #[serde(rename = "group_id")]
    Group(GroupId),
}

record! {
    /// A user's or group's role on a target.
    pub struct RoleAssignment: AssignmentId {
        /// The holder of the role, as the field `user_id` or `group_id`.
        #[serde(flatten)]
        pub actor: Actor,
        /// The role.
        pub role_id: RoleId,
        /// The target of the role.
        pub target: Target,
        /// True if the role does not hold on the target itself, but on all projects below it (`OS-INHERIT`).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub inherited: bool,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_assignment_reads_what_an_older_release_wrote() {
        let id = |n: u8| UserId::from_random([n; 16]).to_string();
        let old = json!({
            "id": id(1), "created_at": 7, "user_id": id(2), "role_id": id(3), "target": {"project": id(4)}, "new": 1,
        });
        let read: RoleAssignment = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(read.actor, Actor::User(UserId::from_random([2; 16])));
        assert!(!read.inherited);
        assert_eq!(serde_json::to_value(&read).unwrap(), old);
        let of_group =
            RoleAssignment { actor: Actor::Group(GroupId::from_random([5; 16])), inherited: true, ..read };
        let written = serde_json::to_value(&of_group).unwrap();
        assert_eq!((&written["group_id"], &written["inherited"]), (&json!(id(5)), &json!(true)));
        assert_eq!(serde_json::from_value::<RoleAssignment>(written).unwrap(), of_group);
    }
}
