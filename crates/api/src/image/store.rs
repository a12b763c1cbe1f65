//! The bytes of images, in files: written under an upload's own name, counted only when a transaction has said so.

use super::inspect;
use crate::limits::{IMAGE_BYTES_MAX, STREAM_STALL};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use lenticular_model::{
    error::{Error, Result},
    image::Data,
    ImageId, State,
};
use md5::Md5;
use sha2::{Digest, Sha512};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// A folder of images.
#[derive(Debug, Clone)]
pub struct ImageStore {
    folder: PathBuf,
}

/// Bytes that arrived and were found good, and do not count yet.
#[derive(Debug)]
pub struct Arrived {
    /// What they are.
    pub data: Data,
}

/// The chunks in flight between the socket and the disk.
const CHUNKS_IN_FLIGHT: usize = 8;

impl ImageStore {
    /// Opens a folder, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The file of an image's bytes.
    pub fn path(&self, id: ImageId) -> PathBuf {
        self.folder.join(id.to_string())
    }

    fn part(&self, upload: &str) -> PathBuf {
        self.folder.join(format!("{upload}.part"))
    }

    /// Receives bytes under an upload's name: hashed and written as they come, synced, and judged.
    ///
    /// # Errors
    /// The stream broke or stood still, the disk is full, or the content is not what was declared.
    pub async fn receive<S, E>(&self, upload: &str, format: &str, mut stream: S) -> Result<Arrived>
    where
        S: Stream<Item = std::result::Result<Bytes, E>> + Unpin,
        E: std::fmt::Display,
    {
        let (chunks, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
        let (path, format) = (self.part(upload), format.to_owned());
        let writer = tokio::task::spawn_blocking(move || write(&path, &format, incoming));
        let mut total = 0_u64;
        let mut broken = None;
        while let Some(next) = tokio::time::timeout(STREAM_STALL, stream.next()).await.transpose() {
            match next {
                Ok(Ok(chunk)) => {
                    total += chunk.len() as u64;
                    if total > IMAGE_BYTES_MAX {
                        broken = Some(Error::too_large(format!(
                            "An image may have at most {IMAGE_BYTES_MAX} bytes."
                        )));
                        break;
                    }
                    // A closed channel means that the writer failed; its own error says why.
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
                        "The upload stood still for too long and was given up. Send it again.",
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

    /// Puts an upload's bytes in the image's place.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn place(&self, upload: &str, id: ImageId) -> Result<()> {
        fs::rename(self.part(upload), self.path(id))
            .and_then(|()| File::open(&self.folder)?.sync_all())
            .map_err(|error| storage_error(&error))
    }

    /// Forgets an upload's bytes.
    pub fn discard(&self, upload: &str) {
        // What cannot be removed now is removed at the next start.
        let _ = fs::remove_file(self.part(upload));
    }

    /// Forgets an image's bytes.
    pub fn remove(&self, id: ImageId) {
        let _ = fs::remove_file(self.path(id));
    }

    /// Removes what is left of uploads that broke off, and moves aside the bytes of images that the state does not know:
    /// a store that was lost or set back must not take the images with it. Says how many files it moved or removed.
    ///
    /// # Errors
    /// The folder cannot be read or changed.
    pub fn sweep(&self, state: &State) -> io::Result<usize> {
        let mut swept = 0;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("upload-") && name.ends_with(".part") {
                fs::remove_file(entry.path())?;
                swept += 1;
            } else if let Ok(id) = name.parse::<ImageId>() {
                if state.images.get(&id).is_none_or(|i| i.data().is_none()) {
                    let aside = self.folder.join("lost");
                    fs::create_dir_all(&aside)?;
                    fs::rename(entry.path(), aside.join(&*name))?;
                    tracing::warn!(image = %id, "bytes of an image that no record knows were moved to images/lost");
                    swept += 1;
                }
            }
        }
        Ok(swept)
    }
}

fn storage_error(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let mut full = Error::too_large("The image store's disk is full. Its operator must make room.");
            full.internal = Some(error.to_string());
            full
        }
        _ => {
            let mut down =
                Error::unavailable("The image store cannot be written. Its operator must look at it.");
            down.internal = Some(error.to_string());
            down
        }
    }
}

fn write(path: &Path, format: &str, mut incoming: mpsc::Receiver<Bytes>) -> Result<Arrived> {
    let failed = |error: io::Error| storage_error(&error);
    let mut file = File::create(path).map_err(failed)?;
    let (mut md5, mut sha512, mut size) = (Md5::new(), Sha512::new(), 0_u64);
    while let Some(chunk) = incoming.blocking_recv() {
        md5.update(&chunk);
        sha512.update(&chunk);
        size += chunk.len() as u64;
        file.write_all(&chunk).map_err(failed)?;
    }
    file.sync_all().map_err(failed)?;
    let found = inspect::file(path, format).map_err(failed)?;
    let found = found.map_err(|refused| Error::invalid(refused.0))?;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Ok(Arrived {
        data: Data {
            size,
            virtual_size: found.virtual_size,
            checksum: hex(&md5.finalize()),
            sha512: hex(&sha512.finalize()),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn chunks(parts: &[&'static [u8]]) -> impl Stream<Item = std::result::Result<Bytes, String>> + Unpin {
        stream::iter(parts.iter().map(|p| Ok(Bytes::from_static(p))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn bytes_are_hashed_as_they_come_and_kept_only_when_placed() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let arrived = store.receive("u1", "raw", chunks(&[b"hello ", b"world"])).await.unwrap();
        assert_eq!(arrived.data.size, 11);
        assert_eq!(arrived.data.checksum, "5eb63bbbe01eeed093cb22bb8f5acdc3");
        assert!(arrived.data.sha512.starts_with("309ecc489c12d6eb4cc40f50c902f2b4"));
        let id = ImageId::from_random([1; 16]);
        assert!(!store.path(id).exists());
        store.place("u1", id).unwrap();
        assert_eq!(fs::read(store.path(id)).unwrap(), b"hello world");
    }

    #[tokio::test]
    async fn a_sweep_removes_broken_uploads_and_only_moves_images_aside() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let id = ImageId::from_random([1; 16]);
        fs::write(store.path(id), b"precious").unwrap();
        fs::write(folder.path().join("upload-1.part"), b"half").unwrap();
        fs::create_dir(folder.path().join("lost+found")).unwrap();
        let empty = State::new(lenticular_model::Incarnation::from_random([2; 16]), Default::default());
        assert_eq!(store.sweep(&empty).unwrap(), 2);
        assert!(!folder.path().join("upload-1.part").exists());
        assert_eq!(fs::read(folder.path().join("lost").join(id.to_string())).unwrap(), b"precious");
        assert_eq!(store.sweep(&empty).unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_refused_or_breaks_off_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = ImageStore::open(folder.path()).unwrap();
        let refused = store.receive("u1", "qcow2", chunks(&[b"no qcow2"])).await.unwrap_err();
        assert!(refused.message.contains("declared to be qcow2"), "{refused}");
        let broken = stream::iter(vec![Ok(Bytes::from_static(b"x")), Err("reset".to_owned())]);
        assert!(store.receive("u2", "raw", broken).await.is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
