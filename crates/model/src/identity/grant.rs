//! Role assignments: the roles of users on projects, domains and the system.

use crate::{AssignmentId, DomainId, ProjectId, RoleId, UserId, record};
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

record! {
    /// A user's role on a target.
    pub struct RoleAssignment: AssignmentId {
        /// The user who has the role.
        pub user_id: UserId,
        /// The role.
        pub role_id: RoleId,
        /// The target of the role.
        pub target: Target,
    }
}
