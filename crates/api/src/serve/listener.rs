//! Serves a router on a listener until the stop signal: with limits on connections, on each connection's buffers,
//! and on its idle time.

use crate::{
    agent::tls::{AgentTls, Shown},
    app::App,
    router::{agent_router, router},
    serve::{
        connections::{Connections, Place},
        watched::{self, Watched},
    },
};
use axum::{extract::FromRequestParts, http::request::Parts};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    convert::Infallible,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tower_service::Service as _;

/// How long a request's head may take to arrive; also how long a kept-alive connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest buffer of a connection, in bytes. A request's head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Files that are reserved for other uses than connections: the store, uploads, agents' sockets.
const FILES_KEPT: u64 = 128;

/// The most connections of a listener at once, even if the system allows more files.
const CONNECTIONS_MAX: u64 = 10_000;

/// How many connections may wait for a place; later connections are closed at once.
const WAITING_MAX: usize = 64;

/// The pause after the system had no file for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves clients until `stop` turns true; requests in progress are finished.
///
/// # Errors
/// None at present: a failed accept is tried again.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let router = router(app);
    accept(listener, stop, |accepted| {
        let router = router.clone();
        tokio::spawn(async move {
            let Accepted { stream, from, stopping, place } = accepted;
            let service = Serving {
                router,
                place: place.clone(),
                origin: Origin(from.ip().to_canonical()),
                shown: None,
            };
            let connection = connection(Watched::new(stream, place.clone()), service);
            until_closed(connection, &place, stopping).await;
        });
    })
    .await;
    Ok(())
}

/// Serves agents over TLS until `stop` turns true.
///
/// # Errors
/// None at present: a failed accept is tried again.
pub async fn serve_agents(
    app: App,
    listener: TcpListener,
    tls: AgentTls,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (router, tls) = (agent_router(app), Arc::new(tls));
    accept(listener, stop, |accepted| {
        let (router, tls) = (router.clone(), tls.clone());
        tokio::spawn(async move {
            let Accepted { stream, from, stopping, place } = accepted;
            let Ok(local) = stream.local_addr() else { return };
            let handshake = tls.accept(Watched::new(stream, place.clone()), local.ip(), from);
            let accepted = tokio::select! {
                accepted = handshake => accepted,
                () = place.closed() => None,
            };
            let Some((stream, shown)) = accepted else { return };
            let service = Serving {
                router,
                place: place.clone(),
                origin: Origin(from.ip().to_canonical()),
                shown: Some(shown),
            };
            until_closed(connection(stream, service), &place, stopping).await;
        });
    })
    .await;
    Ok(())
}

/// Serves a connection until it ends, changes to another protocol, or must close for another. When the listener stops, the
/// request in progress is finished.
async fn until_closed<I, S>(
    connection: http1::UpgradeableConnection<TokioIo<I>, S>,
    place: &Place,
    mut stopping: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that disconnects is no error of ours.
        _ = connection.as_mut() => return,
        () = place.closed() => return,
        _ = stopping.wait_for(|stops| *stops) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ = connection => {}
        () = place.closed() => {}
    }
}

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub struct Origin(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Origin {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        // A request without a connection came from this process.
        Ok(parts.extensions.get().copied().unwrap_or(Self(Ipv4Addr::LOCALHOST.into())))
    }
}

/// Gives every request of a connection the origin and the peer's certificate, and watches the connection's turns.
struct Serving {
    router: axum::Router,
    place: Arc<Place>,
    origin: Origin,
    shown: Option<Shown>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Serving {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        let mut request = watched::request(request, &self.place);
        let extensions = request.extensions_mut();
        extensions.insert(self.origin);
        extensions.insert(self.place.clone());
        if let Some(shown) = &self.shown {
            extensions.insert(shown.clone());
        }
        let (mut router, place) = (self.router.clone(), self.place.clone());
        Box::pin(async move {
            let answered = router.call(request).await?;
            Ok(watched::answer(answered, &place))
        })
    }
}

/// An accepted connection.
struct Accepted {
    stream: TcpStream,
    from: SocketAddr,
    /// Turns true when the listener stops. The listener waits until it is dropped.
    stopping: watch::Receiver<bool>,
    place: Arc<Place>,
}

/// Hands over connections as they come, until `stop` turns true; then waits for the connections in progress.
async fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
    mut hand_over: impl FnMut(Accepted),
) {
    let (stops, stopping) = watch::channel(false);
    let connections = Connections::new(places());
    let mut waiting = JoinSet::new();
    tokio::pin!(stop);
    loop {
        let (stream, from, place) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match connections.try_enter(from.ip()) {
                    Some(place) => (stream, from, place),
                    None => {
                        // No connection waits behind another waiting connection.
                        if waiting.len() < WAITING_MAX {
                            let connections = connections.clone();
                            waiting.spawn(async move { (stream, from, connections.enter(from.ip()).await) });
                        }
                        continue;
                    }
                },
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_REST).await;
                    continue;
                }
            },
            Some(entered) = waiting.join_next() => match entered {
                Ok((stream, from, Some(place))) => (stream, from, place),
                _ => continue,
            },
            () = &mut stop => break,
        };
        // Answers are small and written whole: Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        hand_over(Accepted { stream, from, stopping: stopping.clone(), place: Arc::new(place) });
    }
    drop(stopping);
    let _ = stops.send(true);
    stops.closed().await;
}

fn connection<I, S>(stream: I, service: S) -> http1::UpgradeableConnection<TokioIo<I>, S>
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: hyper::service::HttpService<Incoming, ResBody = axum::body::Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
}

/// How many connections each listener may have at once. Clients and agents cannot take each other's places, and
/// each connection may read a file beside its socket.
fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(4 * CONNECTIONS_MAX);
    let places = (files.saturating_sub(FILES_KEPT) / 4).clamp(16, CONNECTIONS_MAX);
    usize::try_from(places).unwrap_or(usize::MAX)
}

/// Raises the limit of open files to the maximum that the system allows this process: the default is far lower.
pub fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
