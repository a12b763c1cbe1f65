//! Serves one network's guests over HTTP, with limits on every resource that a guest may take.

use super::{
    Guests, canary,
    documents::{self, Answer},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::{Method, Request, Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use lenticular_model::{
    NetworkId,
    host::canary::{SCRIPT, network_id},
};
use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, sync::Semaphore};

/// Connections of one network at once. Guests that hold their connections open delay only guests of their own
/// network.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may last.
const CONNECTION_S_MAX: u64 = 30;
const BODY_BYTES_MAX: usize = 4096;

/// Serves until the future is dropped.
pub(crate) async fn serve(listener: TcpListener, network: NetworkId, guests: Arc<Guests>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%network, %error, "a guest's connection for metadata could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let guests = guests.clone();
        tokio::spawn(async move {
            let answering = service_fn(|request| answer(request, network, peer.ip(), &guests));
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answering);
            // A guest may close its connection at any time.
            let _ = tokio::time::timeout(Duration::from_secs(CONNECTION_S_MAX), connection).await;
            drop(place);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    network: NetworkId,
    peer: IpAddr,
    guests: &Guests,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let Some(caller) = guests.caller(network, peer) else {
        tracing::debug!(%network, %peer, "nobody of this host has this address");
        return Ok(response(Answer::refusal(
            404,
            "No server of this network has your address on this host.",
        )));
    };
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    Ok(response(match parts.method {
        Method::GET if network == network_id() && path.starts_with(SCRIPT) => canary::answer(guests, &path),
        Method::GET => documents::get(guests, &caller, &path),
        Method::POST => match Limited::new(body, BODY_BYTES_MAX).collect().await {
            Ok(body) => documents::post(guests, &caller, &path, &body.to_bytes()).await,
            Err(error) if error.is::<LengthLimitError>() => Answer::refusal(413, "The request is too large."),
            Err(_) => Answer::refusal(400, "The body did not arrive whole."),
        },
        _ => Answer::refusal(405, "Only GET is allowed, and POST of a password."),
    }))
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(answer.body)));
    *response.status_mut() = hyper::StatusCode::from_u16(answer.status).unwrap_or_default();
    let kind = hyper::header::HeaderValue::from_static(answer.kind);
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, kind);
    response
}
