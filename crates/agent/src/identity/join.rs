//! Joins a cloud: exchanges a token for an identity.

use super::{
    Clock, Identity, IdentityError, Saved, client_config, control_plane_name, saved, verify::Pinned, within,
};
use crate::{
    endpoint::Endpoint,
    http_link::{chain, message, read},
};
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use lenticular_wire::{
    agent::VERSION,
    enrol::{EnrolAnswer, EnrolRequest, JoinToken},
};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};
use sha2::{Digest, Sha256};
use std::{io, path::Path, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long the answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Waits between attempts while the control plane does not answer, in seconds.
const RETRY_S: [u64; 5] = [1, 2, 4, 8, 15];

/// The parameters of joining.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The control plane's URL for agents (`https://host:port`).
    pub control_plane: String,
    /// The token.
    pub token: JoinToken,
    /// The host's name.
    pub host_name: String,
}

/// Joins, and keeps the identity in the state directory. Tries again while the control plane does not answer.
///
/// # Errors
/// The control plane refuses, or is not the control plane that made the token.
pub async fn join(state_dir: &Path, joining: &Joining, clock: Clock) -> Result<Identity, IdentityError> {
    let endpoint = Endpoint::of(&joining.control_plane)?;
    let home = saved::home(state_dir);
    let key = saved::pending_key(&home, || Ok(new_key()?.serialize_pem()))?;
    let key = KeyPair::from_pem(&key).map_err(IdentityError::tls)?;
    let request = EnrolRequest {
        version: VERSION,
        host_name: joining.host_name.clone(),
        token: joining.token.to_string(),
        request: certificate_request(&key, &joining.host_name)?,
    };
    let mut waits = RETRY_S.iter();
    let mut wait = RETRY_S[0];
    let answer = loop {
        match ask(&endpoint, &joining.token, &request, &clock).await {
            Err(error @ IdentityError::Unreachable { .. }) => {
                tracing::warn!(%error, "it is tried again");
                wait = waits.next().copied().unwrap_or(wait);
                tokio::time::sleep(Duration::from_secs(wait)).await;
            }
            other => break other?,
        }
    };
    let ca = CertificateDer::from_pem_slice(answer.ca.as_bytes()).map_err(IdentityError::tls)?;
    if <[u8; 32]>::from(Sha256::digest(&ca)) != joining.token.ca_sha256 {
        return Err(IdentityError::Nonsense("the CA that it names is not the token's".to_owned()));
    }
    let EnrolAnswer { certificate, ca } = answer;
    let saved = Saved::new(endpoint.base(), &joining.token, key.serialize_pem(), certificate, ca);
    let identity = Identity::of(saved, Some(home.clone()), clock)?;
    if identity.host_name() != joining.host_name {
        return Err(IdentityError::Nonsense(format!("it is for the host {}", identity.host_name())));
    }
    identity.present().saved.write(&home)?;
    saved::remove_pending_key(&home);
    tracing::info!(host = joining.host_name, control_plane = endpoint.base(), "joined");
    Ok(identity)
}

/// A new key.
pub(crate) fn new_key() -> Result<KeyPair, IdentityError> {
    KeyPair::generate().map_err(IdentityError::tls)
}

/// A request for a certificate for a key, in PEM.
pub(crate) fn certificate_request(key: &KeyPair, host_name: &str) -> Result<String, IdentityError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, host_name);
    params.serialize_request(key).and_then(|request| request.pem()).map_err(IdentityError::tls)
}

async fn ask(
    endpoint: &Endpoint,
    token: &JoinToken,
    request: &EnrolRequest,
    clock: &Clock,
) -> Result<EnrolAnswer, IdentityError> {
    let asked = tokio::time::timeout(ANSWER_TIMEOUT, ask_once(endpoint, token, request, clock));
    let late = || unreachable(endpoint, format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
    asked.await.unwrap_or_else(|_| Err(late()))
}

fn unreachable(endpoint: &Endpoint, why: impl ToString) -> IdentityError {
    IdentityError::Unreachable { at: endpoint.base().to_owned(), why: why.to_string() }
}

async fn ask_once(
    endpoint: &Endpoint,
    token: &JoinToken,
    request: &EnrolRequest,
    clock: &Clock,
) -> Result<EnrolAnswer, IdentityError> {
    let gone = |error: &dyn std::error::Error| unreachable(endpoint, chain(error));
    // Connects only to the control plane that made the token.
    let provider = Arc::new(ring::default_provider());
    let pinned = Pinned::new(provider.clone(), token.ca_sha256);
    let mut config = client_config(&provider, clock, pinned)?.with_no_client_auth();
    config.enable_sni = false;
    let name = control_plane_name(endpoint.host()).map_err(|e| gone(&e))?;
    let connector = TlsConnector::from(Arc::new(config));
    let stream = within(async {
        let stream = TcpStream::connect((endpoint.host(), endpoint.port())).await?;
        connector.connect(name, stream).await
    });
    let stream = stream.await.map_err(|error| match error.kind() {
        // A repetition would meet the same server.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            IdentityError::Untrusted { at: endpoint.base().to_owned(), why: error.to_string() }
        }
        _ => gone(&error),
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| gone(&e))?;
    let driver = tokio::spawn(connection);
    // Sends the request, and reads the whole answer.
    let body = serde_json::to_vec(request).map_err(IdentityError::tls)?;
    let request = Request::post("/agent/v1/enrol")
        .header(HOST, endpoint.authority())
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(IdentityError::tls)?;
    let response = sender.send_request(request).await.map_err(|e| gone(&e))?;
    let status = response.status();
    let body =
        read(response.into_body(), ANSWER_BYTES_MAX).await.map_err(|error| unreachable(endpoint, error))?;
    drop(sender);
    driver.abort();
    // The meaning of the answer.
    match status {
        StatusCode::CREATED => {
            serde_json::from_slice(&body).map_err(|e| IdentityError::Nonsense(e.to_string()))
        }
        // Its store may take commits again soon.
        status if status.is_server_error() => Err(unreachable(endpoint, message(&body))),
        status => Err(IdentityError::Refused { status: status.as_u16(), message: message(&body) }),
    }
}
