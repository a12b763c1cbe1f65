//! The host's identity in the cloud: its key and certificate, and TLS with the control plane and other hosts.
//!
//! ```text
//!             join (a token)             two thirds of its life are over
//!   nothing ────────────────▶ identity ⟲ ────────────────────────────────  replaced, without a restart
//!                                 │
//!                                 └── expired or revoked ──▶ join again
//! ```
//!
//! An [`Identity`]'s acceptors and connectors follow the rotation: even an old one shows the newest certificate
//! at each handshake.

mod join;
mod saved;
#[cfg(test)]
pub(crate) mod test_ca;
#[cfg(test)]
mod tests;
mod verify;

pub use join::{Joining, join};
pub(crate) use join::{certificate_request, new_key};
pub(crate) use saved::{Pem, home};

use lenticular_model::{Lock, Timestamp};
use lenticular_wire::{
    certificate::{Certificate, Role},
    enrol::EnrolAnswer,
    tls::{Judge, Verifier},
};
use rcgen::KeyPair;
use rustls::{
    ClientConfig, CommonState, RootCertStore, ServerConfig, SignatureScheme,
    client::ResolvesClientCert,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
    time_provider::TimeProvider,
};
use saved::Saved;
use std::{
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};
use verify::{Expect, Known};

/// How long connecting to a peer and the handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The source of the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Why a host has no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The identity's file cannot be used.
    #[error("the identity {path} cannot be used: {why}. {remedy}")]
    Unusable {
        /// The file.
        path: String,
        /// What is wrong.
        why: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The certificate has expired.
    #[error(
        "the certificate of this host, {name}, expired at {at}. Enrol it again: make a token with `lenticular host \
         enrol {name} --replace`, and start the agent with --token"
    )]
    Expired {
        /// The host.
        name: String,
        /// The time of expiry.
        at: String,
    },
    /// The URL is not a control plane's.
    #[error("'{0}' is not where a control plane takes agents; it looks like https://10.0.0.1:9171")]
    BadUrl(String),
    /// The control plane did not answer.
    #[error("the control plane at {at} cannot be joined: {why}")]
    Unreachable {
        /// The address.
        at: String,
        /// The error.
        why: String,
    },
    /// The server that answered cannot be trusted.
    #[error("what answers at {at} cannot be trusted: {why}")]
    Untrusted {
        /// The address.
        at: String,
        /// The reason.
        why: String,
    },
    /// The control plane refused.
    #[error("the control plane refused (status {status}): {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its message.
        message: String,
    },
    /// The answer cannot be understood.
    #[error("the control plane's answer cannot be used: {0}")]
    Nonsense(String),
    /// Keys or certificates could not be handled.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

impl IdentityError {
    fn tls(error: impl fmt::Display) -> Self {
        Self::Tls(error.to_string())
    }
}

/// A host's identity. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Identity(Arc<Parts>);

struct Parts {
    clock: Clock,
    /// The directory of the identity's files, if it is saved.
    home: Option<PathBuf>,
    provider: Arc<CryptoProvider>,
    ca: CertificateDer<'static>,
    shown: Arc<Shown>,
    acceptor: TlsAcceptor,
    to_hosts: TlsConnector,
    to_control_plane: TlsConnector,
}

/// The current certificate for handshakes.
struct Shown(Lock<Arc<Present>>);

struct Present {
    certified: Arc<CertifiedKey>,
    certificate: Certificate,
    saved: Saved,
}

impl Identity {
    /// The identity in a state directory, if there is one.
    ///
    /// # Errors
    /// The identity cannot be used.
    pub fn load(state_dir: &Path, clock: Clock) -> Result<Option<Self>, IdentityError> {
        let home = saved::home(state_dir);
        let Some(saved) = Saved::read(&home)? else { return Ok(None) };
        // After a crash these files may be missing.
        saved.write_pem(&home)?;
        Self::of(saved, Some(home), clock).map(Some)
    }

