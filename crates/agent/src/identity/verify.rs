//! Checks the certificates that servers show to agents.

use lenticular_wire::{
    certificate::{Certificate, Role},
    tls::Judge,
};
use rustls::{
    CertificateError, Error, OtherError, RootCertStore,
    client::{VerifierBuilderError, WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use sha2::{Digest, Sha256};
use std::{io, sync::Arc};

/// The expected kind of server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    /// The host with exactly the expected name.
    Host,
    /// The control plane, at any name or address.
    ControlPlane,
}

impl Expect {
    fn not_it(self) -> Mismatch {
        Mismatch::OtherRole(match self {
            Self::Host => "a host",
            Self::ControlPlane => "the control plane",
        })
    }
}

/// Why a server is not the expected server, and what to do.
#[derive(Debug, thiserror::Error)]
enum Mismatch {
    #[error(
        "its certificate was not issued by this cloud's CA. Another cloud answers at this address, or \
         something intercepts the connection"
    )]
    OtherCa,
    #[error(
        "the control plane there did not make this token. The token is from another cloud, or something \
         intercepts the connection"
    )]
    OtherThanToken,
    #[error(
        "its certificate is not for {0}. Join by a name it has, or start the control plane with --agent-name {0}"
    )]
    OtherAddress(String),
    #[error("it is not the host {0}")]
    OtherHost(String),
    #[error("its certificate is not that of {0}")]
    OtherRole(&'static str),
    #[error("its certificate expired. Look at its agent and at the clocks of both")]
    Expired,
}

impl From<Mismatch> for Error {
    fn from(mismatch: Mismatch) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(mismatch))))
    }
}

/// Checks servers by a known CA.
#[derive(Debug)]
pub(super) struct Known {
    servers: Arc<WebPkiServerVerifier>,
    /// Hosts have client certificates, even where their agents are servers.
    hosts: Arc<dyn ClientCertVerifier>,
    expect: Expect,
}

impl Known {
    pub(super) fn new(
        roots: Arc<RootCertStore>,
        provider: &Arc<CryptoProvider>,
        expect: Expect,
    ) -> Result<Self, VerifierBuilderError> {
        let servers = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build()?;
        let hosts = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).build()?;
        Ok(Self { servers, hosts, expect })
    }

    /// Explains a refusal in this context.
    fn explain(&self, error: Error, asked: &str) -> Error {
        let Error::InvalidCertificate(reason) = &error else { return error };
        match reason {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Mismatch::OtherAddress(asked.to_owned()).into()
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                self.expect.not_it().into()
            }
            // All clouds give their CA the same name, so a wrong signature shows another cloud's CA.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Mismatch::OtherCa.into(),
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Mismatch::Expired.into(),
            _ => error,
        }
    }
}

impl Judge for Known {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let asked = name.to_str().into_owned();
        let genuine = match self.expect {
            Expect::Host => self.hosts.verify_client_cert(certificate, &[], now).map(drop),
            Expect::ControlPlane => {
                self.servers.verify_server_cert(certificate, &[], name, &[], now).map(drop)
            }
        };
        genuine.map_err(|error| self.explain(error, &asked))?;
        let read = Certificate::read(certificate)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        match (self.expect, read.role) {
            // TLS compares names as DNS does; hosts' names must be exactly equal.
            (Expect::Host, Role::Host) if read.name == asked => Ok(()),
            (Expect::Host, Role::Host) => Err(Mismatch::OtherHost(asked).into()),
            (Expect::ControlPlane, Role::ControlPlane) => Ok(()),
            _ => Err(self.expect.not_it().into()),
        }
    }
}

/// Why the server is not the expected server, if that ended a handshake.
fn mismatch(error: &io::Error) -> Option<String> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::InvalidCertificate(CertificateError::Other(OtherError(why))) => Some(why.to_string()),
        Error::InvalidCertificate(why) => Some(why.to_string()),
        _ => None,
    }
}

/// The same error in plain words.
pub(super) fn plain(error: io::Error) -> io::Error {
    match mismatch(&error) {
        Some(why) => io::Error::new(io::ErrorKind::PermissionDenied, why),
        None => error,
    }
}

/// Checks the control plane at first contact, by the digest of its CA's certificate, which the server sends
/// along.
#[derive(Debug)]
pub(super) struct Pinned {
    provider: Arc<CryptoProvider>,
    ca_sha256: [u8; 32],
}

impl Pinned {
    pub(super) fn new(provider: Arc<CryptoProvider>, ca_sha256: [u8; 32]) -> Self {
        Self { provider, ca_sha256 }
    }
}

impl Judge for Pinned {
    fn judge(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let pinned = chain.iter().find(|ca| <[u8; 32]>::from(Sha256::digest(ca)) == self.ca_sha256);
        let mut roots = RootCertStore::empty();
        roots.add(pinned.ok_or(Mismatch::OtherThanToken)?.clone().into_owned())?;
        let known = Known::new(Arc::new(roots), &self.provider, Expect::ControlPlane)
            .map_err(|error| Error::General(error.to_string()))?;
        known.judge(certificate, chain, name, now)
    }
}
