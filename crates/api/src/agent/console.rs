//! An agent joins a guest's console to the connection that waits for it.

use super::{enrol::Peer, session::host_id};
use crate::{
    app::App,
    console::connection::Stream,
    fault::Handled,
    serve::connections::{Place, Turn},
};
use axum::{
    Extension,
    extract::{Path, Request, State},
    http::{
        StatusCode,
        header::{CONNECTION, UPGRADE},
    },
    response::IntoResponse,
};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use lenticular_model::{
    HostId,
    error::{Error, Result},
};
use lenticular_wire::agent::CONSOLE_PROTOCOL;
use std::sync::Arc;

/// `GET /agent/v1/hosts/{host}/consoles/{connection}`
pub async fn join(
    peer: Peer,
    State(app): State<App>,
    Path((host, connection)): Path<(String, String)>,
    place: Option<Extension<Arc<Place>>>,
    mut request: Request,
) -> Handled {
    let host = host_id(&host)?;
    peer.is(&app, host).await?;
    let asked = request.headers().get(UPGRADE).is_some_and(|asked| asked == CONSOLE_PROTOCOL);
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| asked);
    let upgrade = upgrade
        .ok_or_else(|| Error::invalid(format!("This path needs an upgrade to {CONSOLE_PROTOCOL}.")))?;
    let arrival = app.consoles.take(host, &connection)?;
    tokio::spawn(async move {
        let upgraded = upgrade.await;
        if let Some(Extension(place)) = place {
            place.turn(Turn::Working);
        }
        match upgraded {
            // The browser may have left meanwhile.
            Ok(stream) => drop(arrival.send(Box::new(TokioIo::new(stream)))),
            Err(error) => tracing::warn!(%error, "an agent's connection for a console was lost"),
        }
    });
    Ok((StatusCode::SWITCHING_PROTOCOLS, [(CONNECTION, "upgrade"), (UPGRADE, CONSOLE_PROTOCOL)])
        .into_response())
}

impl App {
    /// An agent in this process joins a console to a connection.
    ///
    /// # Errors
    /// No such connection waits for this host.
    pub fn agent_joins_console(&self, host: HostId, connection: &str, stream: Stream) -> Result<()> {
        let arrival = self.consoles.take(host, connection)?;
        arrival.send(stream).map_err(|_| Error::not_found("Console connection", connection))
    }
}
