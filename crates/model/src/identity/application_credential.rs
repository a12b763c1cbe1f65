//! Application credentials: secrets with which programs log in as their user, in one project, with some roles.

use crate::{AccessRuleId, ApplicationCredentialId, ProjectId, RoleId, Timestamp, UserId, record};

record! {
    /// An application credential.
    pub struct ApplicationCredential: ApplicationCredentialId {
        /// The user who made it. Its tokens are tokens of this user.
        pub user_id: UserId,
        /// The project of its tokens.
        pub project_id: ProjectId,
        /// Unique for its user.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: Option<String>,
        /// An argon2id hash of the secret in PHC form.
        pub secret_hash: String,
        /// The roles of its tokens, as far as the user still has them.
        pub role_ids: Vec<RoleId>,
        /// When it ends; `None` never.
        #[serde(default)]
        pub expires_at: Option<Timestamp>,
        /// True if its tokens may manage application credentials and trusts.
        #[serde(default)]
        pub unrestricted: bool,
        /// The requests that its tokens allow; empty allows all.
        #[serde(default)]
        pub access_rule_ids: Vec<AccessRuleId>,
    }
}
