//! The names of disks' files in their guest's directory, and the notes beside the disks.
//!
//! The files and what they are: `qcow2.rs`, `remake.rs`.

use crate::files;
use lenticular_model::{DiskId, ServerId};
use serde::{Deserialize, Serialize};
use std::{io, path::Path};

/// The note beside the complete root disk.
pub(super) const NOTE: &str = "disk.json";
/// The root disk, in its guest's directory.
pub(super) const ROOT: &str = "root.qcow2";
/// A file in between: a disk's copy for the image store, or a swap area before qemu-img converts it.
pub(super) const WORK: &str = "whole.qcow2";
/// The note beside each disk. The base is empty for a disk without one.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DiskNote {
    pub(super) generation: u64,
    pub(super) base: String,
}

/// The name of a disk's file, in its guest's directory. The root disk has its server's id.
pub(super) fn file(server: ServerId, disk: DiskId) -> String {
    match disk == DiskId::root_of(server) {
        true => ROOT.to_owned(),
        false => format!("{disk}.qcow2"),
    }
}

/// The name of a disk's note.
pub(super) fn note_file(server: ServerId, disk: DiskId) -> String {
    match disk == DiskId::root_of(server) {
        true => NOTE.to_owned(),
        false => format!("{disk}.json"),
    }
}

/// The disk whose file or note has this name.
pub(super) fn disk_of(server: ServerId, name: &str) -> Option<DiskId> {
    if [ROOT, NOTE].contains(&name) {
        return Some(DiskId::root_of(server));
    }
    let stem = name.strip_suffix(".qcow2").or_else(|| name.strip_suffix(".json"))?;
    stem.parse().ok()
}

/// Removes the files of all disks in a guest's directory. Without its note, a disk counts as half-made, even after a
/// crash; so the notes go first.
pub(super) fn remove_files(dir: &Path, server: ServerId) -> io::Result<()> {
    let mut names = names_in(dir)?;
    names.retain(|name| name == WORK || is_ours(name) || disk_of(server, name).is_some());
    names.sort_by_key(|name| !name.ends_with(".json"));
    names.iter().try_for_each(|name| files::remove(&dir.join(name)))
}

pub(super) fn names_in(dir: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// The rescue disk's file, and its note.
pub(super) const RESCUE: [&str; 2] = ["rescue.qcow2", "rescue.json"];
/// The beginning of a new disk's name.
pub(super) const NEW: &str = "new-";

/// True for a file of this module: it goes with its guest's disks.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(NEW) || RESCUE.contains(&name)
}
