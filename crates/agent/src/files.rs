//! Files that are complete or absent: written under another name, made durable, then renamed.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Writes a file so that after a crash either the old or the new content is there, complete. Blocks for the disk.
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

/// Creates an empty file that only this program's user may read, because other users must not see a guest's data.
///
/// # Errors
/// As the file system says.
pub(crate) fn create(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Creates a directory that only this program's user may read. An existing directory is no error.
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

/// The path where a file's new version is written.
pub(crate) fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

/// Removes a file or a whole directory. A missing file is no error.
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
    /// Opens the directory. The short name is valid as long as this value exists.
    ///
    /// # Errors
    /// As the file system says.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::File::open(dir).map(Self)
    }

    /// The path of a file in the directory, for this process only.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}
