//! Role assignments: who holds which role where.

use crate::{record, AssignmentId, DomainId, ProjectId, RoleId, UserId};
use serde::{Deserialize, Serialize};

/// Where a role holds.
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
    /// A user holds a role somewhere.
    pub struct RoleAssignment: AssignmentId {
        /// Who holds it.
        pub user_id: UserId,
        /// Which role.
        pub role_id: RoleId,
        /// Where.
        pub target: Target,
    }
}
