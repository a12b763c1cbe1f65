//! Disks that take the place of others: those of a rebuilt server, and the disk that a rescued guest starts from.
//!
//! ```text
//! STATE/guests/<server>/new-<disk's file>   a new disk, until all of the rebuild's are whole
//! STATE/guests/<server>/rescue.qcow2        the rescue disk, with its note rescue.json
//! ```
//!
//! In a rebuild, a disk's new file is renamed over the old one, and then its note gets the new generation. A crash between
//! the two leaves the older generation in the note: the rebuild begins anew.

use super::{
    disk_file::{DiskNote, NEW, RESCUE, file},
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
        for disk in disks.iter().filter(|disk| !is_new(disk) && !stays(disk)) {
            self.make_at(server, &new_name(server, disk.id), disk).await?;
        }
        // All of them are whole. The root disk, the first, comes last: until then the older one is there.
        for disk in disks.iter().rev().filter(|disk| !is_new(disk)) {
            if !stays(disk) {
                self.put_in_place(server, disk.id).await?;
            }
            let note = DiskNote { generation: disk.generation, base: self.base_name_of(disk)? };
            self.write_note(server, disk.id, note).await?;
        }
        Ok(())
    }

    async fn put_in_place(&self, server: ServerId, disk: DiskId) -> Result<(), Failure> {
        let dir = self.guest_dir(server);
        let (new, path) = (dir.join(new_name(server, disk)), dir.join(file(server, disk)));
        blocking("putting a new disk in its place", move || {
            std::fs::rename(new, &path)?;
            files::sync_parent(&path)
        })
        .await
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

fn new_name(server: ServerId, disk: DiskId) -> String {
    format!("{NEW}{}", file(server, disk))
}

fn read(note: &Path) -> Option<DiskNote> {
    serde_json::from_slice(&std::fs::read(note).ok()?).ok()
}
