//! The cloud's own certificate authority: its key, and the certificates that it signs for hosts and the control
//! plane.

use lenticular_model::{
    Timestamp,
    error::{Error, Result},
    host::enrolment::Issued,
};
use lenticular_wire::{
    certificate::{Certificate, Role},
    hex,
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PublicKey, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{CertificateDer, CertificateSigningRequestDer, pem::PemObject};
use sha2::{Digest, Sha256};
use std::{net::IpAddr, time::Duration};

/// How long the CA's own certificate is valid, in seconds. To replace the certificate, every host must enrol
/// again.
const CA_LIFE_S: i64 = 30 * 365 * 24 * 3_600;

/// How long a host's certificate is valid, in seconds.
const HOST_LIFE_S: i64 = 30 * 24 * 3_600;

/// How long the control plane's certificate is valid, in seconds.
const SERVER_LIFE_S: i64 = 30 * 24 * 3_600;

/// How long a database's certificate is valid, in seconds: hosts connect to it while the control plane is away.
const DATABASE_LIFE_S: i64 = 365 * 24 * 3_600;

/// How far a certificate's validity begins before its issue, in seconds: clocks differ.
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
    /// Reads a certificate request in PEM.
    ///
    /// # Errors
    /// The request is malformed, or its signature is wrong.
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

    /// The authority with this key and certificate. Without a certificate, a new one is made; hosts that know an
    /// earlier certificate of the same key accept it, too.
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

    /// The same authority, with another validity of hosts' certificates.
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

    /// SHA-256 of its certificate: a joining host checks the CA by it.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.certificate).into()
    }

    /// Issues a certificate for a host: in PEM, and the record that the cloud keeps of it.
    ///
    /// # Errors
    /// A certificate cannot carry the name.
    pub fn issue_host(&self, name: &str, request: &Request, now: Timestamp) -> Result<(String, Issued)> {
        let mut params = params(&[name.to_owned()], name, Role::Host, now, self.host_life_s)?;
        // Agents still are servers to each other, and check names. OVN's programs check no names: only the
        // missing server usage keeps a host from passing for the database that all hosts trust.
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let issued = params.signed_by(&request.key, &self.issuer).map_err(Error::internal)?;
        let read = Certificate::read(issued.der()).map_err(Error::internal)?;
        Ok((issued.pem(), Issued { serial: read.serial, expires_at: read.not_after }))
    }

    /// Issues a certificate for the control plane, for these names and addresses.
    ///
    /// # Errors
    /// A certificate cannot carry a name.
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

    /// Issues a new key and its certificate, for a database at this address that hosts connect to: in PEM, and
    /// the end of its validity.
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
    // The name is the same for every certificate of the key, so a lost certificate can be made again.
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

/// Sets the beginning and the end of a certificate's validity.
fn set_life(params: &mut CertificateParams, now: Timestamp, life_s: i64) {
    // Tests use short validities: such a validity must not be mostly over at its beginning.
    let from = now.plus_s(-BACKDATE_S_MAX.min(life_s / 10));
    let since_1970 = |at: Timestamp| Duration::from_secs(u64::try_from(at.unix_s()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_1970(from);
    params.not_after = epoch + since_1970(now.plus_s(life_s));
}
