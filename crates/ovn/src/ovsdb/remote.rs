//! Where a database server listens: `unix:PATH`, `tcp:ADDRESS:PORT`.

use std::{fmt, io, net::SocketAddr, path::PathBuf, str::FromStr};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A server's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remote {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(SocketAddr),
}

/// A text that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' names no database server; write unix:PATH or tcp:ADDRESS:PORT (an IPv6 address in brackets)")]
pub struct BadRemote(pub String);

/// A stream to a server.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl FromStr for Remote {
    type Err = BadRemote;
    fn from_str(text: &str) -> Result<Self, BadRemote> {
        let bad = || BadRemote(text.to_owned());
        match text.split_once(':') {
            Some(("unix", path)) if !path.is_empty() => Ok(Self::Unix(path.into())),
            Some(("tcp", address)) => address.parse().map(Self::Tcp).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp:{address}"),
        }
    }
}

impl Remote {
    /// Several, separated by commas.
    ///
    /// # Errors
    /// One of them names no server.
    pub fn list(text: &str) -> Result<Vec<Self>, BadRemote> {
        text.split(',').map(|one| one.trim().parse()).collect()
    }

    /// Connects.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        Ok(match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Box::new(stream)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_are_read_as_ovn_writes_them() {
        for text in ["unix:/run/ovn/nb.sock", "tcp:10.0.0.1:6641", "tcp:[fd00::1]:6641"] {
            assert_eq!(text.parse::<Remote>().unwrap().to_string(), text);
        }
        assert_eq!(Remote::list("tcp:10.0.0.1:1, tcp:10.0.0.2:1").unwrap().len(), 2);
        for text in ["", "unix:", "tcp:host", "10.0.0.1:6641"] {
            assert!(text.parse::<Remote>().is_err(), "{text}");
        }
    }
}
