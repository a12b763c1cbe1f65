//! The identity of agents: enrolment, renewal, and the check of every request by its certificate.

use crate::{
    agent::{authority::Request, tls::Shown},
    app::App,
    body::{Message, bytes},
    ctx::RequestId,
    fault::{Fault, Handled},
    respond::json,
    routes::{Routes, post},
};
use axum::{
    Extension,
    extract::{FromRequestParts, State},
    http::request::Parts,
};
use lenticular_control::command::host::enrolment::{self, Newcomer, TokenAsk};
use lenticular_model::{
    Cause, HostId, Timestamp,
    error::{Error, Kind, Result},
    policy::Caller,
};
use lenticular_wire::{
    agent::{OtherVersion, VERSION, VERSION_MIN},
    enrol::{EnrolAnswer, EnrolRequest, JoinToken, RenewRequest},
    hex,
};
use sha2::{Digest, Sha256};

/// The routes.
pub fn routes() -> Routes<App> {
    Routes::new().route("/agent/v1/enrol", post(enrol)).route("/agent/v1/renew", post(renew))
}

/// How long the token for the cloud's own host can be used, in seconds: it is used at once.
const OWN_TOKEN_LIFE_S: i64 = 3_600;

/// The largest enrolment request, in bytes.
const ENROL_BYTES_MAX: usize = 64 * 1024;

/// The actor in the audit trail when the cloud enrols its own host.
pub const OWN_HOST: &str = "lenticular";

/// A request by an enrolled host.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The host's name, from its certificate.
    pub name: String,
    serial: String,
    request_id: String,
}

impl FromRequestParts<App> for Peer {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> std::result::Result<Self, Fault> {
        let shown = parts.extensions.get::<Shown>().and_then(|shown| shown.certificate.clone());
        let Some(shown) = shown else {
            return Err(Error::unauthorized(
                "This needs the certificate of an enrolled host. Make a token with `lenticular host enrol`, and start \
                 the agent with --join and --token.",
            )
            .into());
        };
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.to_string()).unwrap_or_default();
        let peer = Self { name: shown.name.clone(), serial: shown.serial.clone(), request_id };
        // On a kept connection, the handshake is long past.
        let judged = match shown.is_expired((app.clocks.machine)()) {
            true => Err(expired(&shown.name, shown.not_after)),
            false => enrolment::admitted(&app.store.state(), &shown.name, &shown.serial),
        };
        match judged {
            Ok(()) => Ok(peer),
            Err(error) => Err(peer.refused(app, error).await.into()),
        }
    }
}

fn expired(name: &str, at: Timestamp) -> Error {
    let why = format!(
        "The certificate of the host {name} expired at {}. Enrol it again: make a token with `lenticular host enrol \
         {name} --replace`, and start the agent with it.",
        at.iso()
    );
    Error::forbidden(why).coded("CertificateExpired")
}

impl Peer {
    async fn refused(&self, app: &App, error: Error) -> Error {
        app.refuse(format!("host/{}", self.name), self.request_id.clone(), error).await
    }

    async fn claims(&self, app: &App, other: &str) -> Error {
        let other: String = other.escape_debug().take(64).collect();
        let why = format!(
            "The certificate is that of the host {}; it does not speak for {other}. Start each agent with its own \
             identity.",
            self.name
        );
        self.refused(app, Error::forbidden(why).coded("NameOfAnother")).await
    }

    /// Checks that the host may use this name.
    ///
    /// # Errors
    /// The name is another host's.
    pub async fn may_be(&self, app: &App, name: &str) -> Result<()> {
        match name == self.name {
            true => Ok(()),
            false => Err(self.claims(app, name).await),
        }
    }

    /// Checks that the host has this id.
    ///
    /// # Errors
    /// The host has another id, or none: it must register again.
    pub async fn is(&self, app: &App, id: HostId) -> Result<()> {
        match app.store.state().hosts.get(&id) {
            Some(host) => self.may_be(app, &host.name).await,
            None => Err(Error::not_found("Host", id)),
        }
    }
}

