//! Disks of incoming migrations: a guest's disks have one note until the host adopts them.
//!
//! ```text
//! STATE/guests/<server>/arrival.json    what will arrive; beside it the disks, made here (live) or copied (cold)
//! ```

use super::{
    Disks,
    disk_file::{DiskNote, file, note_file, remove_files},
    file_failure,
    qcow2::{IMG, Qcow2Disks, blocking, keep_base, relative, run_img},
};
use crate::{core::Failure, files, peer::Stream};
use lenticular_model::{DiskId, ServerId, compute::migration::Mode};
use lenticular_wire::{
    agent::{Base, Content, DiskSpec, Receive},
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
    /// The base of the root disk.
    base: String,
    live: bool,
    /// The source host. Only this host may send the disks.
    from: String,
    /// The other disks, each with its base; the base is empty for none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    more: Vec<(DiskId, String)>,
}

impl Incoming {
    /// All disks with their bases.
    fn disks(&self, server: ServerId) -> impl Iterator<Item = (DiskId, &str)> {
        let more = self.more.iter().map(|(disk, base)| (*disk, base.as_str()));
        [(DiskId::root_of(server), self.base.as_str())].into_iter().chain(more)
    }
}

impl Qcow2Disks {
    fn incoming(&self, server: ServerId) -> Option<Incoming> {
        serde_json::from_slice(&std::fs::read(self.guest_dir(server).join(INCOMING)).ok()?).ok()
    }

    /// The name of the base under a disk; empty for none.
    pub(super) fn base_of(&self, server: ServerId, disk: DiskId) -> Option<String> {
        self.note(server, disk).map(|note| note.base)
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

    /// Removes the disks' files, and keeps the guest's other files.
    pub(super) async fn discard(&self, server: ServerId) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        blocking("removing older disks", move || {
            remove_files(&dir, server)?;
            [INCOMING, "console.log", "console.old"]
                .iter()
                .try_for_each(|name| files::remove(&dir.join(name)))
        })
        .await
    }

    /// Prepares for the disks: for a live move with disks to write to, for a cold move with a note only.
    pub(super) async fn begin_incoming(&self, receive: &Receive) -> Result<(), Failure> {
        let (of, live) = (&receive.assignment, receive.mode == Mode::Live);
        let mut bases = Vec::new();
        for disk in &of.guest.disks {
            bases.push((disk.id, self.base_name_of(disk)?));
            if live {
                // What the source has written comes over all that a disk begins with, but a base.
                let content = disk.base().map_or(Content::Blank, |base| Content::Image(base.clone()));
                self.make_file(of.server_id, &DiskSpec { content, ..disk.clone() }).await?;
            }
        }
        let root = DiskId::root_of(of.server_id);
        let base = bases.iter().find(|(disk, _)| *disk == root).map(|(_, base)| base.clone());
        bases.retain(|(disk, _)| *disk != root);
        let (generation, from) = (of.generation, receive.from.name.clone());
        let note = Incoming { generation, base: base.unwrap_or_default(), live, from, more: bases };
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

    /// Refuses a disk that is not expected, or has a base that is not here.
    pub(super) async fn expect_disk(
        &self,
        server: ServerId,
        disk: DiskId,
        generation: u64,
        base: &str,
    ) -> Result<(), Failure> {
        let incoming = self.incoming(server).filter(|incoming| incoming.generation == generation);
        let fits = incoming.is_some_and(|incoming| incoming.disks(server).any(|known| known == (disk, base)));
        if fits && (base.is_empty() || self.named_base(base).is_some()) {
            return Ok(());
        }
        Err(Failure::new(
            "The guest could not be moved, and stays where it is. Try again.",
            format!("the target does not expect disk {disk} of generation {generation} over base '{base}'"),
        ))
    }

    /// Writes all data of all arrived disks through to the device. A disk that did not arrive is an error.
    pub(super) async fn sync(&self, server: ServerId) -> Result<(), Failure> {
        let disks: Vec<PathBuf> = match self.incoming(server) {
            Some(incoming) => incoming.disks(server).map(|(disk, _)| self.path(server, disk)).collect(),
            None => Vec::new(),
        };
        blocking("syncing the disks", move || {
            disks.iter().try_for_each(|path| std::fs::File::open(path)?.sync_all())
        })
        .await
    }

    /// Makes the arrived disks the server's disks. May be called again.
    pub(super) async fn end_incoming(&self, server: ServerId) -> Result<(), Failure> {
        let Some(incoming) = self.incoming(server) else { return Ok(()) };
        let dir = self.guest_dir(server);
        for (disk, base) in incoming.disks(server) {
            if !incoming.live && !base.is_empty() {
                // The source may have named the base by a path of the source host.
                let format = base.rsplit('.').next().unwrap_or_default();
                let path = relative(&self.base_dir().join(base));
                let name = file(server, disk);
                let args = ["rebase", "-q", "-u", "-f", "qcow2", "-b", &path, "-F", format, &name];
                run_img(&dir, &args, &[&name], IMG).await?;
            }
            let note = DiskNote { generation: incoming.generation, base: base.to_owned() };
            self.write_json(server, note_file(server, disk), &note).await?;
        }
        // The last action: until then, all of it is done again after a crash.
        blocking("noting that the disks are here", move || files::remove(&dir.join(INCOMING))).await
    }
}
