//! Serving the router on a listener, until told to stop: with a bound on connections, on what each may hold, and on how
//! long it may say nothing.

use crate::app::{router, App};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use rustix::process::{getrlimit, Resource};
use std::{future::Future, io, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

/// How long a request's head may take to arrive; also how long a kept-alive connection may stay idle.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// What a connection buffers at most, in bytes. A request's head must fit.
const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Files that are kept for what is not a connection: the store, images, agents' sockets.
const FILES_KEPT: u64 = 128;

/// The most connections at once, however many files the system allows.
const CONNECTIONS_MAX: u64 = 10_000;

/// Rest after the system had no file for a connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Serves until `stop` comes true; requests under way are finished.
///
/// # Errors
/// None at present: a listener that refuses is asked again.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router(app));
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
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let connection = graceful.watch(connection(stream, service.clone()));
        tokio::spawn(async move {
            // A client that breaks off is its own affair.
            let _ = connection.await;
            drop(place);
        });
    }
    graceful.shutdown().await;
    Ok(())
}

fn connection(
    stream: TcpStream,
    service: TowerToHyperService<axum::Router>,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<axum::Router>> {
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    let _ = stream.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
}

/// How many connections there may be at once.
fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(CONNECTIONS_MAX);
    let places = files.saturating_sub(FILES_KEPT).clamp(16, CONNECTIONS_MAX);
    usize::try_from(places).unwrap_or(usize::MAX)
}
