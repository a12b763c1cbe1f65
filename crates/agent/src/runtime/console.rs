//! Joins guests' consoles with the control plane's connections.

use crate::{driver::Drivers, link::Link, peer::Stream};
use lenticular_model::{HostId, Lock, ServerId};
use lenticular_wire::agent::ConsoleKind;
use std::{collections::HashMap, sync::Arc};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::{Semaphore, mpsc},
    task::{AbortHandle, JoinSet},
};

/// The consoles that may be open at once on a host.
const OPEN_MAX: usize = 256;
/// How much of a serial line's output waits for its client, in bytes.
const QUEUE_BYTES_MAX: usize = 256 * 1024;
/// The largest piece that is read at once, in bytes.
const PIECE_BYTES: usize = 4096;

/// The open consoles. They end with the agent.
pub(super) struct Consoles {
    open: Lock<Open>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Open {
    joined: JoinSet<()>,
    /// A serial line has one client.
    serial: HashMap<ServerId, AbortHandle>,
}

impl Default for Consoles {
    fn default() -> Self {
        Self { open: Lock::default(), room: Arc::new(Semaphore::new(OPEN_MAX)) }
    }
}

impl Consoles {
    /// Opens a console, and joins it to the connection of this name. The error is for the user.
    pub(super) async fn open(
        &self,
        drivers: &Drivers,
        link: &dyn Link,
        host: HostId,
        (server, kind): (ServerId, ConsoleKind),
        connection: &str,
    ) -> Result<(), String> {
        let room = self.room.clone().try_acquire_owned();
        let room =
            room.map_err(|_| "The server's host has no room for another console now. Try again later.")?;
        if kind == ConsoleKind::Serial {
            self.end_serial(server);
        }
        let console = drivers.hypervisor.open_console(server, kind).await?;
        let client = link.join_console(host, connection).await.map_err(|error| {
            tracing::warn!(%server, %error, "a console could not be joined to its client");
            "The server's host could not connect the console. Try again."
        })?;
        let mut open = self.open.lock();
        while open.joined.try_join_next().is_some() {}
        let joined = open.joined.spawn(async move {
            match kind {
                ConsoleKind::Vnc => join_screen(console, client).await,
                ConsoleKind::Serial => join_line(console, client).await,
            }
            tracing::info!(%server, ?kind, "a console was closed");
            drop(room);
        });
        tracing::info!(%server, ?kind, "a console was opened");
        if kind == ConsoleKind::Serial
            && let Some(other) = open.serial.insert(server, joined)
        {
            other.abort();
        }
        Ok(())
    }

    /// Ends the serial line's connection: the person who opens the line now may be the one whose browser has lost it.
    fn end_serial(&self, server: ServerId) {
        let mut open = self.open.lock();
        open.serial.retain(|_, joined| !joined.is_finished());
        if let Some(other) = open.serial.remove(&server) {
            other.abort();
        }
    }
}

/// Carries bytes until either side ends. A screen needs no queue: QEMU sends of it only what its client asks for.
async fn join_screen(screen: Stream, client: Stream) {
    let (mut from_guest, mut to_guest) = tokio::io::split(screen);
    let (mut from_client, mut to_client) = tokio::io::split(client);
    tokio::select! {
        _ = tokio::io::copy(&mut from_guest, &mut to_client) => {}
        _ = tokio::io::copy(&mut from_client, &mut to_guest) => {}
    }
}

/// Carries bytes until either side ends; what the guest said last still reaches the client. A guest does not wait for a
/// client that does not read: the client misses what does not fit into the queue.
async fn join_line(line: Stream, client: Stream) {
    let (mut from_guest, mut to_guest) = tokio::io::split(line);
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (queue, mut queued) = mpsc::unbounded_channel();
    let room = &Semaphore::new(QUEUE_BYTES_MAX);
    let listen = async move {
        let mut piece = vec![0; PIECE_BYTES];
        while let Ok(bytes) = from_guest.read(&mut piece).await
            && bytes > 0
        {
            if let Ok(taken) = room.try_acquire_many(bytes as u32) {
                taken.forget();
                // The receiver lives as long as this future.
                let _ = queue.send(piece[..bytes].to_vec());
            }
        }
        Ok(())
    };
    let show = async {
        while let Some(piece) = queued.recv().await {
            to_client.write_all(&piece).await?;
            to_client.flush().await?;
            room.add_permits(piece.len());
        }
        std::io::Result::Ok(())
    };
    tokio::select! {
        _ = async { tokio::try_join!(listen, show) } => {}
        _ = tokio::io::copy(&mut from_client, &mut to_guest) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_does_not_wait_for_a_client_that_does_not_read() {
        let (line, mut guest) = tokio::io::duplex(64);
        let (agents_end, mut client) = tokio::io::duplex(64);
        let joined = tokio::spawn(join_line(Box::new(line), Box::new(agents_end)));
        let said = QUEUE_BYTES_MAX * 2;
        guest.write_all(&vec![b'x'; said]).await.unwrap();
        client.write_all(b"typed").await.unwrap();
        let mut typed = [0; 5];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"typed");
        drop(guest);
        let mut shown = Vec::new();
        client.read_to_end(&mut shown).await.unwrap();
        assert!(shown.len() >= QUEUE_BYTES_MAX / 2 && shown.len() < said, "{}", shown.len());
        joined.await.unwrap();
    }

    #[tokio::test]
    async fn a_client_gets_a_guests_last_words_and_either_side_ends_the_connection() {
        let (line, mut guest) = tokio::io::duplex(64);
        let (agents_end, mut client) = tokio::io::duplex(8);
        let joined = tokio::spawn(join_line(Box::new(line), Box::new(agents_end)));
        guest.write_all(b"Kernel panic - not syncing").await.unwrap();
        drop(guest);
        let mut shown = Vec::new();
        client.read_to_end(&mut shown).await.unwrap();
        assert_eq!(shown, b"Kernel panic - not syncing");
        joined.await.unwrap();
        for is_serial in [false, true] {
            let (line, _guest) = tokio::io::duplex(64);
            let (agents_end, client) = tokio::io::duplex(64);
            drop(client);
            match is_serial {
                true => join_line(Box::new(line), Box::new(agents_end)).await,
                false => join_screen(Box::new(line), Box::new(agents_end)).await,
            }
        }
    }
}
