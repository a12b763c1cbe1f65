//! Users, who log in.

use crate::{DomainId, ProjectId, Timestamp, UserId, record};
use std::collections::BTreeMap;

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
        /// The project of a token without a scope.
        #[serde(default)]
        pub default_project_id: Option<ProjectId>,
        /// Attributes that the user's creator chose (`email`, `description`), shown back as they came.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}
