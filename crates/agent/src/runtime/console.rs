//! Joins guests' consoles with the control plane's sessions.

use crate::{
    driver::Drivers,
    link::{Duplex, Link},
};
use lenticular_model::{HostId, Lock, ServerId};
use lenticular_wire::agent::ConsoleKind;
use std::collections::HashMap;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    task::{AbortHandle, JoinSet},
};

/// The consoles that may be open at once on a host.
const OPEN_MAX: usize = 256;

/// The pieces of a serial line's output that wait for a client.
const PIECES_MAX: usize = 64;
/// The largest piece, in bytes.
const PIECE_BYTES: usize = 4096;

/// The open consoles. They end with the agent.
#[derive(Default)]
pub(super) struct Consoles(Lock<Open>);

#[derive(Default)]
struct Open {
    joined: JoinSet<()>,
    /// A serial line has one client.
    serial: HashMap<ServerId, AbortHandle>,
}

impl Consoles {
    /// Opens a console for a session. The error is for the user.
    pub(super) async fn open(
        &self,
        drivers: &Drivers,
        link: &dyn Link,
        host: HostId,
        (server, kind): (ServerId, ConsoleKind),
        session: &str,
    ) -> Result<(), String> {
        self.make_room(server, kind)?;
        let console = drivers.hypervisor.open_console(server, kind).await?;
        let wire = link.console(host, session).await.map_err(|error| error.to_string())?;
        let mut open = self.0.lock();
        let joined = open.joined.spawn(async move {
            match kind {
                ConsoleKind::Vnc => join_screen(console, wire).await,
                ConsoleKind::Serial => join_line(console, wire).await,
            }
            tracing::info!(%server, ?kind, "a console's session ended");
        });
        tracing::info!(%server, ?kind, "a console's session began");
        if kind == ConsoleKind::Serial
            && let Some(other) = open.serial.insert(server, joined)
        {
            other.abort();
        }
        Ok(())
    }

    /// Ends the serial line's other session: who opens the line now may be the same person, whose browser has lost it.
    fn make_room(&self, server: ServerId, kind: ConsoleKind) -> Result<(), String> {
        let mut open = self.0.lock();
        while open.joined.try_join_next().is_some() {}
        open.serial.retain(|_, joined| !joined.is_finished());
        if kind == ConsoleKind::Serial
            && let Some(other) = open.serial.remove(&server)
        {
            other.abort();
        }
        match open.joined.len() < OPEN_MAX {
            true => Ok(()),
            false => {
                Err(format!("The server's host has {OPEN_MAX} open consoles. Close one, and try again."))
            }
        }
    }
}

/// Carries bytes until either side ends. QEMU sends of a screen what its client asks for.
async fn join_screen(mut screen: Box<dyn Duplex>, mut wire: Box<dyn Duplex>) {
    // Either side may end the session at any time.
    let _ = tokio::io::copy_bidirectional(&mut screen, &mut wire).await;
}

/// Carries bytes until either side ends. A guest does not wait for a client that does not read: the client misses what does
/// not fit into the queue.
async fn join_line(line: Box<dyn Duplex>, wire: Box<dyn Duplex>) {
    let (mut from_guest, mut to_guest) = tokio::io::split(line);
    let (mut from_wire, mut to_wire) = tokio::io::split(wire);
    let (queue, mut queued) = mpsc::channel(PIECES_MAX);
    let listen = async {
        loop {
            let mut piece = Vec::with_capacity(PIECE_BYTES);
            match from_guest.read_buf(&mut piece).await {
                Ok(bytes) if bytes > 0 => drop(queue.try_send(piece)),
                _ => return,
            }
        }
    };
    let show = async {
        while let Some(piece) = queued.recv().await {
            if to_wire.write_all(&piece).await.is_err() || to_wire.flush().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = listen => {}
        () = show => {}
        _ = tokio::io::copy(&mut from_wire, &mut to_guest) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_guest_does_not_wait_for_a_client_that_does_not_read() {
        let (line, mut guest) = tokio::io::duplex(64);
        let (wire, mut client) = tokio::io::duplex(64);
        let joined = tokio::spawn(join_line(Box::new(line), Box::new(wire)));
        let said = PIECES_MAX * PIECE_BYTES * 2;
        guest.write_all(&vec![b'x'; said]).await.unwrap();
        client.write_all(b"typed").await.unwrap();
        let mut typed = [0; 5];
        guest.read_exact(&mut typed).await.unwrap();
        assert_eq!(&typed, b"typed");
        drop(guest);
        let mut shown = Vec::new();
        client.read_to_end(&mut shown).await.unwrap();
        assert!(!shown.is_empty() && shown.len() < said, "{}", shown.len());
        joined.await.unwrap();
    }
}
