//! The bytes of images, in files. Each upload writes a file under its own name, and a transaction makes the file
//! count. No upload overwrites another upload's file, and a file is removed only when no record names it.

use crate::image_store::inspect;
use crate::limits::{IMAGE_BYTES_MAX, STREAM_STALL};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lenticular_model::{
    ImageId, State,
    error::{Error, Result},
    image::Data,
};
use lenticular_wire::hex;
use md5::Md5;
use sha2::{Digest, Sha512};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// A folder of images.
#[derive(Debug, Clone)]
pub struct ImageStore {
    folder: PathBuf,
    /// Disk space that uploads leave free, in bytes.
    reserve: u64,
    /// After how many bytes an upload checks the free space again.
    look_every: u64,
    /// Bytes that uploads in progress may still write before their next check.
    promised: Arc<AtomicU64>,
}

/// The bytes that one upload may write before its next check.
struct Promise(Arc<AtomicU64>, u64);

impl Promise {
    fn new(all: &Arc<AtomicU64>, bytes: u64) -> Self {
        all.fetch_add(bytes, Ordering::Relaxed);
        Self(all.clone(), bytes)
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// The default reserve: one part in this many of the disk, and at most this many bytes.
const RESERVE_PART: u64 = 10;
const RESERVE_BYTES_MAX: u64 = 1 << 30;

/// How often an upload checks the reserve: after one part in this many of the disk, and at most this many bytes.
const LOOK_EVERY_PART: u64 = 64;
const LOOK_EVERY_BYTES_MAX: u64 = 4 << 20;

/// The chunks in others between the socket and the disk.
const CHUNKS_IN_FLIGHT: usize = 8;

impl ImageStore {
    /// Opens a folder for its owner only, and creates it if missing. Uploads leave `reserve_bytes` of its disk
    /// free.
    ///
    /// # Errors
    /// The folder cannot be created, or its permissions cannot be set.
    pub fn open(folder: &Path, reserve_bytes: Option<u64>) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // The folder holds private images, and may be older than this rule.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let disk = rustix::fs::statvfs(folder)?;
        let bytes = disk.f_blocks.saturating_mul(disk.f_frsize);
        let reserve = reserve_bytes.unwrap_or((bytes / RESERVE_PART).min(RESERVE_BYTES_MAX));
        let look_every = (bytes / LOOK_EVERY_PART).min(LOOK_EVERY_BYTES_MAX);
        Ok(Self { folder: folder.to_owned(), reserve, look_every, promised: Arc::default() })
    }

    /// The file of an image's bytes, by the name in its record.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    fn part(&self, upload: &str) -> PathBuf {
        self.folder.join(format!("{upload}.part"))
    }

    /// Receives bytes under an upload's name. They are hashed and written as they come, at most `room` of them,
    /// and inspected. They are durable when the call returns.
    ///
    /// # Errors
    /// The stream broke, stalled or was too long, the disk is full, or the content does not match the declared
    /// format.
    pub async fn receive<S, E>(
        &self,
        upload: &str,
        format: &str,
        room: Option<u64>,
        mut stream: S,
    ) -> Result<Data>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let (chunks, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (store, upload_name, format) = (self.clone(), upload.to_owned(), format.to_owned());
        let writer = tokio::task::spawn_blocking(move || store.write(&upload_name, &format, incoming));
        let bytes_max = room.unwrap_or(IMAGE_BYTES_MAX).min(IMAGE_BYTES_MAX);
        let mut total = 0_u64;
        let mut broken = None;
        while let Some(next) = tokio::time::timeout(STREAM_STALL, stream.next()).await.transpose() {
            match next {
                Ok(Ok(chunk)) => {
                    total += chunk.len() as u64;
                    if total > bytes_max {
                        broken = Some(too_long(room));
                        break;
                    }
                    // A closed channel means that the writer failed; the writer's own error says why.
                    if chunks.send(chunk).await.is_err() {
                        break;
                    }
                }
                Ok(Err(error)) => {
                    broken = Some(Error::invalid(format!("The upload broke off: {error}. Send it again.")));
                    break;
                }
                Err(_) => {
                    broken = Some(Error::invalid(
                        "The upload stood still for too long and was ended. Send it again.",
                    ));
                    break;
                }
            }
        }
        drop(chunks);
        let written = writer.await.map_err(Error::internal)?;
        let result = match broken {
            Some(error) => Err(error),
            None => written,
        };
        if result.is_err() {
            self.discard(upload);
        }
        result
    }

    /// Removes an upload's file, complete or not.
    pub fn discard(&self, upload: &str) {
        // If the removal fails now, the next start removes the file.
        let _ = fs::remove_file(self.part(upload));
        self.remove(upload);
    }

    /// Removes an image's file, by the name in its record.
    pub fn remove(&self, file: &str) {
        let _ = fs::remove_file(self.path(file));
    }

