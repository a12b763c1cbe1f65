//! Disks of incoming migrations: each has a note until the host adopts the disk.
//!
//! ```text
//! STATE/guests/<server>/arrival.json    what will arrive; beside it root.qcow2, made here (live) or copied (cold)
//! ```

use super::{
    file_failure,
    qcow2::{DiskNote, IMG, NOTE, Qcow2Disks, ROOT, blocking, keep_base, relative, run_img},
};
use crate::{core::Failure, files, peer::Stream};
use lenticular_model::{ServerId, compute::migration::Mode};
use lenticular_wire::{
    agent::{Base, Receive},
    hex,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// The name of the note. Existing hosts have such files, so the name must not change.
const INCOMING: &str = "arrival.json";

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Incoming {
    generation: u64,
    base: String,
    live: bool,
    /// The source host. Only this host may send the disk.
    from: String,
}

impl Qcow2Disks {
    /// The path of a server's overlay.
    pub(super) fn root(&self, server: ServerId) -> PathBuf {
        self.guest_dir(server).join(ROOT)
    }

    fn incoming(&self, server: ServerId) -> Option<Incoming> {
        serde_json::from_slice(&std::fs::read(self.guest_dir(server).join(INCOMING)).ok()?).ok()
    }

    /// The name of the base under a server's disk.
    pub(super) fn base_of(&self, server: ServerId) -> Option<String> {
        self.note(server).map(|note| note.base)
    }

    /// The name of a base in the cache.
    pub(super) fn base_name(&self, base: &Base) -> Result<String, Failure> {
        Ok(self.base_path(base)?.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default())
    }

    /// A base of the cache, by a name from another host.
    pub(super) fn named_base(&self, name: &str) -> Option<PathBuf> {
        let (digest, format) = name.split_once('.')?;
        let safe = digest.len() == 128 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        let known = matches!(format, "qcow2" | "raw");
        Some(self.base_dir().join(name)).filter(|path| safe && known && path.is_file())
    }

    /// Takes a base from another host into the cache, if its digest is right.
    pub(super) async fn take_base(&self, base: &Base, mut stream: Stream) -> Result<(), Failure> {
        let path = self.base_path(base)?;
        self.check_room()?;
        let part = files::beside(&path);
        let writing = |e: std::io::Error| file_failure("fetching the base", &e);
        let mut file = tokio::fs::File::create(&part).await.map_err(writing)?;
        let (mut digest, mut piece) = (Sha512::new(), vec![0; 256 * 1024]);
        loop {
            let n = stream.read(&mut piece).await.map_err(writing)?;
            if n == 0 {
                break;
            }
            digest.update(&piece[..n]);
            file.write_all(&piece[..n]).await.map_err(writing)?;
        }
        file.flush().await.map_err(writing)?;
        file.sync_all().await.map_err(writing)?;
        let got = hex(&digest.finalize());
        if got != base.sha512.to_lowercase() {
            let _ = files::remove(&part);
            return Err(Failure::new(
                "The server's image arrived damaged from its host. Try again.",
                format!("sha512 of what arrived is {got}, it should be {}", base.sha512),
            ));
        }
        keep_base(part, path).await
    }

    /// Removes a disk's files, and keeps the guest's other files.
    pub(super) async fn discard(&self, server: ServerId) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        blocking("removing an older disk", move || {
            [NOTE, INCOMING, ROOT, "console.log", "console.old"]
                .iter()
                .try_for_each(|name| files::remove(&dir.join(name)))
        })
        .await
    }

    /// Prepares for a disk: for a live move with an empty overlay, for a cold move with a note only.
    pub(super) async fn begin_incoming(&self, receive: &Receive) -> Result<(), Failure> {
        let (of, live) = (&receive.assignment, receive.mode == Mode::Live);
        let base = self.base_name(&of.guest.base)?;
        let note = Incoming { generation: of.generation, base, live, from: receive.from.name.clone() };
        if live {
            return self.make_overlay(of, (INCOMING, note)).await;
        }
        self.check_room()?;
        let dir = self.guest_dir(of.server_id);
        blocking("noting what is to come", move || {
            std::fs::create_dir_all(&dir)?;
            files::write_durably(&dir.join(INCOMING), &serde_json::to_vec(&note)?)
        })
        .await
    }

    /// True if the disk will arrive while its guest runs.
    pub(super) fn is_incoming_live(&self, server: ServerId) -> bool {
        self.incoming(server).is_some_and(|incoming| incoming.live)
    }

    /// True if this host expects the guest from that host at this generation.
    pub(super) fn expects(&self, server: ServerId, from: &str, generation: u64) -> bool {
        self.incoming(server)
            .is_some_and(|incoming| incoming.from == from && incoming.generation == generation)
    }

    /// Refuses an overlay that is not the expected one, or has a base that is not here.
    pub(super) fn expect_base(&self, server: ServerId, generation: u64, base: &str) -> Result<(), Failure> {
        let fits = self.incoming(server).is_some_and(|a| a.generation == generation && a.base == base);
        if fits && self.named_base(base).is_some() {
            return Ok(());
        }
        Err(Failure::new(
            "The guest could not be moved, and stays where it is. Try again.",
            format!("the target does not expect a disk of generation {generation} over base {base}"),
        ))
    }

    /// Writes all of the disk's data through to the device.
    pub(super) async fn sync(&self, server: ServerId) -> Result<(), Failure> {
        let root = self.root(server);
        blocking("syncing the disk", move || std::fs::File::open(&root)?.sync_all()).await
    }

    /// Makes the arrived disk the server's disk. May be called again.
    pub(super) async fn end_incoming(&self, server: ServerId) -> Result<(), Failure> {
        let Some(incoming) = self.incoming(server) else { return Ok(()) };
        if !incoming.live {
            // The source may have named the base by a path of the source host.
            let format = incoming.base.rsplit('.').next().unwrap_or_default();
            let base = relative(&self.base_dir().join(&incoming.base));
            let args = ["rebase", "-q", "-u", "-f", "qcow2", "-b", &base, "-F", format, ROOT];
            run_img(&self.guest_dir(server), &args, IMG).await?;
        }
        let dir = self.guest_dir(server);
        blocking("noting the disk", move || {
            let note = DiskNote { generation: incoming.generation, base: incoming.base };
            files::write_durably(&dir.join(NOTE), &serde_json::to_vec(&note)?)?;
            files::remove(&dir.join(INCOMING))
        })
        .await
    }
}
