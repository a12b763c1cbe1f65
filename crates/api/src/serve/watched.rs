//! A watched connection: the reads and writes show its turn. The connection ends if its client does not read.

use crate::{
    limits::STREAM_STALL,
    serve::connections::{Place, Turn},
};
use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Sleep,
};

/// A stream that ends if the client takes no written byte for [`STREAM_STALL`].
pub struct Watched<S> {
    inner: S,
    place: Arc<Place>,
    stalled: Option<Pin<Box<Sleep>>>,
    stall: Duration,
}

impl<S> Watched<S> {
    /// Watches a stream.
    pub fn new(inner: S, place: Arc<Place>) -> Self {
        Self { inner, place, stalled: None, stall: STREAM_STALL }
    }

    fn judge<T>(&mut self, cx: &mut Context<'_>, went: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if went.is_ready() {
            if self.stalled.take().is_some() {
                self.place.goes_on();
            }
            return went;
        }
        let stall = self.stall;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        match stalled.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.judge(cx, went)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let went = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.judge(cx, went)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.inner).poll_flush(cx);
        self.judge(cx, went)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let went = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.judge(cx, went)
    }
}

/// A request's body: at its end, the server's turn begins.
struct Sent {
    inner: Incoming,
    place: Arc<Place>,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(_))) if !self.inner.is_end_stream() => self.place.goes_on(),
            Poll::Ready(_) => self.place.turn(Turn::Working),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The request's head has arrived.
pub fn request(request: hyper::Request<Incoming>, place: &Arc<Place>) -> hyper::Request<Body> {
    place.turn(if request.body().is_end_stream() { Turn::Working } else { Turn::Sending });
    request.map(|inner| Body::new(Sent { inner, place: place.clone() }))
}

/// An answer's body: when it is dropped, complete or not, the connection waits for the next request.
struct Answer {
    inner: Body,
    place: Arc<Place>,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.place.turn(Turn::Waiting);
    }
}

/// The answer begins.
pub fn answer(answer: hyper::Response<Body>, place: &Arc<Place>) -> hyper::Response<Body> {
    place.turn(Turn::Reading);
    answer.map(|inner| Body::new(Answer { inner, place: place.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::connections::Connections;
    use std::net::Ipv4Addr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn a_write_that_the_client_does_not_take_ends() {
        let place = Arc::new(Connections::new(4).try_enter(Ipv4Addr::LOCALHOST.into()).unwrap());
        let (ours, mut theirs) = tokio::io::duplex(16);
        let stall = Duration::from_millis(20);
        let mut stream = Watched { stall, ..Watched::new(ours, place) };
        stream.write_all(b"fits").await.unwrap();
        let mut taken = [0; 4];
        theirs.read_exact(&mut taken).await.unwrap();
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
