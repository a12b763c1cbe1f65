//! TLS with agents: the control plane's certificates, issued as needed, and the check of agents' certificates.

use crate::app::{App, Clock};
use lenticular_model::{
    Lock, Timestamp,
    error::{Error, Result},
};
use lenticular_wire::certificate::{Certificate, Role};
use rcgen::KeyPair;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::{
        NoServerSessionStorage, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};
use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// How long a handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The peer of an agent's connection.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its certificate: genuine, but perhaps expired or revoked. `None` without a certificate.
    pub certificate: Option<Certificate>,
    /// The peer's address.
    pub from: SocketAddr,
}

/// The control plane's side of TLS with agents.
pub struct AgentTls {
    app: App,
    names: Vec<String>,
    provider: Arc<CryptoProvider>,
    judge: Arc<HostJudge>,
    key: KeyPair,
    /// One configuration for each of the machine's addresses that agents connected to.
    held: Lock<HashMap<IpAddr, Held>>,
}

#[derive(Clone)]
struct Held {
    config: Arc<ServerConfig>,
    renew_at: Timestamp,
}

impl AgentTls {
    /// TLS for a control plane that agents reach by these names, and by any address of the machine.
    ///
    /// # Errors
    /// The system gives no randomness, or a certificate cannot carry a name.
    pub fn new(app: App, names: Vec<String>) -> Result<Self> {
        let provider = Arc::new(ring::default_provider());
        let judge = Arc::new(HostJudge::new(app.authority.certificate(), &provider)?);
        let key = KeyPair::generate().map_err(Error::internal)?;
        let tls = Self { app, names, provider, judge, key, held: Lock::default() };
        // A name that a certificate cannot carry fails the start, not the first agent's connection.
        tls.config(IpAddr::from([127, 0, 0, 1]))?;
        Ok(tls)
    }

    /// Does the handshake. `None` if it failed; the log says why.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        local: IpAddr,
        from: SocketAddr,
    ) -> Option<(TlsStream<S>, Shown)> {
        let config = self
            .config(local)
            .map_err(|error| tracing::error!(%error, "no certificate for an agent's connection"))
            .ok()?;
        let shaken = tokio::time::timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(config).accept(stream)).await;
        let stream = match shaken {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::info!(%from, %error, "a connection to the agents' listener failed");
                return None;
            }
            Err(_) => {
                tracing::debug!(%from, "a connection to the agents' listener said nothing");
                return None;
            }
        };
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        // The verifier accepted the certificate, so it can be read.
        let certificate = shown.and_then(|der| Certificate::read(der).ok());
        Some((stream, Shown { certificate, from }))
    }

    /// The configuration for connections to one address of the machine. The certificate is replaced before it
    /// expires.
    fn config(&self, local: IpAddr) -> Result<Arc<ServerConfig>> {
        let now = (self.app.clocks.machine)();
        let mut held = self.held.lock();
        if let Some(held) = held.get(&local.to_canonical()).filter(|held| now < held.renew_at) {
            return Ok(held.config.clone());
        }
        let fresh = self.make(local.to_canonical(), now)?;
        held.insert(local.to_canonical(), fresh.clone());
        Ok(fresh.config)
    }

    fn make(&self, local: IpAddr, now: Timestamp) -> Result<Held> {
        let mut names = self.names.clone();
        names.push(local.to_string());
        if local.is_loopback() {
            names.push("localhost".to_owned());
        }
        let certificate = self.app.authority.issue_server(&names, &self.key, now)?;
        let renew_at = Certificate::read(&certificate).map_err(Error::internal)?.renew_at();
        // The CA's certificate is sent along: a joining host knows only its fingerprint.
        let chain = vec![certificate, self.app.authority.certificate().clone()];
        let key = PrivateKeyDer::Pkcs8(self.key.serialize_der().into());
        let time = Arc::new(ClockTime(self.app.clocks.machine.clone()));
        let mut config = ServerConfig::builder_with_details(self.provider.clone(), time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(Error::internal)?
            .with_client_cert_verifier(self.judge.clone())
            .with_single_cert(chain, key)
            .map_err(Error::internal)?;
        // Every connection must show a certificate: sessions are not resumed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Held { config: Arc::new(config), renew_at })
    }
}

/// A clock in the form that TLS needs.
struct ClockTime(Clock);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        Some(unix((self.0)()))
    }
}

fn unix(at: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.unix_s()).unwrap_or(0)))
}

/// Checks agents' certificates. Every genuine host certificate passes, even an expired one. Expired and revoked
/// certificates are refused later, request by request, where the answer can say why.
#[derive(Debug)]
struct HostJudge {
    inner: Arc<dyn ClientCertVerifier>,
}

impl HostJudge {
    fn new(ca: &CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(Error::internal)?;
        let inner = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(Error::internal)?;
        Ok(Self { inner })
    }
}

impl ClientCertVerifier for HostJudge {
    fn client_auth_mandatory(&self) -> bool {
        // A joining host has no certificate yet.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        use rustls::Error::InvalidCertificate;
        let bad = || InvalidCertificate(CertificateError::ApplicationVerificationFailure);
        let read = Certificate::read(shown).map_err(|_| bad())?;
        if read.role != Role::Host {
            return Err(bad());
        }
        match self.inner.verify_client_cert(shown, chain, now) {
            Err(InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
                self.inner.verify_client_cert(shown, chain, unix(read.not_after))
            }
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
