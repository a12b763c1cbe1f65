//! Disks as qcow2 files: overlays over a cache of digest-checked bases, and disks that begin empty.
//!
//! ```text
//! STATE/base/<sha512>.<format>        a base; `.part` during the download
//! STATE/guests/<server>/root.qcow2    the root disk
//! STATE/guests/<server>/disk.json     its generation and base: written last, so a disk without it is half-made
//! STATE/guests/<server>/<disk>.qcow2  another disk, with its note <disk>.json
//! ```

use super::{
    Disks, Work,
    disk_file::{DiskNote, WORK, disk_of, file, names_in, note_file, remove_files},
    disk_full, file_failure,
    guest_user::{self, GuestUser},
    send_disk,
};
use crate::{
    core::Failure,
    exec::{self, ExecError, Limits},
    files,
    link::{Link, LinkError},
};
use lenticular_model::{DiskId, Lock, ServerId, compute::operation::SHELVE_S_MAX};
use lenticular_wire::{
    agent::{Base, Content, DiskSpec, RescueSpec},
    hex,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use sha2::{Digest, Sha512};
use std::{
    collections::{BTreeSet, HashMap},
    fs::Permissions,
    io,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// The space that must stay free on the host's disk.
const ROOM_BYTES_MIN: u64 = 256 << 20;
/// A base without a request for this long is removed.
const BASE_KEPT_S: u64 = 24 * 3600;
/// Limits of qemu-img, which reads headers from untrusted sources.
pub(super) const IMG: Limits =
    Limits { deadline: Duration::from_secs(30), memory_mb_and_cpu_s: Some((1024, 20)) };

/// Limits of qemu-img when it copies a whole disk.
const CONVERT: Limits = Limits {
    deadline: Duration::from_secs(SHELVE_S_MAX as u64),
    memory_mb_and_cpu_s: Some((1024, SHELVE_S_MAX as u64)),
};

/// The qcow2 driver.
pub struct Qcow2Disks {
    state_dir: PathBuf,
    /// A lock for each base in download.
    fetching: Lock<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Qcow2Disks {
    /// Disks below `state_dir`.
    ///
    /// # Errors
    /// The directories cannot be made.
    pub fn new(state_dir: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(state_dir.join("base"))?;
        std::fs::create_dir_all(state_dir.join("guests"))?;
        guest_user::guard(state_dir)?;
        Ok(Self { state_dir: state_dir.canonicalize()?, fetching: Lock::default() })
    }

    pub(super) fn base_dir(&self) -> PathBuf {
        self.state_dir.join("base")
    }

    pub(super) fn guest_dir(&self, server: ServerId) -> PathBuf {
        self.state_dir.join("guests").join(server.to_string())
    }

    pub(super) fn base_path(&self, base: &Base) -> Result<PathBuf, Failure> {
        let hex = base.sha512.len() == 128 && base.sha512.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || !matches!(base.format.as_str(), "qcow2" | "raw") {
            return Err(Failure::new(
                format!("The image's format '{}' cannot be run. Use an image in qcow2 or raw.", base.format),
                format!("image {}, sha512 '{}'", base.image_id, base.sha512),
            ));
        }
        Ok(self.state_dir.join("base").join(format!("{}.{}", base.sha512.to_lowercase(), base.format)))
    }

    /// The note of a complete disk.
    pub(super) fn note(&self, server: ServerId, disk: DiskId) -> Option<DiskNote> {
        let dir = self.guest_dir(server);
        if !dir.join(file(server, disk)).is_file() {
            return None;
        }
        serde_json::from_slice(&std::fs::read(dir.join(note_file(server, disk))).ok()?).ok()
    }

    /// A guest's disks that have a file or a note here, complete or not.
    fn disks_here(&self, server: ServerId) -> io::Result<BTreeSet<DiskId>> {
        let names = names_in(&self.guest_dir(server))?;
        Ok(names.iter().filter_map(|name| disk_of(server, name)).collect())
    }

    pub(super) fn check_room(&self) -> Result<(), Failure> {
        let free = room_bytes(&self.state_dir).map_err(|e| file_failure("looking for room", &e))?;
        match free < ROOM_BYTES_MIN {
            true => Err(disk_full(&format!("{} MiB free below {}", free >> 20, self.state_dir.display()))),
            false => Ok(()),
        }
    }

    async fn fetch(&self, base: &Base, path: &Path, link: &dyn Link) -> Result<(), Failure> {
        self.check_room()?;
        let part = files::beside(path);
        let result = download(base, &part, link).await;
        if result.is_err() {
            // Half a base is useless, and the disk may be full.
            if let Err(error) = files::remove(&part) {
                tracing::warn!(path = %part.display(), %error, "cannot remove a half-fetched base");
            }
            return result;
        }
        check_header(&part, &base.format)?;
        keep_base(part, path.to_owned()).await
    }

    /// Makes a disk's file, without a note.
    pub(super) async fn make_file(&self, server: ServerId, disk: &DiskSpec) -> Result<(), Failure> {
        let note = self.guest_dir(server).join(note_file(server, disk.id));
        blocking("removing a disk's note", move || files::remove(&note)).await?;
        self.make_at(server, &file(server, disk.id), disk).await
    }

    /// Makes a file of this name with a disk's content, in place of any other.
    pub(super) async fn make_at(&self, server: ServerId, name: &str, disk: &DiskSpec) -> Result<(), Failure> {
        self.check_room()?;
        let dir = self.guest_dir(server);
        let path = dir.join(name);
        {
            let (dir, path) = (dir.clone(), path.clone());
            blocking("making the server's directory", move || {
                std::fs::create_dir_all(&dir)?;
                files::remove(&path)?;
                // The file exists before qemu-img runs, because the guest's user can make no file here.
                files::create(&path).map(drop)
            })
            .await?;
        }
        match &disk.content {
            Content::Image(base) => {
                let path = self.base_path(base)?;
                let size = check_header(&path, &base.format)?.max(disk.bytes).to_string();
                let base_text = relative(&path);
                let args = ["create", "-q", "-f", "qcow2", "-b", &base_text, "-F", &base.format, name, &size];
                run_img(&dir, &args, &[name], IMG).await?;
            }
            Content::Blank => make_blank(&dir, name, disk.bytes).await?,
            Content::Swap => make_swap(&dir, name, disk).await?,
        }
        blocking("making the disk durable", move || std::fs::File::open(&path)?.sync_all()).await
    }

    /// Writes the note that makes a disk complete.
    /// Writes a note under this name.
    pub(super) async fn write_json(
        &self,
        server: ServerId,
        name: String,
        note: &DiskNote,
    ) -> Result<(), Failure> {
        let (path, note) = (self.guest_dir(server).join(name), note.clone());
        blocking("noting the disk", move || files::write_durably(&path, &serde_json::to_vec(&note)?)).await
    }

    pub(super) fn note_of(&self, disk: &DiskSpec) -> Result<DiskNote, Failure> {
        Ok(DiskNote { generation: disk.generation, base: self.base_name_of(disk)? })
    }

    /// The name of the base of a disk with this content; empty for none.
    pub(super) fn base_name_of(&self, disk: &DiskSpec) -> Result<String, Failure> {
        disk.base().map_or(Ok(String::new()), |base| self.base_name(base))
    }

    fn reap(&self) -> io::Result<()> {
        let mut needed = BTreeSet::new();
        for server in self.servers()? {
            let disks = self.disks_here(server)?;
            // A disk with an unreadable note may need any base, and so may one that is on its way here.
            let notes: Option<Vec<DiskNote>> = disks.iter().map(|disk| self.note(server, *disk)).collect();
            let Some(notes) = notes.filter(|notes| !notes.is_empty()) else { return Ok(()) };
            needed.extend(notes.into_iter().map(|note| note.base));
        }
        let dir = self.state_dir.join("base");
        // The file system's own clock gives both times.
        let now_file = dir.join(".now");
        std::fs::write(&now_file, b"")?;
        let now = std::fs::metadata(&now_file)?.modified()?;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let age = now.duration_since(entry.metadata()?.modified()?).unwrap_or_default();
            let name = entry.file_name().to_string_lossy().into_owned();
            if age.as_secs() > BASE_KEPT_S && !needed.contains(&name) {
                tracing::info!(base = name, "removing a base that nothing needs");
                files::remove(&entry.path())?;
            }
        }
        Ok(())
    }

    fn servers(&self) -> io::Result<Vec<ServerId>> {
        let entries = std::fs::read_dir(self.state_dir.join("guests"))?;
        Ok(entries.filter_map(|e| e.ok()?.file_name().to_string_lossy().parse().ok()).collect())
    }
}

impl Disks for Qcow2Disks {
    fn ensure_base<'a>(&'a self, base: &'a Base, link: &'a dyn Link) -> Work<'a, ()> {
        Box::pin(async move {
            let path = self.base_path(base)?;
            let lock = {
                let mut fetching = self.fetching.lock();
                fetching.retain(|_, lock| Arc::strong_count(lock) > 1);
                fetching.entry(base.sha512.clone()).or_default().clone()
            };
            let _turn = lock.lock().await;
            if path.is_file() {
                let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
                let times = Timestamps { last_access: now, last_modification: now };
                // Only the clean-up reads the time, and a day's tolerance makes up for a failure.
                let _ = utimensat(CWD, &path, &times, AtFlags::empty());
                return Ok(());
            }
            self.fetch(base, &path, link).await
        })
    }

    fn make<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()> {
        Box::pin(async move {
            if self.note(server, disk.id).is_some_and(|note| note.generation == disk.generation) {
                return Ok(());
            }
            let note = self.note_of(disk)?;
            let made = async {
                self.make_file(server, disk).await?;
                self.write_json(server, note_file(server, disk.id), &note).await
            };
            let result = made.await;
            if result.is_err() {
                let dir = self.guest_dir(server);
                let half = [dir.join(note_file(server, disk.id)), dir.join(file(server, disk.id))];
                for error in half.iter().filter_map(|path| files::remove(path).err()) {
                    tracing::warn!(%server, disk = %disk.id, %error, "cannot remove a half-made disk");
                }
            }
            result
        })
    }

    fn remake<'a>(&'a self, server: ServerId, disks: &'a [DiskSpec], keeps_data: bool) -> Work<'a, ()> {
        Box::pin(self.remake_disks(server, disks, keeps_data))
    }

    fn rescue<'a>(&'a self, server: ServerId, rescue: Option<&'a RescueSpec>) -> Work<'a, Option<PathBuf>> {
        Box::pin(self.make_rescue(server, rescue))
    }

    fn find<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, Option<u64>> {
        Box::pin(async move { Ok(self.note(server, disk.id).map(|note| note.generation)) })
    }

    fn list(&self) -> Work<'_, Vec<(ServerId, DiskId, u64)>> {
        let list = || {
            let mut all = Vec::new();
            for server in self.servers()? {
                let complete = self.disks_here(server)?.into_iter();
                all.extend(complete.filter_map(|id| Some((server, id, self.note(server, id)?.generation))));
            }
            io::Result::Ok(all)
        };
        Box::pin(async move { list().map_err(|e| file_failure("listing the guests", &e)) })
    }

    fn path(&self, server: ServerId, disk: DiskId) -> PathBuf {
        self.guest_dir(server).join(file(server, disk))
    }

    fn upload<'a>(
        &'a self,
        server: ServerId,
        disk: DiskId,
        upload: &'a str,
        link: &'a dyn Link,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            let (dir, name) = (self.guest_dir(server), file(server, disk));
            let whole = Fleeting(dir.join(WORK));
            files::create(&whole.0).map_err(|e| file_failure("making a copy of the disk", &e))?;
            // The whole content of the guest's disk, in one file without a base.
            let args = ["convert", "-q", "-f", "qcow2", "-O", "qcow2", &name, WORK];
            run_img(&dir, &args, &[&name, WORK], CONVERT).await?;
            send_disk(server, upload, &whole.0, link).await
        })
    }

    fn make_copy<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, PathBuf> {
        Box::pin(async move {
            self.check_room()?;
            let dir = self.guest_dir(server);
            let bytes = overlay_bytes(&dir.join(file(server, disk.id)))?;
            files::create(&dir.join(WORK)).map_err(|e| file_failure("making a copy of the disk", &e))?;
            make_blank(&dir, WORK, bytes).await?;
            Ok(dir.join(WORK))
        })
    }

    fn send_copy<'a>(&'a self, server: ServerId, upload: &'a str, link: &'a dyn Link) -> Work<'a, ()> {
        Box::pin(async move { send_disk(server, upload, &self.guest_dir(server).join(WORK), link).await })
    }

    fn remove_copy(&self, server: ServerId) -> Work<'_, ()> {
        let work = self.guest_dir(server).join(WORK);
        Box::pin(
            async move { files::remove(&work).map_err(|e| file_failure("removing a copy of the disk", &e)) },
        )
    }

    fn relabel<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()> {
        Box::pin(self.relabel_disk(server, disk))
    }

    fn grow<'a>(&'a self, server: ServerId, disk: &'a DiskSpec) -> Work<'a, ()> {
        Box::pin(async move {
            // The copy of a disk that was being sent when the agent ended.
            let (dir, name) = (self.guest_dir(server), file(server, disk.id));
            files::remove(&dir.join(WORK)).map_err(|e| file_failure("removing a copy of the disk", &e))?;
            if overlay_bytes(&dir.join(&name))? >= disk.bytes {
                return Ok(());
            }
            let args = ["resize", "-q", "-f", "qcow2", &name, &disk.bytes.to_string()];
            run_img(&dir, &args, &[&name], IMG).await
        })
    }

    fn remove(&self, server: ServerId) -> Work<'_, ()> {
        let dir = self.guest_dir(server);
        Box::pin(blocking("removing the server's disks", move || {
            // The files must go before the guest's user is free for another guest.
            remove_files(&dir, server)?;
            files::remove(&dir)
        }))
    }

    fn tidy(&self) -> Work<'_, ()> {
        Box::pin(async move { self.reap().map_err(|e| file_failure("removing old bases", &e)) })
    }
}

