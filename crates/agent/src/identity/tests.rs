//! Hosts among each other: who is accepted, who is refused, and that both sides follow a rotation.

use super::{
    Identity, Saved, certificate_request, new_key,
    test_ca::{BEGIN_S, Ca, DAY_S, LIFE_S, clock},
};
use lenticular_wire::{
    certificate::{Certificate, Role},
    enrol::{EnrolAnswer, JoinToken},
};
use rcgen::KeyPair;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{
    io,
    net::SocketAddr,
    path::Path,
    sync::{Arc, atomic::Ordering},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// Accepts one connection, returns the peer's name, and answers one byte.
async fn server(acceptor: TlsAcceptor) -> (SocketAddr, JoinHandle<io::Result<Option<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await?;
        let mut stream = acceptor.accept(stream).await?;
        let peer = Identity::peer_of(stream.get_ref().1);
        stream.write_all(b"!").await?;
        stream.shutdown().await?;
        Ok(peer)
    });
    (address, served)
}

/// Connects, and reads the byte: only then has the other side accepted our certificate.
async fn call(from: &Identity, to: SocketAddr, name: &str) -> io::Result<u8> {
    from.connect(to, name).await?.read_u8().await
}

#[tokio::test]
async fn hosts_know_each_other_by_name() {
    let (_, clock) = clock();
    let ca = Ca::new();
    let (one, two) = (ca.host("rack-1", &clock, None), ca.host("Rack_2.example", &clock, None));
    for (from, to) in [(&one, &two), (&two, &one)] {
        let (address, served) = server(to.acceptor()).await;
        assert_eq!(call(from, address, &to.host_name()).await.unwrap(), b'!');
        assert_eq!(served.await.unwrap().unwrap(), Some(from.host_name()));
    }
}

#[tokio::test]
async fn a_host_of_another_name_is_not_talked_to() {
    let (_, clock) = clock();
    let ca = Ca::new();
    let (one, two) = (ca.host("rack-1", &clock, None), ca.host("rack-2", &clock, None));
    // Other names, names that are equal in DNS, and addresses are all refused.
    for name in ["rack-3", "RACK-2", "rack-2.example", "127.0.0.1", "no name"] {
        let (address, served) = server(two.acceptor()).await;
        let error = call(&one, address, name).await.unwrap_err();
        assert!(error.to_string().contains("host"), "{name}: {error}");
        served.abort();
    }
}

#[tokio::test]
async fn another_ca_counts_on_neither_side() {
    let (_, clock) = clock();
    let (ca, other) = (Ca::new(), Ca::new());
    let (one, stranger) = (ca.host("rack-1", &clock, None), other.host("rack-2", &clock, None));
    let (address, served) = server(stranger.acceptor()).await;
    let error = call(&one, address, "rack-2").await.unwrap_err();
    assert!(error.to_string().contains("not issued by this cloud's CA"), "{error}");
    assert!(served.await.unwrap().is_err());
    // The stranger trusts our CA, but shows a certificate of another CA.
    let key = new_key().unwrap();
    let certificate = other.certificate("rack-2", Role::Host, &key, BEGIN_S);
    let token = JoinToken { ca_sha256: [0; 32], secret: [0; 32] };
    let saved = Saved::new("https://cloud", &token, key.serialize_pem(), certificate, ca.pem.clone());
    let stranger = Identity::of(saved, None, clock).unwrap();
    let (address, served) = server(one.acceptor()).await;
    assert!(call(&stranger, address, "rack-1").await.is_err());
    assert!(served.await.unwrap().is_err());
}

#[tokio::test]
async fn a_host_without_a_certificate_is_refused() {
    let (_, clock) = clock();
    let ca = Ca::new();
    let one = ca.host("rack-1", &clock, None);
    let judge = super::Known::new(
        {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(one.ca().clone()).unwrap();
            Arc::new(roots)
        },
        &one.0.provider,
        super::Expect::Host,
    );
    let config = super::client_config(&one.0.provider, &clock, judge.unwrap()).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let (address, served) = server(one.acceptor()).await;
    let stream = TcpStream::connect(address).await.unwrap();
    let name = "rack-1".try_into().unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    assert!(stream.read_u8().await.is_err());
    assert!(served.await.unwrap().is_err());
}

