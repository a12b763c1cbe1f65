//! Enrolment: which certificates speak for which host, and the tokens by which hosts get their first.

use crate::{index::Indexed, record, EnrolmentId, JoinTokenId, Timestamp};
use serde::{Deserialize, Serialize};

/// A certificate that was issued to a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Its serial number, in hex.
    pub serial: String,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

record! {
    /// A host that was let in, under its name. Only the certificates named here speak for it: removing the record, or
    /// a certificate from it, is the revocation.
    pub struct Enrolment: EnrolmentId {
        /// The certificate that it got last.
        pub current: Issued,
        /// The one before, which counts until it expires: the answer that brought the newer may have been lost, and
        /// what is under way goes on.
        #[serde(default)]
        pub previous: Option<Issued>,
    }
}

record! {
    /// A token that lets one host in. Its secret is kept nowhere; the id is its digest.
    pub struct JoinToken: JoinTokenId {
        /// The only name that it is good for; `None` for any that nobody has.
        #[serde(default)]
        pub host_name: Option<String>,
        /// Whether a host that has the name already is replaced.
        #[serde(default)]
        pub replaces: bool,
        /// Until when it can be used.
        pub expires_at: Timestamp,
        /// Who used it, if anybody did.
        #[serde(default)]
        pub used: Option<Use>,
    }
}

/// How a token was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Use {
    /// The host that it let in.
    pub host_name: String,
    /// SHA-256 of that host's public key, in hex. The same key may ask again: an answer can be lost.
    pub key_sha256: String,
}

/// The longest name: what the common name of a certificate holds.
pub const HOST_NAME_MAX: usize = 64;

/// True if a certificate can carry the name and others can ask for it: letters, digits, `-`, `_` and single dots.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let fits = !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
        fits && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') && label.len() < 64
    };
    // A last label of digits alone would be read as an address.
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= HOST_NAME_MAX && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl Enrolment {
    /// The issued certificate of this serial, if it speaks for the host.
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