/// A file that is removed with its user, also if the work is given up half-way.
struct Fleeting(PathBuf);

impl Drop for Fleeting {
    fn drop(&mut self) {
        if let Err(error) = files::remove(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "a copy of a disk cannot be removed");
        }
    }
}

/// A base's path in an overlay: relative to the overlay's directory, so that both can move together.
pub(super) fn relative(base: &Path) -> String {
    format!("../../base/{}", base.file_name().map(|n| n.to_string_lossy()).unwrap_or_default())
}

/// Bytes free for use below a directory.
pub(crate) fn room_bytes(dir: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(dir)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

pub(super) async fn blocking<F>(doing: &'static str, work: F) -> Result<(), Failure>
where
    F: FnOnce() -> io::Result<()> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|e| file_failure(doing, &e)),
        Err(error) => Err(file_failure(doing, &io::Error::other(error))),
    }
}

async fn download(base: &Base, part: &Path, link: &dyn Link) -> Result<(), Failure> {
    let written = |e: io::Error| file_failure("fetching the image", &e);
    let mut chunks = link.image(base.image_id).await.map_err(|e| fetch_failure(base, &e))?;
    let mut file = tokio::fs::File::create(part).await.map_err(written)?;
    let mut digest = Sha512::new();
    while let Some(piece) = chunks.next().await.map_err(|e| fetch_failure(base, &e))? {
        digest.update(&piece);
        file.write_all(&piece).await.map_err(written)?;
    }
    file.flush().await.map_err(written)?;
    file.sync_all().await.map_err(written)?;
    let got = hex(&digest.finalize());
    if got != base.sha512.to_lowercase() {
        return Err(Failure::new(
            "The image arrived damaged. Try again; if it fails again, upload the image again.",
            format!("image {}: sha512 of what arrived is {got}, it should be {}", base.image_id, base.sha512),
        ));
    }
    Ok(())
}

