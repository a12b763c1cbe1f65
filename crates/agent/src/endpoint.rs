//! The control plane's URL for agents, and connections to it for the HTTP client.

use crate::identity::{Identity, IdentityError};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::{
    client::legacy::connect::{Connected, Connection},
    rt::TokioIo,
};
use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// The default port of a control plane for agents.
const DEFAULT_PORT: u16 = 9171;

/// An `https://host:port`.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    base: String,
    authority: String,
    host: String,
    port: u16,
}

impl Endpoint {
    /// Reads a URL.
    ///
    /// # Errors
    /// The URL is not an `https` URL of a host and an optional port.
    pub(crate) fn of(url: &str) -> Result<Self, IdentityError> {
        let bad = || IdentityError::BadUrl(url.to_owned());
        let uri: hyper::Uri = url.trim_end_matches('/').parse().map_err(|_| bad())?;
        let host = uri.host().filter(|_| uri.scheme_str() == Some("https")).ok_or_else(bad)?;
        if !uri.path().trim_end_matches('/').is_empty() || uri.query().is_some() {
            return Err(bad());
        }
        let port = uri.port_u16().unwrap_or(DEFAULT_PORT);
        let authority = format!("{host}:{port}");
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { base: format!("https://{authority}"), authority, host, port })
    }

    /// The URL, with its port and without a slash at the end.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Host and port, in the form of a request's head.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// The host's name or address.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }
}

/// Makes connections to the control plane for the HTTP client.
#[derive(Clone)]
pub(crate) struct Connect {
    pub endpoint: Endpoint,
    pub identity: Identity,
}

impl tower_service::Service<hyper::Uri> for Connect {
    type Response = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let Self { endpoint, identity } = self.clone();
        Box::pin(async move {
            let stream = identity.connect_to_control_plane(endpoint.host(), endpoint.port()).await?;
            Ok(Stream(TokioIo::new(stream)))
        })
    }
}

/// A connection in the form that the HTTP client needs.
pub(crate) struct Stream(TokioIo<TlsStream<TcpStream>>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_where_a_control_plane_can_be_is_taken() {
        let base = |url: &str| Endpoint::of(url).map(|e| (e.base().to_owned(), e.host().to_owned()));
        assert_eq!(base("https://cloud").unwrap(), ("https://cloud:9171".to_owned(), "cloud".to_owned()));
        assert_eq!(base("https://[::1]:5/").unwrap(), ("https://[::1]:5".to_owned(), "::1".to_owned()));
        for bad in ["", "cloud", "http://cloud:9171", "https://", "https://cloud/x", "https://cloud?x"] {
            assert!(base(bad).is_err(), "{bad}");
        }
    }
}
