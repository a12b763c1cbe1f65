//! A real database over TLS: which servers are accepted, and which clients.

use crate::server::{Server, skipped};
use lenticular_ovn::{
    northbound::schema::COLUMNS,
    ovsdb::{Connector, Remote, Tls},
};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use std::net::TcpListener;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A key and its certificate.
    fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["anybody".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "anybody");
        (key.serialize_pem(), params.signed_by(&key, &self.issuer).unwrap().pem())
    }

    /// The TLS settings of a client with a certificate of this CA, for servers of another CA.
    fn client(&self, servers: &Self) -> Tls {
        let (key, certificate) = self.issue();
        Tls::new(&key, &certificate, &servers.pem).unwrap()
    }
}

#[tokio::test]
async fn a_database_is_reached_over_tls_and_only_with_known_certificates() {
    if skipped() {
        return;
    }
    let (ca, stranger) = (Ca::new(), Ca::new());
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut server = Server::start();
    server.listen_with_tls(port, &ca.issue(), &ca.pem);
    drop(server.connect().await);
    let connects = async |tls: Tls| {
        let remotes = Remote::list(&format!("ssl:127.0.0.1:{port}"), Some(&tls)).unwrap();
        Connector::new(remotes, "OVN_Northbound", COLUMNS, Box::new(|| 0)).connect().await.map(drop)
    };
    connects(ca.client(&ca)).await.unwrap();
    let error = connects(ca.client(&stranger)).await.unwrap_err().to_string();
    assert!(error.contains("cannot be reached") && error.contains("certificate"), "{error}");
    assert!(connects(stranger.client(&ca)).await.is_err(), "the server does not know its CA");
}

#[test]
fn what_cannot_be_used_is_named() {
    let ca = Ca::new();
    let ((key, certificate), (other, _)) = (ca.issue(), ca.issue());
    let said =
        |key: &str, certificate: &str, ca: &str| Tls::new(key, certificate, ca).unwrap_err().to_string();
    assert!(said("", &certificate, &ca.pem).contains("the private key"));
    assert!(
        said(&key, "nothing", &ca.pem).contains("the certificate cannot be used: there is no certificate")
    );
    assert!(said(&key, &certificate, "").contains("the CA's certificate"));
    assert!(said(&other, &certificate, &ca.pem).contains("the private key with its certificate"));
}