/// Makes an empty disk.
pub(super) async fn make_blank(dir: &Path, name: &str, bytes: u64) -> Result<(), Failure> {
    run_img(dir, &["create", "-q", "-f", "qcow2", name, &bytes.to_string()], &[name], IMG).await
}

/// Makes a disk that is a Linux swap area.
async fn make_swap(dir: &Path, name: &str, disk: &DiskSpec) -> Result<(), Failure> {
    let raw = Fleeting(dir.join(WORK));
    let (path, header, bytes) = (raw.0.clone(), swap_header(disk), disk.bytes);
    blocking("writing the swap area", move || {
        let mut file = files::create(&path)?;
        file.write_all(&header)?;
        file.set_len(bytes)
    })
    .await?;
    let args = ["convert", "-q", "-f", "raw", "-O", "qcow2", WORK, name];
    run_img(dir, &args, &[name, WORK], IMG).await
}

/// The first page of a swap area, as mkswap(8) writes it for pages of 4 KiB. The disk's id is the area's UUID.
fn swap_header(disk: &DiskSpec) -> Vec<u8> {
    const PAGE: usize = 4096;
    let mut page = vec![0; PAGE];
    let last_page = (disk.bytes / PAGE as u64).saturating_sub(1).min(u64::from(u32::MAX)) as u32;
    page[1024..1028].copy_from_slice(&1_u32.to_le_bytes());
    page[1028..1032].copy_from_slice(&last_page.to_le_bytes());
    page[1036..1052].copy_from_slice(disk.id.0.as_bytes());
    page[PAGE - 10..].copy_from_slice(b"SWAPSPACE2");
    page
}

