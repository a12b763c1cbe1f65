//! Public keys that users give to their servers (Nova's keypairs).

use crate::{KeypairId, UserId, record};

/// The type of OpenSSH's keys.
pub const SSH: &str = "ssh";

/// The type of certificates.
pub const X509: &str = "x509";

record! {
    /// A public key under a name that is unique for its user.
    pub struct Keypair: KeypairId {
        /// The user who owns it.
        pub user_id: UserId,
        /// Its name.
        pub name: String,
        /// `ssh` or `x509`.
        pub key_type: String,
        /// In OpenSSH's one-line form, or a certificate in PEM.
        pub public_key: String,
        /// In colon-separated hex, as Nova shows it: the MD5 of a key, or the SHA-1 of a certificate.
        pub fingerprint: String,
        /// A number for old clients.
        pub number: u64,
    }
}

impl KeypairId {
    /// The id of a user's keypair of this name.
    pub fn of(user: UserId, name: &str) -> Self {
        format!("{user}/{name}").as_str().into()
    }
}