    fn write(&self, upload: &str, format: &str, mut incoming: mpsc::Receiver<Bytes>) -> Result<Data> {
        let failed = |error: io::Error| storage_error(&error);
        let part = self.part(upload);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part).map_err(failed)?;
        let (mut md5, mut sha512, mut size) = (Md5::new(), Sha512::new(), 0_u64);
        let mut look_at = 0;
        let _promise = Promise::new(&self.promised, self.look_every);
        while let Some(chunk) = incoming.blocking_recv() {
            md5.update(&chunk);
            sha512.update(&chunk);
            size += chunk.len() as u64;
            if size >= look_at {
                self.check_reserve(&file).map_err(failed)?;
                look_at = size + self.look_every;
            }
            file.write_all(&chunk).map_err(failed)?;
        }
        file.sync_all().map_err(failed)?;
        let found = inspect::file(&part, format).map_err(failed)?;
        let found = found.map_err(|refused| Error::invalid(refused.0))?;
        fs::rename(&part, self.path(upload)).map_err(failed)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(Data {
            size,
            virtual_size: found.virtual_size,
            checksum: hex(&md5.finalize()),
            sha512: hex(&sha512.finalize()),
            file: Some(upload.to_owned()),
        })
    }

    /// Checks the reserve. The store of records may be on the same disk, and must always have room.
    fn check_reserve(&self, file: &File) -> io::Result<()> {
        let disk = rustix::fs::fstatvfs(file)?;
        // Bytes that uploads may write before their next check count as written.
        let promised = self.promised.load(Ordering::Relaxed);
        match disk.f_bavail.saturating_mul(disk.f_frsize) < self.reserve.saturating_add(promised) {
            true if self.reserve > 0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    /// Removes the files of interrupted uploads, and moves aside the files of images that the state does not
    /// know: a lost or restored store must not delete images. Returns the number of moved or removed files.
    ///
    /// # Errors
    /// The folder cannot be read or changed.
    pub fn sweep(&self, state: &State) -> io::Result<usize> {
        let mut swept = 0;
        let known: BTreeSet<String> = state.images.values().filter_map(|image| image.file()).collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_upload = name.starts_with("upload-");
            if is_upload && name.ends_with(".part") {
                fs::remove_file(entry.path())?;
                swept += 1;
            } else if (is_upload || name.parse::<ImageId>().is_ok()) && !known.contains(&*name) {
                let aside = self.folder.join("lost");
                fs::create_dir_all(&aside)?;
                fs::rename(entry.path(), aside.join(&*name))?;
                tracing::warn!(
                    file = &*name,
                    "bytes of an image that no record knows were moved to images/lost"
                );
                swept += 1;
            } else if entry.file_type()?.is_file() {
                fs::set_permissions(entry.path(), fs::Permissions::from_mode(0o600))?;
            }
        }
        Ok(swept)
    }
}

fn too_long(room: Option<u64>) -> Error {
    match room {
        Some(room) => Error::too_large(format!(
            "Project is over a limit for image_size_total: {room} bytes were left for this upload. Delete images, or ask \
             an administrator for a higher limit."
        )),
        None => Error::too_large(format!("An image may have at most {IMAGE_BYTES_MAX} bytes.")),
    }
}

fn storage_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let mut full = Error::too_large("The image store is full. Ask the operator to make room.");
            full.internal = Some(error.to_string());
            full
        }
        _ => {
            let mut down =
                Error::unavailable("The image store cannot be written. Ask the operator to look at it.");
            down.internal = Some(error.to_string());
            down
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;
    use tempfile::TempDir;

    fn chunks(parts: &[&'static [u8]]) -> impl Stream<Item = std::result::Result<Bytes, String>> + Unpin {
        stream::iter(parts.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    fn store(folder: &TempDir) -> ImageStore {
        ImageStore::open(folder.path(), Some(0)).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn bytes_are_hashed_as_they_come_and_kept_under_the_uploads_name() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let data = store.receive("upload-1", "raw", None, chunks(&[b"hello ", b"world"])).await.unwrap();
        assert_eq!(data.size, 11);
        assert_eq!(data.checksum, "5eb63bbbe01eeed093cb22bb8f5acdc3");
        assert!(data.sha512.starts_with("309ecc489c12d6eb4cc40f50c902f2b4"));
        assert_eq!(data.file.as_deref(), Some("upload-1"));
        assert_eq!(fs::read(store.path("upload-1")).unwrap(), b"hello world");
        assert_eq!((mode(folder.path()), mode(&store.path("upload-1"))), (0o700, 0o600));
        // A later upload always has another name.
        store.receive("upload-1", "raw", None, chunks(&[b"other"])).await.unwrap();
        store.discard("upload-2");
        assert!(store.path("upload-1").exists());
        store.discard("upload-1");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn uploads_end_at_the_projects_room_and_before_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let fits = store(&folder).receive("upload-1", "raw", Some(5), chunks(&[b"12345"])).await;
        assert_eq!(fits.unwrap().size, 5);
        let over = store(&folder).receive("upload-2", "raw", Some(4), chunks(&[b"12345"])).await.unwrap_err();
        assert!(over.message.contains("image_size_total"), "{over}");
        let full = ImageStore::open(folder.path(), Some(u64::MAX)).unwrap();
        let full = full.receive("upload-3", "raw", None, chunks(&[b"12345"])).await.unwrap_err();
        assert!(full.message.contains("is full"), "{full}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[tokio::test]
    async fn a_sweep_removes_broken_uploads_and_only_moves_images_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let id = ImageId::from_random([1; 16]).to_string();
        fs::write(store.path(&id), b"precious").unwrap();
        fs::write(store.path("upload-2"), b"whole").unwrap();
        fs::write(folder.path().join("upload-1.part"), b"half").unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let empty = State::new(lenticular_model::Incarnation::from_random([2; 16]), Default::default());
        assert_eq!(store.sweep(&empty).unwrap(), 3);
        assert!(!folder.path().join("upload-1.part").exists());
        assert_eq!(fs::read(folder.path().join("lost").join(id)).unwrap(), b"precious");
        assert_eq!(fs::read(folder.path().join("lost/upload-2")).unwrap(), b"whole");
        assert_eq!(store.sweep(&empty).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_refused_or_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let refused = store.receive("u1", "qcow2", None, chunks(&[b"no qcow2"])).await.unwrap_err();
        assert!(refused.message.contains("declared to be qcow2"), "{refused}");
        let broken = stream::iter(vec![Ok(Bytes::from_static(b"x")), Err("reset".to_owned())]);
        assert!(store.receive("u2", "raw", None, broken).await.is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