/// Runs qemu-img in a guest's directory, as the guest's user, who becomes the owner of these files.
pub(super) async fn run_img(
    dir: &Path,
    args: &[&str],
    given: &[&str],
    limits: Limits,
) -> Result<(), Failure> {
    let Some(qemu_img) = exec::which("qemu-img") else {
        return Err(img_failure(&ExecError::Missing("qemu-img".to_owned())));
    };
    let user = GuestUser::of(dir).await;
    let given = user.and_then(|user| {
        given.iter().try_for_each(|name| user.give(&dir.join(name)))?;
        Ok(user)
    });
    let user = given.map_err(|e| file_failure("giving the guest its disk", &e))?;
    let (program, args) = user.command(&qemu_img, args.iter().map(|arg| (*arg).to_owned()).collect());
    exec::run_in(dir, &program, &args, limits).await.map(drop).map_err(|e| img_failure(&e))
}

/// Gives a complete base its name, readable for all guests.
pub(super) async fn keep_base(part: PathBuf, path: PathBuf) -> Result<(), Failure> {
    blocking("keeping the base", move || {
        std::fs::set_permissions(&part, Permissions::from_mode(0o644))?;
        std::fs::rename(&part, &path)?;
        files::sync_parent(&path)
    })
    .await
}

/// The virtual size of an overlay that was made here or copied whole, from its header.
fn overlay_bytes(root: &Path) -> Result<u64, Failure> {
    let read = || -> io::Result<[u8; 32]> {
        let mut header = [0; 32];
        std::fs::File::open(root)?.read_exact(&mut header)?;
        Ok(header)
    };
    let header = read().map_err(|e| file_failure("reading the server's disk", &e))?;
    Ok(header[24..].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte)))
}

