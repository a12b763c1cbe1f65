//! Checks whether the store's files are still at their paths, or were removed, replaced or emptied while the
//! process runs.
//!
//! SQLite continues to write to a file without a name, and that data is lost when the process ends.

use crate::format::beside;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The open files, with their identities at the opening.
pub(super) struct Present(Vec<(PathBuf, (u64, u64))>);

impl Present {
    /// The database, its log, and the lock file. None of them is ever empty.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let files = [path.to_owned(), beside(path, "-wal"), beside(path, ".lock")].into_iter();
        files.map(|file| Ok((file.clone(), identity(&file)?))).collect::<io::Result<_>>().map(Self)
    }

    /// Returns what happened and what to do if a path does not lead to the open file any more.
    pub(super) fn check(&self) -> Result<(), String> {
        match self.0.iter().find(|(file, known)| identity(file).ok() != Some(*known)) {
            None => Ok(()),
            Some((file, _)) => Err(format!(
                "{} was removed, replaced or emptied while the store is open; nothing is written any more. What was \
                 acknowledged is in /proc/{}/fd until this process ends: copy it from there, stop the process, and put \
                 the copy in the file's place",
                file.display(),
                std::process::id()
            )),
        }
    }
}

fn identity(file: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::metadata(file)?;
    match metadata.len() {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok((metadata.dev(), metadata.ino())),
    }
}
