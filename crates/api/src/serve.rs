//! Serving the router on a listener, until told to stop.

use crate::app::{router, App};
use axum::serve::ListenerExt;
use std::{future::Future, io};
use tokio::net::TcpListener;

/// Serves until `stop` comes true; requests under way are finished.
///
/// # Errors
/// The listener broke.
pub async fn serve(
    app: App,
    listener: TcpListener,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    // Answers are small and written whole: waiting to fill a packet would only delay them.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router(app)).with_graceful_shutdown(stop).await
}
