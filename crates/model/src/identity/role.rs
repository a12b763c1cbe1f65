//! Roles.

use crate::{DomainId, RoleId, record};

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
