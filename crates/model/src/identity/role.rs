//! Roles, and the roles that they imply.

use crate::{DomainId, RoleId, RoleInferenceId, policy::RoleLevel, record};

record! {
    /// A role.
    pub struct Role: RoleId {
        /// Unique in the cloud (or in its domain).
        pub name: String,
        /// The domain of a domain-specific role. Such a role gives no right by itself, and is in no token: only the
        /// roles that it implies count.
        #[serde(default)]
        pub domain_id: Option<DomainId>,
        /// For people.
        #[serde(default)]
        pub description: Option<String>,
    }
}

record! {
    /// The rule that who has one role has another role too. The chain of the default roles is no record.
    pub struct RoleInference: RoleInferenceId {
        /// The role that implies the other.
        pub prior_role_id: RoleId,
        /// The implied role.
        pub implied_role_id: RoleId,
    }
}

impl Role {
    /// The level of the policy that the role gives.
    pub fn level(&self) -> RoleLevel {
        match self.domain_id {
            None => RoleLevel::of(&self.name),
            Some(_) => RoleLevel::None,
        }
    }
}

impl RoleInferenceId {
    /// The id of the rule that `prior` implies `implied`.
    pub fn of(prior: RoleId, implied: RoleId) -> Self {
        format!("{prior}/{implied}").as_str().into()
    }
}
