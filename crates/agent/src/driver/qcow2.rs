//! Disks as qcow2 overlays over a cache of digest-checked bases.
//!
//! ```text
//! STATE/base/<sha512>.<format>        a base; `.part` during the download
//! STATE/guests/<server>/root.qcow2    the overlay
//! STATE/guests/<server>/disk.json     its generation and base: written last, so a disk without it is half-made
//! ```

use super::{
    Disks, Work, disk_full, file_failure,
    guest_user::{self, GuestUser},
    send_disk,
};
use crate::{
    core::Failure,
    exec::{self, ExecError, Limits},
    files,
    link::{Link, LinkError},
};
use lenticular_model::{Lock, ServerId, compute::operation::SHELVE_S_MAX};
use lenticular_wire::{
    agent::{Base, GuestAssignment},
    hex,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha512};
use std::{
    collections::{BTreeSet, HashMap},
    fs::Permissions,
    io,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::io::AsyncWriteExt;

/// The note beside a complete disk.
pub(super) const NOTE: &str = "disk.json";
/// The space that must stay free on the host's disk.
const ROOM_BYTES_MIN: u64 = 256 << 20;
/// A base without a request for this long is removed.
const BASE_KEPT_S: u64 = 24 * 3600;
/// Limits of qemu-img, which reads headers from untrusted sources.
pub(super) const IMG: Limits =
    Limits { deadline: Duration::from_secs(30), memory_mb_and_cpu_s: Some((1024, 20)) };

/// The disk, in its guest's directory.
pub(super) const ROOT: &str = "root.qcow2";
/// A disk's copy for the image store, beside the guest's disk.
const WHOLE: &str = "whole.qcow2";
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

/// The note beside each overlay.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DiskNote {
    pub(super) generation: u64,
    pub(super) base: String,
}

impl DiskNote {
    pub(super) fn of(assignment: &GuestAssignment, base: &Path) -> Self {
        let base = base.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Self { generation: assignment.generation, base }
    }
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

    pub(super) fn note(&self, server: ServerId) -> Option<DiskNote> {
        let dir = self.guest_dir(server);
        if !dir.join(ROOT).is_file() {
            return None;
        }
        serde_json::from_slice(&std::fs::read(dir.join("disk.json")).ok()?).ok()
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

    /// Makes an overlay, and then its note.
    pub(super) async fn make_overlay<N: Serialize + Send + 'static>(
        &self,
        assignment: &GuestAssignment,
        (note_name, note): (&'static str, N),
    ) -> Result<(), Failure> {
        let base = self.base_path(&assignment.guest.base)?;
        self.check_room()?;
        let virtual_size = check_header(&base, &assignment.guest.base.format)?;
        let size = virtual_size.max(u64::from(assignment.guest.size.disk_gb) << 30);
        let dir = self.guest_dir(assignment.server_id);
        let root = dir.join(ROOT);
        {
            let (dir, root) = (dir.clone(), root.clone());
            blocking("making the server's directory", move || {
                std::fs::create_dir_all(&dir)?;
                files::remove(&dir.join("disk.json"))?;
                files::remove(&root)?;
                // The file exists before qemu-img runs, because the guest's user can make no file here.
                files::create(&root).map(drop)
            })
            .await?;
        }
        let size = size.to_string();
        let format = assignment.guest.base.format.as_str();
        let base_text = relative(&base);
        let args = ["create", "-q", "-f", "qcow2", "-b", &base_text, "-F", format, ROOT, &size];
        run_img(&dir, &args, IMG).await?;
        blocking("noting the disk", move || {
            std::fs::File::open(&root)?.sync_all()?;
            files::write_durably(&dir.join(note_name), &serde_json::to_vec(&note)?)
        })
        .await
    }

    fn reap(&self) -> io::Result<()> {
        let mut needed = BTreeSet::new();
        for server in self.servers()? {
            // A disk with an unreadable note may need any base.
            let Some(note) = self.note(server) else { return Ok(()) };
            needed.insert(note.base);
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

    fn make<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()> {
        Box::pin(async move {
            if self.note(assignment.server_id).is_some_and(|note| note.generation == assignment.generation) {
                return Ok(());
            }
            let note = DiskNote::of(assignment, &self.base_path(&assignment.guest.base)?);
            let result = self.make_overlay(assignment, (NOTE, note)).await;
            if result.is_err() {
                let dir = self.guest_dir(assignment.server_id);
                let half = [dir.join("disk.json"), dir.join(ROOT)];
                for error in half.iter().filter_map(|path| files::remove(path).err()) {
                    tracing::warn!(server = %assignment.server_id, %error, "cannot remove a half-made disk");
                }
            }
            result
        })
    }

    fn find<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, Option<u64>> {
        Box::pin(async move { Ok(self.note(assignment.server_id).map(|note| note.generation)) })
    }

    fn list(&self) -> Work<'_, Vec<(ServerId, u64)>> {
        Box::pin(async move {
            let servers = self.servers().map_err(|e| file_failure("listing the guests", &e))?;
            Ok(servers.into_iter().filter_map(|s| Some((s, self.note(s)?.generation))).collect())
        })
    }

    fn path(&self, server: ServerId) -> PathBuf {
        self.root(server)
    }

    fn upload<'a>(
        &'a self,
        assignment: &'a GuestAssignment,
        upload: &'a str,
        link: &'a dyn Link,
    ) -> Work<'a, ()> {
        Box::pin(async move {
            let dir = self.guest_dir(assignment.server_id);
            let whole = Fleeting(dir.join(WHOLE));
            files::create(&whole.0).map_err(|e| file_failure("making a copy of the disk", &e))?;
            // The whole content of the guest's disk, in one file without a base.
            run_img(&dir, &["convert", "-q", "-f", "qcow2", "-O", "qcow2", ROOT, WHOLE], CONVERT).await?;
            send_disk(assignment.server_id, upload, &whole.0, link).await
        })
    }

