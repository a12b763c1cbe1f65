//! Files that are whole or not there: written beside, made durable, renamed.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Writes a file so that after a crash either the old or the new one is there, whole. Blocks for the disk.
///
/// # Errors
/// As the file system says.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = beside(path);
    let mut file = create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&beside, path)?;
    sync_parent(path)
}

/// An empty file that this program's user alone may read: what is kept of a guest is none of another's business.
///
/// # Errors
/// As the file system says.
pub(crate) fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// A directory that this program's user alone may look into; that it is there is no error.
///
/// # Errors
/// As the file system says.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Makes a rename in the file's directory durable.
///
/// # Errors
/// As the file system says.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}

/// Where the new version of a file is written.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Removes a file or a whole directory; that it is not there is no error.
///
/// # Errors
/// As the file system says.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// A directory under a name short enough for the sockets in it, for any length of its path: `/proc/self/fd/N`.
pub(crate) struct ShortDir(fs::File);

impl ShortDir {
    /// Opens the directory; the short name holds as long as this value.
    ///
    /// # Errors
    /// As the file system says.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::File::open(dir).map(Self)
    }

    /// A file in it, for this process alone.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}
