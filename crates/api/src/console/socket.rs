//! The WebSocket of a console (RFC 6455): each message is a piece of the console's bytes.

use super::{
    connection::{ConsoleConnection, Stream},
    host::host_with_console,
    token::ConsoleToken,
};
use crate::{
    app::{App, Config},
    ctx::header,
    fault::{Fault, Handled},
    limits::QUESTION_TIMEOUT,
    query::Query,
    serve::connections::{Place, Turn},
};
use axum::{
    Extension,
    extract::{
        RawQuery, State,
        ws::{
            CloseCode, CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::{HeaderMap, HeaderValue, StatusCode, header::CONNECTION},
    response::IntoResponse,
};
use bytes::BytesMut;
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use lenticular_model::{
    HostId,
    error::{Error, Result},
};
use lenticular_wire::agent::Subject;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf},
    time::{interval, timeout},
};

/// The largest message of a browser, in bytes: a pasted text.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The largest piece that is sent to a browser, in bytes.
const PIECE_BYTES: usize = 16 * 1024;
/// How often a browser is asked whether it is still there.
const PING: Duration = Duration::from_secs(30);
/// How often the rights of an open console's user are looked at.
const LOOK: Duration = Duration::from_secs(10);
/// How long a browser may take for the closing frame.
const CLOSE_MAX: Duration = Duration::from_secs(10);
/// A browser that says nothing for this long is gone.
const SILENCE: Duration = Duration::from_secs(75);
/// The longest reason in a closing frame, in bytes (RFC 6455, section 5.5.1).
const REASON_BYTES_MAX: usize = 123;

/// `GET /console/connect?token=…`
///
/// A browser's script sees neither status nor text of a refused WebSocket. So the page asks again without one, and gets the
/// refusal's text. What happens after the token was good is told by the closing frame.
pub async fn connect(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    place: Option<Extension<Arc<Place>>>,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Handled {
    check_origin(&headers, &app.config)?;
    let token = Query::parse(query.as_deref()).get("token").unwrap_or_default().to_owned();
    let token = match ConsoleToken::open(&app, &app.store.state(), &token) {
        Ok(token) => token,
        Err(error) => {
            // Clients of WebSockets take every byte for a message, and wait for the end of the connection.
            let mut refused = match upgrade {
                Ok(_) => StatusCode::UNAUTHORIZED.into_response(),
                Err(_) => Fault(error).into_response(),
            };
            refused.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(refused);
        }
    };
    let upgrade = upgrade.map_err(|refusal| {
        Error::invalid(format!("This path takes WebSocket connections alone: {refusal}"))
    })?;
    let upgrade =
        upgrade.protocols(["binary"]).max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(upgrade.on_upgrade(async move |mut socket| {
        if let Some(Extension(place)) = place {
            // No request is awaited here, so the connection is not closed for others.
            place.turn(Turn::Working);
        }
        let (code, why) = match open(&app, token).await {
            Ok(opened) => carry(&app, &mut socket, opened).await,
            // The page tries again.
            Err(error) => (close_code::AGAIN, error.to_string()),
        };
        let end = why.floor_char_boundary(REASON_BYTES_MAX);
        let frame = CloseFrame { code, reason: why[..end].into() };
        // A browser that has gone needs no reason.
        let _ = timeout(CLOSE_MAX, socket.send(Message::Close(Some(frame)))).await;
    }))
}

/// Refuses a page of another site. A client without a browser names no origin.
fn check_origin(headers: &HeaderMap, config: &Config) -> Result<()> {
    for origin in headers.get_all("origin") {
        check_one_origin(origin.to_str().unwrap_or("an unreadable origin"), headers, config)?;
    }
    Ok(())
}

fn check_one_origin(origin: &str, headers: &HeaderMap, config: &Config) -> Result<()> {
    // A proxy may add TLS, so http and https of one host are one site.
    let site = |url: &str| {
        let (scheme, rest) = url.split_once("://")?;
        let host = rest.split('/').next()?.to_ascii_lowercase();
        let port = if scheme == "https" { ":443" } else { ":80" };
        Some(host.strip_suffix(port).map_or(host.clone(), str::to_owned))
    };
    let own = [site(&config.public_url), header(headers, "host").map(str::to_ascii_lowercase)];
    let is_own = site(origin).is_some_and(|asking| own.iter().flatten().any(|own| *own == asking));
    let allowed = &config.settings.console.allowed_origins;
    match is_own || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin)) {
        true => Ok(()),
        false => Err(Error::forbidden(format!(
            "A page of {origin} may not open consoles of this cloud. The operator can allow it: allowed_origins \
             in the table `console` of the settings."
        ))),
    }
}

/// An open console.
struct Opened {
    token: ConsoleToken,
    host: HostId,
    stream: Stream,
    /// Ends with the connection.
    _connection: ConsoleConnection,
}

