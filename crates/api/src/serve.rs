//! Serving a router on a listener, until told to stop: with a bound on connections, on what each may hold, and on how
//! long it may say nothing.

use crate::{
    agent_tls::{AgentTls, Shown},
    app::{agent_router, router, App},
};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
    service::TowerToHyperService,
};
use rustix::process::{getrlimit, Resource};
use std::{convert::Infallible, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

/// How long a request's head may take to arrive; also how long a kept-alive connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection buffers at most, in bytes. A request's head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Files that are kept for what is not a connection: the store, images, agents' sockets.
const FILES_KEPT: u64 = 128;

/// The most connections of a listener at once, however many files the system allows.
const CONNECTIONS_MAX: u64 = 10_000;

/// Rest after the system had no file for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves clients until `stop` comes true; requests under way are finished.
///
/// # Errors
/// None at present: a listener that refuses is asked again.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router(app));
    accept(listener, stop, |accepted| {
        let service = service.clone();
        tokio::spawn(async move {
            let connection = connection(accepted.stream, service);
            // A client that breaks off is its own affair.
            let _ = accepted.watcher.watch(connection).await;
            drop(accepted.place);
        });
    })
    .await;
    Ok(())
}

/// Serves agents until `stop` comes true, over TLS.
///
/// # Errors
/// None at present: a listener that refuses is asked again.
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
            if let Some((stream, shown)) = tls.accept(accepted.stream, accepted.from).await {
                let _ = accepted.watcher.watch(connection(stream, Showing { router, shown })).await;
            }
            drop(accepted.place);
        });
    })
    .await;
    Ok(())
}

/// Tells every request on a connection what its peer showed.
struct Showing {
    router: axum::Router,
    shown: Shown,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Showing {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future =
        <TowerToHyperService<axum::Router> as hyper::service::Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.shown.clone());
        TowerToHyperService::new(self.router.clone()).call(request)
    }
}

/// A connection that came in.
struct Accepted {
    stream: TcpStream,
    from: SocketAddr,
    watcher: Watcher,
    place: OwnedSemaphorePermit,
}

/// Hands over connections as they come, until `stop` comes true; then waits for those under way.
async fn accept(
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
    mut hand_over: impl FnMut(Accepted),
) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(places()));
    tokio::pin!(stop);
    loop {
        // Whoever comes when all places are taken waits in the listener's queue.
        let next = async {
            let place = places.clone().acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            next = next => next,
            () = &mut stop => break,
        };
        match (accepted, place) {
            (Ok((stream, from)), Ok(place)) => {
                // Answers are small and written whole: waiting to fill a packet would only delay them.
                let _ = stream.set_nodelay(true);
                hand_over(Accepted { stream, from, watcher: graceful.watcher(), place });
            }
            (Err(error), _) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
            }
            // The semaphore is never closed.
            (_, Err(_)) => break,
        }
    }
    graceful.shutdown().await;
}

fn connection<I, S>(stream: I, service: S) -> http1::Connection<TokioIo<I>, S>
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
}

/// How many connections each listener may have at once: neither clients nor agents can take the other's.
fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(2 * CONNECTIONS_MAX);
    let places = (files.saturating_sub(FILES_KEPT) / 2).clamp(16, CONNECTIONS_MAX);
    usize::try_from(places).unwrap_or(usize::MAX)
}
