//! Trusts: a user lets another act with some of its roles in a project.

use crate::{ProjectId, RoleId, Timestamp, TrustId, UserId, record};

record! {
    /// A trust.
    pub struct Trust: TrustId {
        /// The user whose roles they are.
        pub trustor_user_id: UserId,
        /// The user who may use them.
        pub trustee_user_id: UserId,
        /// The project of its tokens.
        pub project_id: ProjectId,
        /// The roles of its tokens. A trustor who has lost one of them has ended the trust.
        pub role_ids: Vec<RoleId>,
        /// True if its tokens are the trustor's, false if they are the trustee's.
        pub impersonation: bool,
        /// When it ends; `None` never.
        #[serde(default)]
        pub expires_at: Option<Timestamp>,
    }
}

impl Trust {
    /// The user of its tokens.
    pub fn user(&self) -> UserId {
        if self.impersonation { self.trustor_user_id } else { self.trustee_user_id }
    }
}
