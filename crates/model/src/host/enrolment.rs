//! Enrolment: the certificates of each host, and the join tokens for a host's first certificate.

use crate::{EnrolmentId, JoinTokenId, Timestamp, index::Indexed, record};
use serde::{Deserialize, Serialize};

/// A certificate that was issued to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its serial number, in hex.
    pub serial: String,
    /// When it expires.
    pub expires_at: Timestamp,
}

record! {
    /// An enrolled host, under its name. Only the certificates named here speak for the host. Removing the record,
    /// or a certificate from it, is the revocation.
    pub struct Enrolment: EnrolmentId {
        /// The host's latest certificate.
        pub current: Issued,
        /// The previous certificate, valid until it expires: the answer with the newer certificate may have been
        /// lost, and requests may be under way.
        #[serde(default)]
        pub previous: Option<Issued>,
    }
}

record! {
    /// A token that admits one host. Its secret is not stored; the id is the secret's digest.
    pub struct JoinToken: JoinTokenId {
        /// The only host name that the token is valid for; `None` for any name not in use.
        #[serde(default)]
        pub host_name: Option<String>,
        /// Whether the new host replaces an enrolled host of the same name.
        #[serde(default)]
        pub replaces: bool,
        /// When it expires.
        pub expires_at: Timestamp,
        /// The use of the token; `None` if it is unused.
        #[serde(default)]
        pub used: Option<Use>,
    }
}

/// The use of a token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The host that it admitted.
    pub host_name: String,
    /// SHA-256 of that host's public key, in hex. A host with the same key may ask again, because an answer can be
    /// lost.
    pub key_sha256: String,
}

/// The longest host name: the limit of a certificate's common name.
pub const HOST_NAME_MAX: usize = 64;

/// True if the name is valid in a certificate and as a host name: letters, digits, `-`, `_` and single dots.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        fits && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') && label.len() < 64
    };
    // With digits alone in the last label, the name would be read as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= HOST_NAME_MAX && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl Enrolment {
    /// The certificate with this serial number, if it speaks for the host.
    pub fn certificate(&self, serial: &str) -> Option<&Issued> {
        std::iter::once(&self.current).chain(&self.previous).find(|issued| issued.serial == serial)
    }
}

impl Indexed for Enrolment {}
impl Indexed for JoinToken {}

#[cfg(test)]
mod tests {
    use super::is_host_name;

    #[test]
    fn names_are_those_that_a_certificate_can_carry() {
        for good in ["rack-1", "a", "Rack_1.example.org", "sim-0001", "9c2.a1", &"a".repeat(63)] {
            assert!(is_host_name(good), "{good}");
        }
        let long = "a.".repeat(40);
        for bad in ["", ".", "a..b", "-a", "a-", "a b", "ü", "10.0.0.1", "7", "a\n", "*.a", &long] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }
}
