//! TLS with database servers, as OVN's own programs use it: both sides show certificates, and only the CA of the
//! server's certificate is checked. Names are not checked: the servers of a cluster are named by addresses.

use lenticular_wire::tls::{Judge, Verifier};
use rustls::{
    ClientConfig, Error, RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    server::ParsedCertificate,
};
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// The client's certificate, and the CA that must have signed the server's certificate.
#[derive(Clone)]
pub struct Tls(TlsConnector);

/// The error: the keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be used: {why}")]
pub struct BadTls {
    what: &'static str,
    why: String,
}

impl Tls {
    /// Made from PEM texts: the private key, its certificate (with any intermediate certificates), and the CA of
    /// the servers.
    ///
    /// # Errors
    /// A text is malformed, or the key and the certificate do not belong together.
    pub fn new(key: &str, certificate: &str, ca: &str) -> Result<Self, BadTls> {
        let certificates = |what, text: &str| -> Result<Vec<CertificateDer<'static>>, BadTls> {
            let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
            let read = read.map_err(|e| BadTls { what, why: e.to_string() })?;
            match read.is_empty() {
                true => Err(BadTls { what, why: "there is no certificate in it".to_owned() }),
                false => Ok(read),
            }
        };
        let mut roots = RootCertStore::empty();
        for root in certificates("the CA's certificate", ca)? {
            roots.add(root).map_err(|e| BadTls { what: "the CA's certificate", why: e.to_string() })?;
        }
        let shown = certificates("the certificate", certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|e| BadTls { what: "the private key", why: e.to_string() })?;
        let provider = Arc::new(ring::default_provider());
        let bad = |e: Error| BadTls { what: "the private key with its certificate", why: e.to_string() };
        let config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(bad)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(
                SignedBy { roots, provider: provider.clone() },
                provider,
            )))
            .with_client_auth_cert(shown, key)
            .map_err(bad)?;
        Ok(Self(Arc::new(config).into()))
    }

    /// Does the TLS handshake over a connection.
    pub(super) async fn connect(
        &self,
        to: SocketAddr,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        self.0.connect(ServerName::from(to.ip()), stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

#[derive(Debug)]
struct SignedBy {
    roots: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl Judge for SignedBy {
    fn judge(
        &self,
        shown: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let read = ParsedCertificate::try_from(shown)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&read, &self.roots, between, now, algorithms)
    }
}
