//! Other data that a host fetches and sends for a guest: user data and passwords.

use crate::{agent::enrol::Peer, app::App, body::bytes, fault::Handled, respond::empty};
use axum::{
    extract::{Path, Request, State},
    response::Response,
};
use lenticular_control::command::compute::server;
use lenticular_control::orders::order;
use lenticular_model::{
    Cause, HostId, Kind, ServerId,
    error::{Error, Result},
};

/// The longest body that is read for a password, in bytes.
const PASSWORD_BODY_MAX: usize = 4096;

/// Refuses a host without orders for the server: what is fetched here may hold secrets.
fn check_host(app: &App, peer: &Peer, server: ServerId) -> Result<()> {
    let state = app.store.state();
    let host = state.host_named(&peer.name).map(|host| &host.id);
    let ordered = host.and_then(|host| order(&state, *host, server)).is_some();
    ordered.then_some(()).ok_or_else(|| Error::not_found("Server", server))
}

fn server_id(text: &str) -> Result<ServerId> {
    text.parse().map_err(|_| Error::not_found("Server", text))
}

/// `GET /agent/v1/servers/{server}/user-data`
pub async fn user_data(peer: Peer, State(app): State<App>, Path(server): Path<String>) -> Handled {
    let server = server_id(&server)?;
    check_host(&app, &peer, server)?;
    let data =
        app.agent_user_data(server).await?.ok_or_else(|| Error::not_found("User data of server", server))?;
    Ok(Response::new(axum::body::Body::from(data)))
}

/// `GET /agent/v1/servers/{server}/files`
pub async fn files(peer: Peer, State(app): State<App>, Path(server): Path<String>) -> Handled {
    let server = server_id(&server)?;
    check_host(&app, &peer, server)?;
    let files = app.agent_files(server).await?.ok_or_else(|| Error::not_found("Files of server", server))?;
    Ok(Response::new(axum::body::Body::from(files)))
}

pub async fn password(
    peer: Peer,
    State(app): State<App>,
    Path(server): Path<String>,
    request: Request,
) -> Handled {
    let server: ServerId = server.parse().map_err(|_| Error::not_found("Server", &server))?;
    let host = app.store.state().host_named(&peer.name).map(|host| host.id);
    let host = host.ok_or_else(|| Error::not_found("Host", &peer.name))?;
    let body = bytes(request, PASSWORD_BODY_MAX).await?;
    let password = String::from_utf8(body.to_vec()).map_err(|_| Error::invalid("A password is a text."))?;
    app.agent_password(host, server, password).await?;
    empty(204)
}

impl App {
    /// A server's user data, decoded.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn agent_user_data(&self, server: ServerId) -> Result<Option<Vec<u8>>> {
        use base64::Engine as _;
        let Some(doc) = self.store.get(Kind::UserData, &server.to_string()).await? else { return Ok(None) };
        let text: String = serde_json::from_str(&doc).map_err(Error::internal)?;
        let plain: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
        base64::engine::general_purpose::STANDARD.decode(plain).map(Some).map_err(Error::internal)
    }

    /// The files for a server's guest, as JSON.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn agent_files(&self, server: ServerId) -> Result<Option<Vec<u8>>> {
        let doc = self.store.get(Kind::Personality, &server.to_string()).await?;
        Ok(doc.map(String::into_bytes))
    }

    /// Takes in the password that a guest has posted.
    ///
    /// # Errors
    /// See [`server::post_password`].
    pub async fn agent_password(&self, host: HostId, server: ServerId, password: String) -> Result<()> {
        let actor = format!("host/{host}");
        let cause = Cause { actor, request_id: String::new(), why: "guest password".to_owned() };
        self.store.transact(cause, move |txn| server::post_password(txn, host, server, password)).await
    }
}
