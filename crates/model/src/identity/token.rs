//! What tokens were issued for, and revoked tokens.

use crate::{ApplicationCredentialId, RevocationId, Timestamp, TrustId, record};

/// The proof that a token was issued for. It bounds the roles that the token has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// The user's own: a password, or a token that came of one.
    Own,
    /// An application credential.
    ApplicationCredential(ApplicationCredentialId),
    /// A trust of another user.
    Trust(TrustId),
}

record! {
    /// A token that was revoked before it expired.
    pub struct Revocation: RevocationId {
        /// When the token would have expired. After that, the record can go.
        pub expires_at: Timestamp,
    }
}
