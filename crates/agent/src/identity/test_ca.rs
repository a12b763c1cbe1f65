//! A CA for tests, with its hosts, its control plane, and a clock that the tests set.

use super::{Clock, Identity, Saved, new_key};
use lenticular_model::Timestamp;
use lenticular_wire::{certificate::Role, enrol::JoinToken};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};
use tokio_rustls::TlsAcceptor;

/// The beginning of the tests' time, in seconds since 1970.
pub(crate) const BEGIN_S: i64 = 1_800_000_000;
pub(crate) const DAY_S: i64 = 24 * 3_600;
pub(crate) const LIFE_S: i64 = 30 * DAY_S;

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub(crate) fn certificate(&self, name: &str, role: Role, key: &KeyPair, from_s: i64) -> String {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.unit());
        params.extended_key_usages = match role {
            Role::Host => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Role::ControlPlane | Role::Database => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        let at = |s: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(s.try_into().unwrap());
        (params.not_before, params.not_after) = (at(from_s), at(from_s + LIFE_S));
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    /// A host's identity, in a directory or only in memory.
    pub(crate) fn host(&self, name: &str, clock: &Clock, home: Option<&Path>) -> Identity {
        let key = new_key().unwrap();
        let certificate = self.certificate(name, Role::Host, &key, BEGIN_S);
        let token = JoinToken { ca_sha256: [0; 32], secret: [0; 32] };
        let saved =
            Saved::new("https://cloud:9171", &token, key.serialize_pem(), certificate, self.pem.clone());
        let home = home.map(super::saved::home);
        if let Some(home) = &home {
            saved.write(home).unwrap();
        }
        Identity::of(saved, home, clock.clone()).unwrap()
    }

    /// Accepts agents' connections, as the control plane at 127.0.0.1 would.
    pub(crate) fn control_plane(&self, clock: &Clock) -> TlsAcceptor {
        let provider = Arc::new(ring::default_provider());
        let key = new_key().unwrap();
        let certificate = self.certificate("127.0.0.1", Role::ControlPlane, &key, BEGIN_S);
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let time = Arc::new(super::ClockTime(clock.clone()));
        let config = ServerConfig::builder_with_details(provider, time)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key);
        Arc::new(config.unwrap()).into()
    }
}

pub(crate) fn clock() -> (Arc<AtomicI64>, Clock) {
    let now = Arc::new(AtomicI64::new(BEGIN_S));
    let read = now.clone();
    (now, Arc::new(move || Timestamp(read.load(Ordering::Relaxed) * 1_000_000)))
}