    fn relabel<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()> {
        Box::pin(async move {
            let dir = self.guest_dir(assignment.server_id);
            let Some(note) = self.note(assignment.server_id) else {
                return Err(Failure::new("The older disk is no longer there.", "no disk.json to rewrite"));
            };
            let note = DiskNote { generation: assignment.generation, ..note };
            blocking("noting the disk", move || {
                files::write_durably(&dir.join(NOTE), &serde_json::to_vec(&note)?)
            })
            .await
        })
    }

    fn grow<'a>(&'a self, assignment: &'a GuestAssignment) -> Work<'a, ()> {
        Box::pin(async move {
            // The copy of a disk that was being sent when the agent ended.
            let dir = self.guest_dir(assignment.server_id);
            files::remove(&dir.join(WHOLE)).map_err(|e| file_failure("removing a copy of the disk", &e))?;
            let wanted = u64::from(assignment.guest.size.disk_gb) << 30;
            if overlay_bytes(&dir.join(ROOT))? >= wanted {
                return Ok(());
            }
            run_img(&dir, &["resize", "-q", "-f", "qcow2", ROOT, &wanted.to_string()], IMG).await
        })
    }

    fn remove(&self, server: ServerId) -> Work<'_, ()> {
        let dir = self.guest_dir(server);
        Box::pin(blocking("removing the server's disk", move || {
            // Without its note, a disk counts as half-made, even after a crash.
            files::remove(&dir.join("disk.json"))?;
            // The files must go before the guest's user is free for another guest.
            files::remove(&dir.join(ROOT))?;
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

/// Runs qemu-img in a guest's directory, as the guest's user, who becomes the disk's owner.
pub(super) async fn run_img(dir: &Path, args: &[&str], limits: Limits) -> Result<(), Failure> {
    let Some(qemu_img) = exec::which("qemu-img") else {
        return Err(img_failure(&ExecError::Missing("qemu-img".to_owned())));
    };
    let user = GuestUser::of(dir).await;
    let given = user.and_then(|user| {
        [ROOT, WHOLE].iter().try_for_each(|name| user.give(&dir.join(name)))?;
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