fn fetch_failure(base: &Base, error: &LinkError) -> Failure {
    let message = match error {
        LinkError::Unknown => "The server's image is gone. Use another image.",
        _ => "The server's image could not be fetched. Try again; if it fails again, ask the operator.",
    };
    Failure::new(message, format!("image {}: {error}", base.image_id))
}

pub(super) fn img_failure(error: &ExecError) -> Failure {
    let details = error.to_string();
    if details.contains("No space left on device") {
        return disk_full(&details);
    }
    if matches!(error, ExecError::Missing(_)) {
        return Failure::new(
            "The host lacks a program that it needs. Its operator must install it.",
            format!("{details}; qemu-img is in the package qemu-utils"),
        );
    }
    Failure::new(
        "The server's disk could not be made. Try again; if it fails again, ask the operator.",
        details,
    )
}

/// The virtual size, after a check that the image refers to no other file.
pub(super) fn check_header(path: &Path, format: &str) -> Result<u64, Failure> {
    let read = || -> io::Result<([u8; 104], u64)> {
        let mut file = std::fs::File::open(path)?;
        let mut header = [0; 104];
        let length = file.metadata()?.len();
        let mut taken = (&mut file).take(104);
        let mut at = 0;
        while let n @ 1.. = taken.read(&mut header[at..])? {
            at += n;
        }
        Ok((header, length))
    };
    let (header, length) = read().map_err(|e| file_failure("reading the base", &e))?;
    if format == "raw" {
        return Ok(length);
    }
    let refuse = |why: &str| {
        Err(Failure::new(
            format!("The image cannot be used: {why}. Upload an image that needs no other file."),
            format!("base {}", path.display()),
        ))
    };
    let number = |at: usize| header[at..at + 8].iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let version = header[7];
    if !header.starts_with(b"QFI\xfb") || !matches!(version, 2 | 3) {
        return refuse("its format says qcow2, but its content does not");
    }
    if number(8) != 0 {
        return refuse("it has a backing file");
    }
    // Incompatible feature bit 2: the data is in another file.
    if version == 3 && number(72) & 4 != 0 {
        return refuse("its data is in another file");
    }
    Ok(number(24))
}

#[cfg(test)]
#[path = "qcow2_tests.rs"]
mod tests;
