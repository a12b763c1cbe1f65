//! The protocol between hosts' agents: one connection for each request.
//!
//! ```text
//! asker                                  asked
//!   PeerRequest (length, JSON) ────────────────▶
//!   ◀──────────────────── Reply (length, JSON): granted, or why not
//!   bytes, as the PeerRequest has it ◀────────▶
//! ```
//!
//! The transport proves the peer's name; the request's content does not.

use lenticular_model::{DiskId, ServerId};
use lenticular_wire::agent::Peer;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{future::Future, io, pin::Pin};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of this protocol. A peer with another version is refused by name.
const VERSION: u32 = 1;
/// The longest PeerRequest or Reply, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection.
pub type Stream = Box<dyn Duplex>;

/// A future result.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Carries connections between hosts, and proves the peer's name.
pub trait Transport: Send + Sync {
    /// `address:port` where others reach this host.
    fn address(&self) -> String;

    /// Connects to another host, and proves that it has that name.
    fn connect<'a>(&'a self, to: &'a Peer) -> Soon<'a, Stream>;

    /// The next connection from another host. The inner future proves the peer's name, and returns it with the
    /// connection.
    fn accept(&self) -> Soon<'_, Soon<'static, (String, Stream)>>;
}

/// A request of one host to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRequest {
    version: u32,
    /// The server.
    pub server_id: ServerId,
    /// The generation of its disk.
    pub generation: u64,
    /// The requested action.
    pub what: What,
}

/// The actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum What {
    /// Write the waiting guest's disks; then the connection speaks NBD, and the export's name says which disk.
    Disk {
        /// The virtual size of the root disk, in bytes.
        bytes: u64,
        /// The virtual sizes of the other disks, in order.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        more: Vec<u64>,
    },
    /// Another connection to the disks that `Disk` opened.
    MoreDisk,
    /// Send the waiting guest's memory; then the connection carries QEMU's migration stream.
    Memory,
    /// Take the whole overlay. Its bytes follow, and the answer is the SHA-256 of the received bytes.
    Overlay {
        /// The number of bytes.
        bytes: u64,
        /// The overlay's base file; empty for a disk without one.
        base: String,
        /// The disk; `None` for the root disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        disk: Option<DiskId>,
    },
    /// Take a small file of the guest; its bytes follow.
    File {
        /// The file.
        name: String,
        /// The number of bytes.
        bytes: u64,
    },
    /// Say whether all of the guest is on the target's disk.
    Proof,
    /// Own the guest from now on.
    Release,
    /// Send a base; its bytes follow in the answer.
    Base {
        /// The file's name: digest and format.
        name: String,
    },
}

/// An answer: granted, perhaps with a value, or the reason for the refusal.
pub type Reply = Result<String, String>;

impl PeerRequest {
    /// A request in this version.
    pub fn new(server_id: ServerId, generation: u64, what: What) -> Self {
        Self { version: VERSION, server_id, generation, what }
    }
}

/// Sends a request. Once it is granted, returns the connection and the answer's value.
///
/// # Errors
/// The host cannot be reached, or refuses.
pub async fn ask(transport: &dyn Transport, to: &Peer, ask: &PeerRequest) -> io::Result<(Stream, String)> {
    let mut stream = transport.connect(to).await?;
    write_frame(&mut stream, ask).await?;
    let said = granted(&mut stream).await?;
    Ok((stream, said))
}

/// Waits for a reply that grants the request.
///
/// # Errors
/// The connection broke, or the request is refused.
pub async fn granted(stream: &mut Stream) -> io::Result<String> {
    read_frame::<Reply>(stream).await?.map_err(io::Error::other)
}

/// Reads a request.
///
/// # Errors
/// This version does not know the request.
pub async fn read_ask(stream: &mut Stream) -> io::Result<PeerRequest> {
    let ask: PeerRequest = read_frame(stream).await?;
    match ask.version == VERSION {
        true => Ok(ask),
        false => Err(io::Error::other(format!(
            "the other host speaks version {} of the peer protocol, this one {VERSION}; run the same release on both",
            ask.version
        ))),
    }
}

/// Replies.
///
/// # Errors
/// The connection broke.
pub async fn reply(stream: &mut Stream, reply: &Reply) -> io::Result<()> {
    write_frame(stream, reply).await
}

async fn write_frame<T: Serialize>(stream: &mut Stream, message: &T) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(bytes);
    stream.write_all(&frame).await?;
    stream.flush().await
}

async fn read_frame<T: DeserializeOwned>(stream: &mut Stream) -> io::Result<T> {
    let length = stream.read_u32().await?;
    if length > FRAME_BYTES_MAX {
        return Err(io::Error::other(format!("a message of {length} bytes is too long")));
    }
    let mut bytes = vec![0; length as usize];
    stream.read_exact(&mut bytes).await?;
    Ok(serde_json::from_slice(&bytes)?)
}