#[tokio::test]
async fn a_certificate_whose_time_is_up_counts_on_neither_side() {
    let ((now, clock), (late, late_clock)) = (clock(), clock());
    let ca = Ca::new();
    // Each side uses its own clock.
    let (one, two) = (ca.host("rack-1", &clock, None), ca.host("rack-2", &late_clock, None));
    late.store(BEGIN_S + LIFE_S + 1, Ordering::Relaxed);
    let (address, served) = server(one.acceptor()).await;
    let error = call(&two, address, "rack-1").await.unwrap_err();
    assert!(error.to_string().contains("expired"), "{error}");
    assert!(served.await.unwrap().is_err());
    let (address, served) = server(two.acceptor()).await;
    assert!(call(&one, address, "rack-2").await.is_err());
    assert!(served.await.unwrap().is_err());
    assert!(two.check_time().unwrap_err().to_string().contains("host enrol rack-2 --replace"));
    now.store(BEGIN_S + LIFE_S - 1, Ordering::Relaxed);
    one.check_time().unwrap();
}

#[tokio::test]
async fn the_control_plane_is_no_host_and_no_host_the_control_plane() {
    let (_, clock) = clock();
    let ca = Ca::new();
    let one = ca.host("rack-1", &clock, None);
    // A host with the control plane's name still does not pass for it.
    let impostor = ca.host("localhost", &clock, None);
    let (address, served) = server(impostor.acceptor()).await;
    let error = one.connect_to_control_plane("localhost", address.port()).await.unwrap_err();
    assert!(error.to_string().contains("not that of the control plane"), "{error}");
    assert!(served.await.unwrap().is_err());
}

#[tokio::test]
async fn what_was_made_before_a_rotation_shows_the_new_certificate() {
    let (now, clock) = clock();
    let ca = Ca::new();
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (ca.host("rack-1", &clock, Some(dir.path())), ca.host("rack-2", &clock, None));
    let (acceptor, clone) = (one.acceptor(), one.clone());
    let renewed = |name, key: &KeyPair| EnrolAnswer {
        certificate: ca.certificate(name, Role::Host, key, BEGIN_S + 20 * DAY_S),
        ca: ca.pem.clone(),
    };
    let key = new_key().unwrap();
    assert!(certificate_request(&key, "rack-1").unwrap().contains("BEGIN CERTIFICATE REQUEST"));
    assert!(one.replace(&renewed("rack-2", &key), &key).is_err(), "another's certificate is not taken");
    assert!(one.replace(&renewed("rack-1", &key), &new_key().unwrap()).is_err(), "nor one for another key");
    one.replace(&renewed("rack-1", &key), &key).unwrap();
    let other = new_key().unwrap();
    two.replace(&renewed("rack-2", &other), &other).unwrap();
    now.store(BEGIN_S + LIFE_S + DAY_S, Ordering::Relaxed);
    let (address, served) = server(acceptor).await;
    assert_eq!(call(&two, address, "rack-1").await.unwrap(), b'!');
    assert_eq!(served.await.unwrap().unwrap(), Some("rack-2".to_owned()));
    assert_eq!(clone.certificate().serial, one.certificate().serial);
    // After a restart, the new certificate is still used.
    let again = Identity::load(dir.path(), clock.clone()).unwrap().unwrap();
    assert_eq!(again.certificate(), one.certificate());
    again.check_time().unwrap();
    // Programs that read the files get it, too, even after a crash before the files were written.
    let pem = super::Pem::of(&super::home(dir.path()));
    let shown = std::fs::read_to_string(&pem.own).unwrap();
    assert!(shown.starts_with(&key.serialize_pem()));
    assert_eq!(std::fs::read_to_string(&pem.ca).unwrap(), ca.pem);
    let read = CertificateDer::from_pem_slice(shown.as_bytes()).unwrap();
    assert_eq!(Certificate::read(&read).unwrap(), one.certificate());
    std::fs::remove_file(&pem.own).unwrap();
    Identity::load(dir.path(), clock).unwrap();
    assert_eq!(std::fs::read_to_string(&pem.own).unwrap(), shown);
    std::fs::remove_file(&pem.own).unwrap();
    again.keep_pem().unwrap();
    assert_eq!(std::fs::read_to_string(&pem.own).unwrap(), shown);
}

#[test]
fn an_identity_is_for_its_owner_alone_and_a_damaged_one_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let (_, clock) = clock();
    let dir = tempfile::tempdir().unwrap();
    assert!(Identity::load(dir.path(), clock.clone()).unwrap().is_none());
    Ca::new().host("rack-1", &clock, Some(dir.path()));
    let home = dir.path().join("identity");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&home), mode(&home.join("identity.json"))), (0o700, 0o600));
    std::fs::write(home.join("identity.json"), "{").unwrap();
    let error = Identity::load(dir.path(), clock).err().unwrap().to_string();
    assert!(error.contains("identity.json") && error.contains("enrol this host again"), "{error}");
}
