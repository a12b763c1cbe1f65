//! The cloud's own certificate authority: its key, and what it signs for hosts and for the control plane.

use lenticular_model::{
    error::{Error, Result},
    host::enrolment::Issued,
    Timestamp,
};
use lenticular_wire::{
    certificate::{Certificate, Role},
    hex,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{pem::PemObject, CertificateDer, CertificateSigningRequestDer};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, time::Duration};

/// How long the CA's own certificate holds, in seconds. To replace the certificate, every host must enrol again.
const CA_LIFE_S: i64 = 30 * 365 * 24 * 3_600;

/// How long a host's certificate holds, in seconds.
const HOST_LIFE_S: i64 = 30 * 24 * 3_600;

/// How long the control plane's certificate holds, in seconds.
const SERVER_LIFE_S: i64 = 30 * 24 * 3_600;

/// How long a database's certificate holds, in seconds: hosts connect to it while the control plane is away.
const DATABASE_LIFE_S: i64 = 365 * 24 * 3_600;

/// How long before its making a certificate holds already, in seconds: clocks differ.
const BACKDATE_S_MAX: i64 = 3_600;

/// The authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    pem: String,
    host_life_s: i64,
}

/// A request for a certificate. Its bearer proved to hold the private key.
pub struct Request {
    key: PublicKey,
    /// SHA-256 of the public key, in hex.
    pub key_sha256: String,
}

impl Request {
    /// Reads one in PEM.
    ///
    /// # Errors
    /// It is malformed, or its signature is wrong.
    pub fn read(pem: &str) -> Result<Self> {
        let bad = |error: &dyn std::fmt::Display| {
            Error::invalid(format!("The certificate request cannot be used: {error}."))
        };
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|e| bad(&e))?;
        let read = CertificateSigningRequestParams::from_der(&der).map_err(|e| bad(&e))?;
        let key_sha256 = hex(&Sha256::digest(read.public_key.subject_public_key_info()));
        Ok(Self { key: read.public_key, key_sha256 })
    }
}

impl Authority {
    /// A new key, in PEM.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new_key() -> Result<String> {
        Ok(KeyPair::generate().map_err(Error::internal)?.serialize_pem())
    }

    /// The authority with this key and certificate; without a certificate one is made, which hosts that know an
    /// earlier one of the same key take as well.
    ///
    /// # Errors
    /// Key or certificate are malformed, or do not belong together.
    pub fn open(key: &str, certificate: Option<&str>, now: Timestamp) -> Result<Self> {
        let key = KeyPair::from_pem(key).map_err(|e| Error::internal(format!("the CA's key: {e}")))?;
        let pem = match certificate {
            Some(pem) => pem.to_owned(),
            None => ca_params(now).self_signed(&key).map_err(Error::internal)?.pem(),
        };
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes())
            .map_err(|e| Error::internal(format!("the CA's certificate: {e}")))?;
        if !is_key_of(&certificate, &key)? {
            return Err(Error::internal("the CA's key and its certificate do not belong together"));
        }
        let issuer = Issuer::from_ca_cert_der(&certificate, key).map_err(Error::internal)?;
        Ok(Self { issuer, certificate, pem, host_life_s: HOST_LIFE_S })
    }

    /// The same authority, with another life for hosts' certificates.
    pub fn with_host_life_s(self, host_life_s: i64) -> Self {
        Self { host_life_s, ..self }
    }

    /// Its certificate, in PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// SHA-256 of its certificate: by this it is known at first observed.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// A certificate for a host: in PEM, and what the cloud remembers of it.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn issue_host(&self, name: &str, request: &Request, now: Timestamp) -> Result<(String, Issued)> {
        let mut params = params(&[name.to_owned()], name, Role::Host, now, self.host_life_s)?;
        // Agents are servers to each other all the same, and look at names. OVN's programs look at no names: this alone
        // keeps a host from passing for the database that all hosts believe.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = params.signed_by(&request.key, &self.issuer).map_err(Error::internal)?;
        let read = Certificate::read(issued.der()).map_err(Error::internal)?;
        Ok((issued.pem(), Issued { serial: read.serial, expires_at: read.not_after }))
    }

    /// A certificate for the control plane, as agents reach it by these names and addresses.
    ///
    /// # Errors
    /// A name cannot stand in a certificate.
    pub fn issue_server(
        &self,
        names: &[String],
        key: &KeyPair,
        now: Timestamp,
    ) -> Result<CertificateDer<'static>> {
        let mut params = params(names, "lenticular control plane", Role::ControlPlane, now, SERVER_LIFE_S)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        Ok(params.signed_by(key, &self.issuer).map_err(Error::internal)?.der().clone())
    }

    /// A new key and a certificate for it, for a database at this address that hosts connect to: in PEM, and until when
    /// it holds.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn issue_database(&self, address: IpAddr, now: Timestamp) -> Result<(String, Timestamp)> {
        let key = KeyPair::generate().map_err(Error::internal)?;
        let names = [address.to_string()];
        let mut params = params(&names, "lenticular database", Role::Database, now, DATABASE_LIFE_S)?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let issued = params.signed_by(&key, &self.issuer).map_err(Error::internal)?;
        Ok((format!("{}{}", key.serialize_pem(), issued.pem()), now.plus_s(DATABASE_LIFE_S)))
    }
}

fn is_key_of(certificate: &CertificateDer<'_>, key: &KeyPair) -> Result<bool> {
    let read = rustls::server::ParsedCertificate::try_from(certificate).map_err(Error::internal)?;
    Ok(read.subject_public_key_info().as_ref() == key.subject_public_key_info())
}

fn subject(name: &str, unit: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, "lenticular");
    subject.push(DnType::OrganizationalUnitName, unit);
    subject.push(DnType::CommonName, name);
    subject
}

fn ca_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    // The same for every certificate of one key: a copy that was lost can be made again.
    params.distinguished_name = subject("lenticular CA", "ca");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    set_life(&mut params, now, CA_LIFE_S);
    params
}

fn params(
    names: &[String],
    name: &str,
    role: Role,
    now: Timestamp,
    life_s: i64,
) -> Result<CertificateParams> {
    let bad = |error| Error::invalid(format!("A certificate cannot carry the names {names:?}: {error}."));
    let mut params = CertificateParams::new(names).map_err(bad)?;
    let mut serial = [0; 16];
    getrandom::fill(&mut serial).map_err(Error::internal)?;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = subject(name, role.unit());
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    set_life(&mut params, now, life_s);
    Ok(params)
}

/// Sets from when until when a certificate holds.
fn set_life(params: &mut CertificateParams, now: Timestamp, life_s: i64) {
    // A life that is short, as tests have it, is not to be mostly past at its beginning.
    let from = now.plus_s(-BACKDATE_S_MAX.min(life_s / 10));
    let since_1970 = |at: Timestamp| Duration::from_secs(u64::try_from(at.unix_s()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(from);
    params.not_after = epoch + since_1970(now.plus_s(life_s));
}
