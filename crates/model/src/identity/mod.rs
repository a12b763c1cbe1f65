//! Who may ask: domains, projects, users, roles and who holds which role where (Keystone's nouns).

use crate::{record, AssignmentId, DomainId, ProjectId, RevocationId, RoleId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

record! {
    /// A domain: a name space for users and projects.
    pub struct Domain: DomainId {
        /// Unique in the cloud.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False shuts out everyone in it.
        pub enabled: bool,
        /// Tokens issued before are void, because it was disabled then.
        #[serde(default)]
        pub tokens_void_before: Timestamp,
    }
}

record! {
    /// A project (tenant): what owns servers, networks and images.
    pub struct Project: ProjectId {
        /// Its domain.
        pub domain_id: DomainId,
        /// Unique in its domain.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False shuts out everyone in it.
        pub enabled: bool,
        /// Tokens issued before are void, because it was disabled then.
        #[serde(default)]
        pub tokens_void_before: Timestamp,
        /// Its parent project; `None` directly under the domain.
        #[serde(default)]
        pub parent_id: Option<ProjectId>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Attributes of its creator's own, shown back as they came.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

record! {
    /// A user.
    pub struct User: UserId {
        /// Its domain.
        pub domain_id: DomainId,
        /// Unique in its domain.
        pub name: String,
        /// An argon2id hash in PHC form; `None` cannot log in by password.
        #[serde(default)]
        pub password_hash: Option<String>,
        /// Since when the password holds; tokens issued earlier are void.
        #[serde(default)]
        pub password_changed_at: Timestamp,
        /// False shuts the user out.
        pub enabled: bool,
        /// The project a token without a scope falls to.
        #[serde(default)]
        pub default_project_id: Option<ProjectId>,
        /// Attributes of its creator's own (`email`, `description`), shown back as they came.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}

record! {
    /// A role.
    pub struct Role: RoleId {
        /// Unique in the cloud (or in its domain).
        pub name: String,
        /// The domain of a domain-specific role.
        #[serde(default)]
        pub domain_id: Option<DomainId>,
        /// For people.
        #[serde(default)]
        pub description: Option<String>,
    }
}

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

record! {
    /// A token that was revoked before its time.
    pub struct Revocation: RevocationId {
        /// When the token would have expired, and this record may go.
        pub expires_at: Timestamp,
    }
}
