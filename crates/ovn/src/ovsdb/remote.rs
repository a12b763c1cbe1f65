//! The address of a database server: `unix:PATH`, `ssl:ADDRESS:PORT`, `tcp:ADDRESS:PORT`.

use super::tls::Tls;
use std::{fmt, io, net::SocketAddr, path::PathBuf};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A server's address.
#[derive(Debug, Clone)]
pub enum Remote {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A TCP port without TLS.
    Tcp(SocketAddr),
    /// A TCP port, with TLS.
    Ssl(SocketAddr, Tls),
}

/// The error: a text names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRemote {
    /// The text is no address.
    #[error(
        "'{0}' names no database server; write unix:PATH, ssl:ADDRESS:PORT or tcp:ADDRESS:PORT (an IPv6 address in \
         brackets)"
    )]
    Unknown(String),
    /// TLS needs a key and certificates.
    #[error("'{0}' wants TLS: say with which key, certificate and CA (northbound_tls)")]
    NoTls(String),
}

/// A stream to a server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
            Self::Ssl(address, _) => write!(f, "ssl:{address}"),
        }
    }
}

impl Remote {
    fn read(text: &str, tls: Option<&Tls>) -> Result<Self, BadRemote> {
        let bad = || BadRemote::Unknown(text.to_owned());
        let address = |text: &str| text.parse().map_err(|_| bad());
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", at)) => Ok(Self::Tcp(address(at)?)),
            Some(("ssl", at)) => {
                let tls = tls.ok_or_else(|| BadRemote::NoTls(text.to_owned()))?;
                Ok(Self::Ssl(address(at)?, tls.clone()))
            }
            _ => Err(bad()),
        }
    }

    /// Parses several addresses, separated by commas; `tls` is for those with TLS.
    ///
    /// # Errors
    /// One of them names no server, or needs TLS and `tls` is `None`.
    pub fn list(text: &str, tls: Option<&Tls>) -> Result<Vec<Self>, BadRemote> {
        text.split(',').map(|one| Self::read(one.trim(), tls)).collect()
    }

    /// Connects.
    ///
    /// # Errors
    /// No server listens there, or its certificate is not accepted.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = async |address| {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        };
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => Box::new(tcp(*address).await?),
            Self::Ssl(address, tls) => Box::new(tls.connect(*address, tcp(*address).await?).await?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_read_as_ovn_writes_them() {
        for text in ["unix:/run/ovn/nb.sock", "tcp:10.0.0.1:6641", "tcp:[fd00::1]:6641"] {
            assert_eq!(Remote::read(text, None).unwrap().to_string(), text);
        }
        assert_eq!(Remote::list("tcp:10.0.0.1:1, tcp:10.0.0.2:1", None).unwrap().len(), 2);
        for text in ["", "unix:", "tcp:host", "10.0.0.1:6641", "ssl:10.0.0.1:6641"] {
            assert!(Remote::read(text, None).is_err(), "{text}");
        }
    }
}