/// Lets the agent of the server's host open a console.
async fn open(app: &App, token: ConsoleToken) -> Result<Opened> {
    let state = app.store.state();
    let server =
        state.servers.get(&token.server_id).ok_or_else(|| Error::not_found("Instance", token.server_id))?;
    let host = host_with_console(&state, server)?;
    let mut connection = app.consoles.begin(server.project_id, token.server_id, host)?;
    let ask = Subject::OpenConsole {
        server_id: token.server_id,
        kind: token.kind,
        connection: connection.name.clone(),
    };
    app.links.ask(host, ask, QUESTION_TIMEOUT).await?;
    let arrived = timeout(QUESTION_TIMEOUT, &mut connection.arrival).await;
    let lost = || Error::unavailable("The connection to the server's host was lost. Try again.");
    let stream = arrived.ok().and_then(std::result::Result::ok).ok_or_else(lost)?;
    Ok(Opened { token, host, stream, _connection: connection })
}

/// Carries bytes until one side ends. Returns why.
async fn carry(app: &App, socket: &mut WebSocket, opened: Opened) -> (CloseCode, String) {
    let Opened { token, host, stream, _connection } = opened;
    let (server, user, kind) = (token.server_id, token.client.user_id, token.kind);
    tracing::info!(%server, %user, ?kind, "a console was opened");
    let began = app.now();
    let (to_browser, from_browser) = socket.split();
    let (from_guest, to_guest) = tokio::io::split(stream);
    let end = tokio::select! {
        end = type_in(from_browser, to_guest) => end,
        end = show(from_guest, to_browser) => end,
        end = end_of_reason(app, &token, host) => end,
    };
    tracing::info!(%server, %user, ?kind, seconds = app.now().since_ms(began) / 1_000, "a console was closed");
    end
}

/// Waits until the console's user may not use it any more, or its host is not the place to look at.
async fn end_of_reason(app: &App, token: &ConsoleToken, host: HostId) -> (CloseCode, String) {
    loop {
        tokio::time::sleep(LOOK).await;
        let state = app.store.state();
        if let Err(error) = token.still_holds(&state, app.now()) {
            return (close_code::POLICY, error.to_string());
        }
        let server = state.servers.get(&token.server_id);
        let is_there = server.is_some_and(|server| server.host_id == Some(host));
        if !is_there || !state.hosts.get(&host).is_some_and(|host| host.is_up()) {
            return (close_code::AGAIN, "The server has moved, or its host is silent.".to_owned());
        }
    }
}

/// From the browser to the guest.
async fn type_in(mut from: SplitStream<&mut WebSocket>, mut to: WriteHalf<Stream>) -> (CloseCode, String) {
    loop {
        let message = match timeout(SILENCE, from.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(error))) => {
                return (close_code::SIZE, format!("The browser's message cannot be read: {error}"));
            }
            _ => return (close_code::AWAY, "The browser is gone.".to_owned()),
        };
        let written = match message {
            Message::Binary(bytes) => to.write_all(&bytes).await,
            Message::Text(text) => to.write_all(text.as_bytes()).await,
            Message::Close(_) => return (close_code::NORMAL, String::new()),
            // Questions are answered by the library; an answer only shows that the browser is there.
            Message::Ping(_) | Message::Pong(_) => Ok(()),
        };
        if written.is_err() || to.flush().await.is_err() {
            return guest_is_gone();
        }
    }
}

/// From the guest to the browser.
async fn show(mut from: ReadHalf<Stream>, mut to: SplitSink<&mut WebSocket, Message>) -> (CloseCode, String) {
    let mut piece = BytesMut::new();
    let mut ping = interval(PING);
    loop {
        piece.reserve(PIECE_BYTES);
        let message = tokio::select! {
            read = from.read_buf(&mut piece) => match read {
                Ok(bytes) if bytes > 0 => Message::Binary(piece.split().freeze()),
                _ => return guest_is_gone(),
            },
            _ = ping.tick() => Message::Ping(Default::default()),
        };
        if to.send(message).await.is_err() {
            return (close_code::AWAY, "The browser is gone.".to_owned());
        }
    }
}

fn guest_is_gone() -> (CloseCode, String) {
    (
        close_code::AWAY,
        "The console was closed: its guest's process ended, or another client took the serial line."
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;
    use axum::http::HeaderValue;

    #[test]
    fn only_the_clouds_own_pages_and_allowed_ones_open_consoles() {
        let mut settings = Settings::default();
        settings.console.allowed_origins = vec!["https://dash.example".to_owned()];
        let config = Config {
            public_url: "https://cloud.example:9170".to_owned(),
            agent_url: String::new(),
            fencing: Default::default(),
            settings,
        };
        let judge = |origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert("host", HeaderValue::from_static("10.0.0.5:9170"));
            if let Some(origin) = origin {
                headers.insert("origin", HeaderValue::from_str(origin).unwrap());
            }
            check_origin(&headers, &config).is_ok()
        };
        for good in [
            "https://cloud.example:9170",
            "https://Cloud.example:9170",
            "http://10.0.0.5:9170",
            "https://dash.example",
        ] {
            assert!(judge(Some(good)), "{good}");
        }
        assert!(judge(None), "a client without a browser");
        for bad in [
            "null",
            "",
            "https://cloud.example",
            "https://evil.example",
            "http://10.0.0.5:9171",
            "http://dash.example",
        ] {
            assert!(!judge(Some(bad)), "{bad}");
        }
    }
}