    /// Prepares TLS for a saved identity.
    fn of(saved: Saved, home: Option<PathBuf>, clock: Clock) -> Result<Self, IdentityError> {
        let provider = Arc::new(ring::default_provider());
        let ca = CertificateDer::from_pem_slice(saved.ca.as_bytes()).map_err(IdentityError::tls)?;
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone()).map_err(IdentityError::tls)?;
        let roots = Arc::new(roots);
        let shown = Arc::new(Shown(Lock::new(Arc::new(present(saved, &provider)?))));
        let connector = |expect| -> Result<TlsConnector, IdentityError> {
            let judge = Known::new(roots.clone(), &provider, expect).map_err(IdentityError::tls)?;
            let mut config =
                client_config(&provider, &clock, judge)?.with_client_cert_resolver(shown.clone());
            (config.enable_sni, config.resumption) = (false, rustls::client::Resumption::disabled());
            Ok(Arc::new(config).into())
        };
        let (to_hosts, to_control_plane) = (connector(Expect::Host)?, connector(Expect::ControlPlane)?);
        let acceptor = acceptor(roots, &provider, &clock, shown.clone())?;
        Ok(Self(Arc::new(Parts { clock, home, provider, ca, shown, acceptor, to_hosts, to_control_plane })))
    }

    fn present(&self) -> Arc<Present> {
        self.0.shown.now()
    }

    /// The host's name.
    pub fn host_name(&self) -> String {
        self.present().certificate.name.clone()
    }

    /// The control plane's URL for agents, as used for joining.
    pub fn control_plane(&self) -> String {
        self.present().saved.control_plane.clone()
    }

    /// Whether the identity was made with this token.
    pub fn is_of_token(&self, token: &lenticular_wire::enrol::JoinToken) -> bool {
        self.present().saved.token_sha256 == saved::token_sha256(token)
    }

    /// The current certificate.
    pub fn certificate(&self) -> Certificate {
        self.present().certificate.clone()
    }

    /// The CA's certificate.
    pub fn ca(&self) -> &CertificateDer<'static> {
        &self.0.ca
    }

    /// The time by this identity's clock.
    pub fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    /// Refuses an expired identity.
    ///
    /// # Errors
    /// The identity has expired.
    pub fn check_time(&self) -> Result<(), IdentityError> {
        let Certificate { name, not_after, .. } = self.certificate();
        match self.now() < not_after {
            true => Ok(()),
            false => Err(IdentityError::Expired { name, at: not_after.iso() }),
        }
    }

    /// Accepts TLS connections from other hosts of the cloud only. [`Identity::peer_of`] tells which host.
    pub fn acceptor(&self) -> TlsAcceptor {
        self.0.acceptor.clone()
    }

    /// The name of the host at the other end of a connection.
    pub fn peer_of(connection: &CommonState) -> Option<String> {
        let read = Certificate::read(connection.peer_certificates()?.first()?).ok()?;
        (read.role == Role::Host).then_some(read.name)
    }

    /// Connects to the agent of another host, and checks that it is that host's, at any address.
    ///
    /// # Errors
    /// The agent cannot be reached in time, or is another host's.
    pub async fn connect(&self, to: SocketAddr, host_name: &str) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host_name.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("'{host_name}' is no host's name"))
        })?;
        within(async {
            let stream = TcpStream::connect(to).await?;
            stream.set_nodelay(true)?;
            self.0.to_hosts.connect(name, stream).await
        })
        .await
    }

    /// Connects to the control plane.
    ///
    /// # Errors
    /// The control plane cannot be reached in time, or is not the control plane of this cloud under this name.
    pub async fn connect_to_control_plane(&self, host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
        let name = control_plane_name(host)?;
        within(async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            self.0.to_control_plane.connect(name, stream).await
        })
        .await
    }

    /// Makes sure that the files for other programs exist.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn keep_pem(&self) -> Result<(), IdentityError> {
        self.0.home.as_ref().map_or(Ok(()), |home| self.present().saved.write_pem(home))
    }

    /// Changes to a new certificate for a new key, from now on and after a restart.
    ///
    /// # Errors
    /// The certificate is for another host, another key or of another CA, or cannot be saved. Then the old
    /// certificate stays.
    pub fn replace(&self, answer: &EnrolAnswer, key: &KeyPair) -> Result<(), IdentityError> {
        let before = self.present();
        let saved = before.saved.renewed(key.serialize_pem(), answer.certificate.clone());
        let now = present(saved, &self.0.provider)?;
        if now.certificate.name != before.certificate.name {
            return Err(IdentityError::Nonsense(format!("it is for the host {}", now.certificate.name)));
        }
        if let Some(home) = &self.0.home {
            now.saved.write(home)?;
        }
        *self.0.shown.0.lock() = Arc::new(now);
        Ok(())
    }
}

async fn within<T>(work: impl std::future::Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
        Ok(done) => done.map_err(verify::plain),
        Err(_) => {
            let why = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, why))
        }
    }
}

fn control_plane_name(host: &str) -> io::Result<ServerName<'static>> {
    let bad = |_| io::Error::new(io::ErrorKind::InvalidInput, format!("'{host}' is no name or address"));
    ServerName::try_from(host.to_owned()).map_err(bad)
}

fn client_config(
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    judge: impl Judge + 'static,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, IdentityError> {
    Ok(ClientConfig::builder_with_details(provider.clone(), Arc::new(ClockTime(clock.clone())))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier::new(judge, provider.clone()))))
}

fn acceptor(
    roots: Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
    clock: &Clock,
    shown: Arc<Shown>,
) -> Result<TlsAcceptor, IdentityError> {
    // The control plane's certificate is no client certificate, so every accepted client is a host.
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
    let verifier = verifier.build().map_err(IdentityError::tls)?;
    let time = Arc::new(ClockTime(clock.clone()));
    let mut config = ServerConfig::builder_with_details(provider.clone(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(IdentityError::tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(shown);
    // A resumed session would outlive its certificate.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config).into())
}

fn present(saved: Saved, provider: &CryptoProvider) -> Result<Present, IdentityError> {
    let der = CertificateDer::from_pem_slice(saved.certificate.as_bytes()).map_err(IdentityError::tls)?;
    let certificate = Certificate::read(&der).map_err(IdentityError::tls)?;
    if certificate.role != Role::Host {
        return Err(IdentityError::Nonsense("its certificate is not for a host".to_owned()));
    }
    let key = PrivateKeyDer::from_pem_slice(saved.key.as_bytes()).map_err(IdentityError::tls)?;
    let key = provider.key_provider.load_private_key(key).map_err(IdentityError::tls)?;
    let certified = CertifiedKey::new(vec![der], key);
    certified.keys_match().map_err(IdentityError::tls)?;
    Ok(Present { certified: Arc::new(certified), certificate, saved })
}

impl Shown {
    fn now(&self) -> Arc<Present> {
        self.0.lock().clone()
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.now().certificate.fmt(f)
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.now().certified.clone())
    }
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.now().certified.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

/// The agent's clock in the form that TLS needs.
struct ClockTime(Clock);

impl fmt::Debug for ClockTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClockTime")
    }
}

impl TimeProvider for ClockTime {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = u64::try_from((self.0)().unix_s()).unwrap_or(0);
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}