async fn enrol(
    State(app): State<App>,
    Extension(shown): Extension<Shown>,
    Extension(id): Extension<RequestId>,
    request: axum::extract::Request,
) -> Handled {
    // The sender is not known yet.
    let body = bytes(request, ENROL_BYTES_MAX).await?;
    let asked: EnrolRequest = serde_json::from_slice(&body)
        .map_err(|error| Error::invalid(format!("Malformed message: {error}.")))?;
    match app.enrol(&asked, &id.0).await {
        Ok(answer) => json(201, &answer),
        // Malformed requests name no host.
        Err(error) if matches!(error.kind, Kind::Forbidden | Kind::Conflict) => {
            Err(app.refuse(format!("agent at {}", shown.from.ip()), id.0.to_string(), error).await.into())
        }
        Err(error) => Err(error.into()),
    }
}

async fn renew(peer: Peer, State(app): State<App>, Message(asked): Message<RenewRequest>) -> Handled {
    let request = Request::read(&asked.request)?;
    let (certificate, issued) = app.authority.issue_host(&peer.name, &request, (app.clocks.machine)())?;
    let cause = Cause {
        actor: format!("host/{}", peer.name),
        request_id: peer.request_id.clone(),
        why: "renew certificate".to_owned(),
    };
    app.store.transact(cause, move |txn| enrolment::renew(txn, &peer.name, &peer.serial, issued)).await?;
    json(201, &EnrolAnswer { certificate, ca: app.authority.pem().to_owned() })
}

impl App {
    /// Makes a token for a host.
    ///
    /// # Errors
    /// See [`enrolment::make_token`].
    pub async fn join_token(
        &self,
        cause: Cause,
        caller: Option<Caller>,
        host_name: Option<String>,
        replaces: bool,
        valid_for_s: i64,
    ) -> Result<(JoinToken, Timestamp)> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(Error::internal)?;
        let secret_sha256 = hex(&Sha256::digest(secret));
        let ask = TokenAsk { secret_sha256, host_name, replaces, valid_for_s };
        let expires_at =
            self.store.transact(cause, move |txn| enrolment::make_token(txn, caller.as_ref(), ask)).await?;
        Ok((JoinToken { ca_sha256: self.authority.sha256(), secret }, expires_at))
    }

    /// Makes a token for the cloud's own host, which may have been enrolled before.
    ///
    /// # Errors
    /// The store takes no commits, or a host cannot have the name.
    pub async fn own_token(&self, host_name: &str) -> Result<JoinToken> {
        let why = format!("enrol the own host {host_name}");
        let cause = Cause { actor: OWN_HOST.to_owned(), request_id: String::new(), why };
        let made = self.join_token(cause, None, Some(host_name.to_owned()), true, OWN_TOKEN_LIFE_S).await?;
        Ok(made.0)
    }

    async fn enrol(&self, asked: &EnrolRequest, request_id: &str) -> Result<EnrolAnswer> {
        if !(VERSION_MIN..=VERSION).contains(&asked.version) {
            return Err(Error::invalid(OtherVersion(asked.version).to_string()));
        }
        let token: JoinToken = asked.token.parse().map_err(|e| Error::invalid(format!("{e}.")))?;
        let request = Request::read(&asked.request)?;
        let newcomer = Newcomer {
            secret_sha256: hex(&Sha256::digest(token.secret)),
            host_name: asked.host_name.clone(),
            key_sha256: request.key_sha256.clone(),
        };
        // A wrong guess costs no transaction and no signature.
        enrolment::judge(&self.store.state(), &newcomer, self.now())?;
        let machine_now = (self.clocks.machine)();
        let (certificate, issued) = self.authority.issue_host(&asked.host_name, &request, machine_now)?;
        let actor = format!("host/{}", asked.host_name);
        let cause = Cause { actor, request_id: request_id.to_owned(), why: "host enrol".to_owned() };
        self.store.transact(cause, move |txn| enrolment::enrol(txn, &newcomer, issued)).await?;
        tracing::info!(host = asked.host_name, "a host was enrolled");
        Ok(EnrolAnswer { certificate, ca: self.authority.pem().to_owned() })
    }
}
