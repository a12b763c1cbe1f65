//! Disks that take the place of others: those of a rebuilt server, and the disk that a rescued guest starts from.
//!
//! ```text
//! STATE/guests/<server>/new-<disk's file>   a new disk, until all of the rebuild's are whole
//! STATE/guests/<server>/new-<disk's note>   its note, written once all of them are whole
//! STATE/guests/<server>/rescue.qcow2        the rescue disk, with its note rescue.json
//! ```
//!
//! In a rebuild, a disk's new file is renamed over the old one, and then its new note. A crash between the two leaves the
//! new note without the new file: a repetition only renames the note, and the older disk cannot come back.

use super::{
    disk_file::{DiskNote, NEW, RESCUE, file, note_file},
    qcow2::{Qcow2Disks, blocking},
};
use crate::{core::Failure, files};
use lenticular_model::{DiskId, ServerId};
use lenticular_wire::agent::{Content, DiskSpec, RescueSpec};
use std::path::{Path, PathBuf};

impl Qcow2Disks {
    pub(super) async fn remake_disks(
        &self,
        server: ServerId,
        disks: &[DiskSpec],
        keeps_data: bool,
    ) -> Result<(), Failure> {
        let is_new = |disk: &DiskSpec| {
            self.note(server, disk.id).is_some_and(|note| note.generation >= disk.generation)
        };
        let stays =
            |disk: &DiskSpec| keeps_data && disk.base().is_none() && self.note(server, disk.id).is_some();
        let (kept, made): (Vec<&DiskSpec>, Vec<&DiskSpec>) =
            disks.iter().filter(|disk| !is_new(disk)).partition(|disk| stays(disk));
        let dir = self.guest_dir(server);
        let is_whole = |disk: &&DiskSpec| {
            read(&dir.join(new_note(server, disk.id))).is_some_and(|note| note.generation == disk.generation)
        };
        if !made.iter().all(is_whole) {
            for disk in &made {
                self.drop_new(server, disk.id).await?;
                self.make_at(server, &new_file(server, disk.id), disk).await?;
            }
            // No old disk goes before the last note is written: the disk may be full.
            for disk in &made {
                self.write_json(server, new_note(server, disk.id), &self.note_of(disk)?).await?;
            }
        }
        for disk in kept {
            self.write_json(server, note_file(server, disk.id), &self.note_of(disk)?).await?;
        }
        // The root disk, the first, comes last: until then the older one is there.
        for disk in made.iter().rev() {
            self.put_in_place(server, disk.id).await?;
        }
        Ok(())
    }

    async fn put_in_place(&self, server: ServerId, disk: DiskId) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        let names =
            [(new_file(server, disk), file(server, disk)), (new_note(server, disk), note_file(server, disk))];
        blocking("putting a new disk in its place", move || {
            for (new, name) in names.map(|(new, name)| (dir.join(new), dir.join(name))) {
                // The file is there already if the rebuild was cut off here.
                if new.exists() {
                    std::fs::rename(new, &name)?;
                    files::sync_parent(&name)?;
                }
            }
            Ok(())
        })
        .await
    }

    /// Removes what a rebuild left that was given up.
    async fn drop_new(&self, server: ServerId, disk: DiskId) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        let [note, path] = [new_note(server, disk), new_file(server, disk)].map(|name| dir.join(name));
        blocking("removing a new disk", move || {
            files::remove(&note)?;
            files::remove(&path)
        })
        .await
    }

    /// Notes that a disk, which stays after all, has another generation now.
    pub(super) async fn relabel_disk(&self, server: ServerId, disk: &DiskSpec) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        let gone = |details: &str| Failure::new("The older disk is no longer there.", details);
        if dir.join(new_note(server, disk.id)).exists() && !dir.join(new_file(server, disk.id)).exists() {
            return Err(gone("a rebuild that was cut off has replaced it"));
        }
        let note = self.note(server, disk.id).ok_or_else(|| gone("it has no note to rewrite"))?;
        self.drop_new(server, disk.id).await?;
        let note = DiskNote { generation: disk.generation, ..note };
        self.write_json(server, note_file(server, disk.id), &note).await
    }

    pub(super) async fn make_rescue(
        &self,
        server: ServerId,
        rescue: Option<&RescueSpec>,
    ) -> Result<Option<PathBuf>, Failure> {
        let dir = self.guest_dir(server);
        let [path, note] = RESCUE.map(|name| dir.join(name));
        let Some(rescue) = rescue else {
            let gone = blocking("removing the rescue disk", move || {
                files::remove(&note)?;
                files::remove(&path)
            });
            return gone.await.map(|()| None);
        };
        let base = self.base_name(&rescue.base)?;
        if path.is_file() && read(&note).is_some_and(|known| known.base == base) {
            return Ok(Some(path));
        }
        let content = Content::Image(rescue.base.clone());
        let disk = DiskSpec { id: DiskId::root_of(server), generation: 0, bytes: 0, content, tag: None };
        {
            let note = note.clone();
            blocking("removing the rescue disk", move || files::remove(&note)).await?;
        }
        self.make_at(server, RESCUE[0], &disk).await?;
        let written = serde_json::to_vec(&DiskNote { generation: 0, base }).map_err(|e| {
            Failure::new("The rescue disk could not be noted. Ask the operator.", e.to_string())
        })?;
        blocking("noting the rescue disk", move || files::write_durably(&note, &written)).await?;
        Ok(Some(path))
    }
}

fn new_file(server: ServerId, disk: DiskId) -> String {
    format!("{NEW}{}", file(server, disk))
}

fn new_note(server: ServerId, disk: DiskId) -> String {
    format!("{NEW}{}", note_file(server, disk))
}

fn read(note: &Path) -> Option<DiskNote> {
    serde_json::from_slice(&std::fs::read(note).ok()?).ok()
}
