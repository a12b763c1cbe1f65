//! The way from one host's agent to another's: a connection for each thing that is asked or brought.
//!
//! ```text
//! asker                                  asked
//!   PeerRequest (length, JSON) ────────────────▶
//!   ◀──────────────────── Reply (length, JSON): granted, or why not
//!   bytes, as the PeerRequest has it ◀────────▶
//! ```
//!
//! Who is at the other end is proven by the transport, not by what it says.

use lenticular_model::ServerId;
use lenticular_wire::agent::Peer;
use serde::{de::DeserializeOwned, Deserialize, Serialize};
use std::{future::Future, io, pin::Pin};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The version of what is said here. A peer of another version is refused by name.
const VERSION: u32 = 1;
/// The longest PeerRequest or Reply, in bytes.
const FRAME_BYTES_MAX: u32 = 64 * 1024;

/// Bytes in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection.
pub type Stream = Box<dyn Duplex>;

/// What takes its time.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// What carries connections between hosts, and proves who is there.
pub trait Transport: Send + Sync {
    /// `address:port` where others reach this host.
    fn address(&self) -> String;

    /// A connection to another host, which is proven to be the one of that name.
    fn connect<'a>(&'a self, to: &'a Peer) -> Soon<'a, Stream>;

    /// The next connection from another host: what proves its name and then gives it and the connection.
    fn accept(&self) -> Soon<'_, Soon<'static, (String, Stream)>>;
}

/// What one host asks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerRequest {
    version: u32,
    /// About which server.
    pub server_id: ServerId,
    /// About which generation of its disk.
    pub generation: u64,
    /// What.
    pub what: What,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "ask")]
pub enum What {
    /// To write the waiting guest's disk, of this size in bytes; then it is NBD.
    Disk {
        /// The disk's size as the guest sees it.
        bytes: u64,
    },
    /// To send the waiting guest's memory; then it is QEMU's migration stream.
    Memory,
    /// To take the whole overlay; its bytes follow, and the SHA-256 of what arrived comes back.
    Overlay {
        /// How many bytes.
        bytes: u64,
        /// The file that it is laid over.
        base: String,
    },
    /// To take a small file of the guest; its bytes follow.
    File {
        /// Which.
        name: String,
        /// How many bytes.
        bytes: u64,
    },
    /// To say whether it has all of the guest, on its disk.
    Proof,
    /// To take the guest for its own.
    Release,
    /// To send a base; its bytes come back.
    Base {
        /// The file's name: digest and format.
        name: String,
    },
}

/// An answer: granted, perhaps with a word, or why not.
pub type Reply = Result<String, String>;

impl PeerRequest {
    /// An ask in this version.
    pub fn new(server_id: ServerId, generation: u64, what: What) -> Self {
        Self { version: VERSION, server_id, generation, what }
    }
}

/// Asks, and gives the connection once it is granted, with what was said to it.
///
/// # Errors
/// The host cannot be reached, or refuses.
pub async fn ask(transport: &dyn Transport, to: &Peer, ask: &PeerRequest) -> io::Result<(Stream, String)> {
    let mut stream = transport.connect(to).await?;
    write_frame(&mut stream, ask).await?;
    let said = granted(&mut stream).await?;
    Ok((stream, said))
}

/// Waits for a reply that grants.
///
/// # Errors
/// The connection broke, or it is refused.
pub async fn granted(stream: &mut Stream) -> io::Result<String> {
    read_frame::<Reply>(stream).await?.map_err(io::Error::other)
}

/// Reads what is asked.
///
/// # Errors
/// It is nothing that this version knows.
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
