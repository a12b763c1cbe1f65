//! The unread rest of a refused request's body. The server reads the body to its end, so that the client's next
//! request on the connection is answered.

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderValue, header::CONNECTION},
    response::Response,
};
use http_body_util::{BodyExt, Limited};
use lenticular_model::Lock;
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// The most bytes and the longest time of this reading. A client with more to send loses its connection, and the
/// answer says so.
const BYTES_MAX: u64 = 64 * 1024;
const WAIT: Duration = Duration::from_secs(1);

type Slot = Arc<Lock<Option<Body>>>;

/// The place that the body returns to.
pub struct Unread(Slot);

/// A body that returns to its slot when it is dropped.
struct Watched {
    body: Option<Body>,
    back: Slot,
}

/// Hands a request's body to the handler, and keeps a way to get the unread rest back.
pub fn watch(request: Request) -> (Unread, Request) {
    let slot = Slot::default();
    let (parts, body) = request.into_parts();
    let body = match body.is_end_stream() {
        true => body,
        false => Body::new(Watched { body: Some(body), back: slot.clone() }),
    };
    (Unread(slot), Request::from_parts(parts, body))
}

impl Unread {
    /// Reads the rest, or makes the response say that the connection ends.
    pub async fn finish(self, response: &mut Response) {
        let body = self.0.lock().take();
        let Some(body) = body.filter(|body| !body.is_end_stream()) else { return };
        let is_small = body.size_hint().lower() <= BYTES_MAX;
        let limit = usize::try_from(BYTES_MAX).unwrap_or(usize::MAX);
        let read = async { Limited::new(body, limit).collect().await.is_ok() };
        if !(is_small && tokio::time::timeout(WAIT, read).await.unwrap_or(false)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        *self.back.lock() = self.body.take();
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.as_ref().map(HttpBody::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn left(sent: &'static [u8], reads: bool) -> Option<HeaderValue> {
        let (unread, request) = watch(Request::new(Body::from(sent)));
        match reads {
            true => drop(request.into_body().collect().await.unwrap()),
            false => drop(request),
        }
        let mut response = Response::new(Body::empty());
        unread.finish(&mut response).await;
        response.headers().get(CONNECTION).cloned()
    }

    #[tokio::test]
    async fn what_is_left_is_read_and_too_much_of_it_ends_the_connection() {
        assert_eq!(left(b"", false).await, None);
        assert_eq!(left(b"{}", true).await, None);
        assert_eq!(left(b"{}", false).await, None);
        assert_eq!(left(&[b' '; 100_000], true).await, None);
        assert_eq!(left(&[b' '; 100_000], false).await.unwrap(), "close");
    }
}
