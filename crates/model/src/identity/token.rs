//! Revoked tokens.

use crate::{RevocationId, Timestamp, record};

record! {
    /// A token that was revoked before it expired.
    pub struct Revocation: RevocationId {
        /// When the token would have expired. After that, the record can go.
        pub expires_at: Timestamp,
    }
}
