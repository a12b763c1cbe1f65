//! The consoles of a simulated guest: a serial line that repeats what is typed, and a black screen.

use crate::peer::Stream;
use lenticular_model::ServerId;
use lenticular_wire::agent::ConsoleKind;
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// How many bytes wait on the way.
const BUFFER_BYTES: usize = 4096;

/// A connection to a console of a guest that runs.
pub(super) fn open(server: ServerId, kind: ConsoleKind) -> Stream {
    let (ours, theirs) = tokio::io::duplex(BUFFER_BYTES);
    // Both end with their client's connection.
    match kind {
        ConsoleKind::Serial => drop(tokio::spawn(repeat(ours, server))),
        ConsoleKind::Vnc => drop(tokio::spawn(show_nothing(ours))),
    }
    Box::new(theirs)
}

async fn repeat(mut line: DuplexStream, server: ServerId) -> io::Result<()> {
    line.write_all(format!("simulated guest {server}\r\n").as_bytes()).await?;
    let (mut typed, mut shown) = tokio::io::split(line);
    tokio::io::copy(&mut typed, &mut shown).await.map(drop)
}

/// RFC 6143, section 7: version 3.8, security type None, and a screen of one pixel, which never changes.
async fn show_nothing(mut line: DuplexStream) -> io::Result<()> {
    const VERSION: &[u8; 12] = b"RFB 003.008\n";
    line.write_all(VERSION).await?;
    line.read_exact(&mut [0; VERSION.len()]).await?;
    line.write_all(&[1, 1]).await?;
    let chosen = line.read_u8().await?;
    line.write_u32(u32::from(chosen != 1)).await?;
    let _shared = line.read_u8().await?;
    // Width, height, and 32 bits a pixel in true colours.
    line.write_all(&[0, 1, 0, 1, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0]).await?;
    let name = b"simulated guest";
    line.write_u32(name.len() as u32).await?;
    line.write_all(name).await?;
    tokio::io::copy(&mut line, &mut tokio::io::sink()).await.map(drop)
}
