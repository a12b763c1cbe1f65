//! Enrolment on the wire: the token that a host joins with, and the exchange of a request for a certificate.
//!
//! ```text
//! POST /agent/v1/enrol     EnrolRequest → EnrolAnswer    without a client certificate: the token authenticates
//! POST /agent/v1/renew     RenewRequest → EnrolAnswer    with the certificate that the answer replaces
//! ```

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The beginning of a token; the digit is the version of the format.
const FORM: &str = "lenticular-join-1";

/// A token that enrols one host. As text: `lenticular-join-1.<CA's SHA-256>.<secret>`, both in URL-safe base64.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// SHA-256 of the certificate of the cloud's CA: the host recognizes the control plane by it, before it has
    /// the CA's certificate.
    pub ca_sha256: [u8; 32],
    /// The secret: the control plane recognizes the host by it.
    pub secret: [u8; 32],
}

/// The text is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is no join token: one looks like {FORM}.….… and is printed by `lenticular host enrol`; copy it whole"
)]
pub struct BadToken;

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        write!(f, "{FORM}.{}.{}", text(self.ca_sha256), text(self.secret))
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secret must not get into logs.
        f.debug_struct("JoinToken").field("ca_sha256", &self.ca_sha256).finish_non_exhaustive()
    }
}

impl FromStr for JoinToken {
    type Err = BadToken;

    fn from_str(text: &str) -> Result<Self, BadToken> {
        let mut parts = text.trim().split('.');
        let form = parts.next();
        let mut bytes =
            || -> Option<[u8; 32]> { URL_SAFE_NO_PAD.decode(parts.next()?).ok()?.try_into().ok() };
        let (ca_sha256, secret) = (bytes().ok_or(BadToken)?, bytes().ok_or(BadToken)?);
        (form == Some(FORM) && parts.next().is_none()).then_some(Self { ca_sha256, secret }).ok_or(BadToken)
    }
}

/// A host's request to enrol.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolRequest {
    /// The agent's protocol version.
    pub version: u32,
    /// The requested name.
    pub host_name: String,
    /// The token, as text.
    pub token: String,
    /// A PKCS #10 certificate request in PEM. It counts only for its public key, and as proof that the host has
    /// the private key.
    pub request: String,
}

/// A host's request for a new certificate, sent with the current certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewRequest {
    /// See [`EnrolRequest::request`]; the key is a new one.
    pub request: String,
}

/// A host's new identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolAnswer {
    /// Its certificate, in PEM.
    pub certificate: String,
    /// The CA's, in PEM.
    pub ca: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_what_it_shows_and_nothing_else() {
        let token = JoinToken { ca_sha256: [1; 32], secret: [254; 32] };
        let text = token.to_string();
        assert_eq!(text.parse(), Ok(token.clone()));
        assert_eq!(format!(" {text}\n").parse(), Ok(token.clone()));
        assert!(!format!("{token:?}").contains("254"));
        let short = &text[..text.len() - 1];
        let other = text.replace("-1.", "-2.");
        for bad in ["", "lenticular-join-1", short, &other, &format!("{text}.x")] {
            assert_eq!(bad.parse::<JoinToken>(), Err(BadToken), "{bad}");
        }
    }
}
