//! The transport between hosts over mutual TLS, with the identities from the cloud's CA.

use crate::{
    identity::Identity,
    peer::{Soon, Stream, Transport},
};
use lenticular_wire::agent::Peer;
use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};
use tokio::net::TcpListener;

/// Where an agent listens for others by default, if the port is free.
const PORT: u16 = 9172;
/// A connection must be made within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// The transport.
pub struct TlsTransport {
    identity: Identity,
    listener: TcpListener,
    address: SocketAddr,
}

impl TlsTransport {
    /// Listens at `listen`, or by default on the address that this host uses towards the control plane at
    /// `host:port`.
    ///
    /// # Errors
    /// The address is not this host's, or is in use.
    pub async fn open(
        identity: Identity,
        listen: Option<SocketAddr>,
        control_plane: &str,
    ) -> io::Result<Self> {
        let listener = match listen {
            Some(address) => TcpListener::bind(address).await?,
            None => {
                let own = own_address(control_plane).await?;
                match TcpListener::bind((own, PORT)).await {
                    Ok(listener) => listener,
                    Err(_) => TcpListener::bind((own, 0)).await?,
                }
            }
        };
        let address = listener.local_addr()?;
        Ok(Self { identity, listener, address })
    }
}

/// The source address of packets to the control plane. No packet is sent.
async fn own_address(control_plane: &str) -> io::Result<IpAddr> {
    let unknown = || io::Error::other(format!("{control_plane} cannot be resolved"));
    let there = tokio::net::lookup_host(control_plane).await?.next().ok_or_else(unknown)?;
    let any: SocketAddr = match there {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect(there)?;
    Ok(socket.local_addr()?.ip())
}

impl Transport for TlsTransport {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn connect<'a>(&'a self, to: &'a Peer) -> Soon<'a, Stream> {
        Box::pin(async move {
            let address: SocketAddr = to.address.parse().map_err(io::Error::other)?;
            let connect = self.identity.connect(address, &to.name);
            let stream = tokio::time::timeout(CONNECT_WITHIN, connect).await??;
            Ok(Box::new(stream) as Stream)
        })
    }

    fn accept(&self) -> Soon<'_, Soon<'static, (String, Stream)>> {
        Box::pin(async move {
            let (stream, _) = self.listener.accept().await?;
            stream.set_nodelay(true)?;
            let acceptor = self.identity.acceptor();
            let proven: Soon<'static, (String, Stream)> = Box::pin(async move {
                let stream = acceptor.accept(stream).await?;
                let name = Identity::peer_of(stream.get_ref().1);
                let name = name.ok_or_else(|| io::Error::other("its certificate names no host"))?;
                Ok((name, Box::new(stream) as Stream))
            });
            Ok(proven)
        })
    }
}
