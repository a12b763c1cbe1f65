//! The content of a cloud's certificate: its holder, its role and its end. TLS judges whether a certificate is
//! genuine.

use crate::hex;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use lenticular_model::Timestamp;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The bytes of a certificate in PEM; `None` if the text is not one certificate.
pub fn certificate_bytes(text: &str) -> Option<Vec<u8>> {
    let inner = text.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?;
    let inner = inner.strip_suffix("-----END CERTIFICATE-----")?;
    let plain: String = inner.split_whitespace().collect();
    let bytes = STANDARD.decode(plain).ok()?;
    let (rest, _) = X509Certificate::from_der(&bytes).ok()?;
    rest.is_empty().then_some(())?;
    Some(bytes)
}

/// The role of a certificate's bearer. The role stands in the subject's organizational unit. So a host with the
/// control plane's name still does not pass for the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A host's agent.
    Host,
    /// The control plane, to agents.
    ControlPlane,
    /// A database that hosts connect to.
    Database,
}

impl Role {
    /// The organizational unit.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::ControlPlane => "control-plane",
            Self::Database => "database",
        }
    }

    fn of(unit: &str) -> Option<Self> {
        [Self::Host, Self::ControlPlane, Self::Database].into_iter().find(|role| role.unit() == unit)
    }
}

/// The content of a cloud's certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The common name: the host's.
    pub name: String,
    /// The bearer's role.
    pub role: Role,
    /// The serial number, in hex.
    pub serial: String,
    /// The start of its validity.
    pub not_before: Timestamp,
    /// The end of its validity.
    pub not_after: Timestamp,
}

/// The bytes are not a certificate of the cloud's form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not a certificate from a cloud's CA: {0}")]
pub struct BadCertificate(String);

impl Certificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// The certificate is malformed, or lacks a name or a role.
    pub fn read(der: &[u8]) -> Result<Self, BadCertificate> {
        let bad = |why: &str| BadCertificate(why.to_owned());
        let (_, read) = X509Certificate::from_der(der).map_err(|e| BadCertificate(e.to_string()))?;
        let subject = read.subject();
        let name = subject.iter_common_name().next().and_then(|name| name.as_str().ok());
        let unit = subject.iter_organizational_unit().next().and_then(|unit| unit.as_str().ok());
        Ok(Self {
            name: name.ok_or_else(|| bad("it has no name"))?.to_owned(),
            role: unit.and_then(Role::of).ok_or_else(|| bad("it does not say what its bearer is"))?,
            serial: hex(read.raw_serial()),
            not_before: Timestamp(read.validity().not_before.timestamp().saturating_mul(1_000_000)),
            not_after: Timestamp(read.validity().not_after.timestamp().saturating_mul(1_000_000)),
        })
    }

    /// When the certificate must be replaced: at two thirds of its life. The last third is for an absence of the
    /// other side.
    pub fn renew_at(&self) -> Timestamp {
        let life_ms = self.not_after.since_ms(self.not_before);
        self.not_before.plus_ms(life_ms / 3 * 2)
    }

    /// Whether the certificate has expired.
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now >= self.not_after
    }
}
