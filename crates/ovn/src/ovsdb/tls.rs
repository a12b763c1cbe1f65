//! TLS with database servers, as OVN's own programs do it: both sides show certificates, and of the server's it counts
//! who signed it. Names count for nothing: the servers of a cluster are named by addresses.

use rustls::{
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{ring, verify_tls12_signature, verify_tls13_signature, CryptoProvider},
    pki_types::{pem::PemObject, CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::ParsedCertificate,
    ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use std::{fmt, io, net::SocketAddr, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{client::TlsStream, TlsConnector};

/// What is shown to servers, and who must have signed what they show.
#[derive(Clone)]
pub struct Tls(TlsConnector);

/// The keys or certificates cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{what} cannot be used: {why}")]
pub struct BadTls {
    what: &'static str,
    why: String,
}

impl Tls {
    /// From texts in PEM: the private key, its certificate (with those between it and the server's CA, if any), and the
    /// CA of the servers.
    ///
    /// # Errors
    /// One of them is malformed, or key and certificate do not belong together.
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
            .with_custom_certificate_verifier(Arc::new(SignedBy { roots, provider }))
            .with_client_auth_cert(shown, key)
            .map_err(bad)?;
        Ok(Self(Arc::new(config).into()))
    }

    /// Shakes hands over a connection.
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

impl ServerCertVerifier for SignedBy {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        between: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let read = ParsedCertificate::try_from(certificate)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&read, &self.roots, between, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
