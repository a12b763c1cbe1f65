//! Tokens that were revoked.

use crate::{record, RevocationId, Timestamp};

record! {
    /// A token that was revoked before its time.
    pub struct Revocation: RevocationId {
        /// When the token would have expired, and this record may go.
        pub expires_at: Timestamp,
    }
}
