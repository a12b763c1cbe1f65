//! The lock file of an SQLite store: only one process at a time may write the store.

use crate::{
    OpenError,
    format::{beside, failed},
};
use rustix::fs::{FlockOperation, flock};
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// A lock that is held until dropped, or until the process ends.
pub(super) struct Lock(File);

impl Lock {
    /// Takes the lock, or names its holder. The lock's file stays after the release: removing it could give two
    /// processes locks on two files with the same name.
    pub(super) fn take(store: &str, path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let fail = |error: io::Error| {
            let path = lock_path.display();
            failed(store, "locking it", format!("{path}: {error}; its folder must exist and be writable"))
        };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(0o600);
        let mut file = options.open(&lock_path).map_err(fail)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                let holder = match file.read_to_string(&mut pid) {
                    Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
                    _ => "another process".to_owned(),
                };
                return Err(OpenError::InUse { store: store.to_owned(), holder });
            }
            Err(error) => return Err(fail(error.into())),
        }
        let mut lock = Self(file);
        lock.note_process().map_err(fail)?;
        Ok(lock)
    }

    /// Writes the process id, for people to read; only the lock decides.
    fn note_process(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.seek(SeekFrom::Start(0))?;
        writeln!(self.0, "{}", std::process::id())
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file is not enough while a child process that was just forked still shares it.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
