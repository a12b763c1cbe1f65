//! Revoked tokens.

use crate::{record, RevocationId, Timestamp};

record! {
    /// A token that was revoked before it expired.
    pub struct Revocation: RevocationId {
        /// When the token would have expired. After that, the record can go.
        pub expires_at: Timestamp,
    }
}
