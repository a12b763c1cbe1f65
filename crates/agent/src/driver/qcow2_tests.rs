//! The qcow2 driver against a link that serves from memory. Tests with qemu-img run only where it is installed.

use super::*;
use crate::{
    link::{Call, Chunks},
    peer::Stream,
};
use bytes::Bytes;
use lenticular_model::{HostId, ImageId};
use lenticular_wire::agent::{
    Answer, Base, Content, DiskSpec, Orders, OrdersQuery, Registration, Report, Welcome,
};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Images {
    bytes: Vec<u8>,
    served: AtomicUsize,
}

struct Pieces(Vec<Bytes>);

impl Chunks for Pieces {
    fn next(&mut self) -> Call<'_, Option<Bytes>> {
        let piece = self.0.pop();
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(piece)
        })
    }
}

fn unused<T: Send + 'static>() -> Call<'static, T> {
    Box::pin(async { Err(LinkError::Nonsense("not in this test".to_owned())) })
}

impl Link for Images {
    fn register<'a>(&'a self, _: &'a Registration) -> Call<'a, Welcome> {
        unused()
    }
    fn orders(&self, _: HostId, _: OrdersQuery) -> Call<'_, Orders> {
        unused()
    }
    fn report<'a>(&'a self, _: HostId, _: &'a Report) -> Call<'a, ()> {
        unused()
    }
    fn answer<'a>(&'a self, _: HostId, _: &'a Answer) -> Call<'a, ()> {
        unused()
    }
    fn join_console<'a>(&'a self, _: HostId, _: &'a str) -> Call<'a, Stream> {
        unused()
    }
    fn user_data(&self, _: ServerId) -> Call<'_, Option<Vec<u8>>> {
        unused()
    }
    fn upload<'a>(&'a self, _: ServerId, _: &'a str, _: &'a Path) -> Call<'a, ()> {
        unused()
    }
    fn password<'a>(&'a self, _: ServerId, _: &'a str) -> Call<'a, ()> {
        unused()
    }
    fn image(&self, _: ImageId) -> Call<'_, Box<dyn Chunks>> {
        self.served.fetch_add(1, Ordering::Relaxed);
        let pieces = self.bytes.chunks(1000).rev().map(Bytes::copy_from_slice).collect();
        Box::pin(async { Ok(Box::new(Pieces(pieces)) as Box<dyn Chunks>) })
    }
}

fn images(bytes: &[u8]) -> (Images, Base) {
    let sha512 = hex(&Sha512::digest(bytes));
    let base = Base { image_id: ImageId::from_random([3; 16]), sha512, format: "raw".to_owned() };
    (Images { bytes: bytes.to_vec(), served: AtomicUsize::new(0) }, base)
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[tokio::test]
async fn one_download_serves_all_who_ask() {
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&[7; 5000]);
    let (a, b) = tokio::join!(disks.ensure_base(&base, &link), disks.ensure_base(&base, &link));
    a.unwrap();
    b.unwrap();
    assert_eq!(link.served.load(Ordering::Relaxed), 1);
    assert_eq!(names(&state.path().join("base")), [format!("{}.raw", base.sha512)]);
}

#[tokio::test]
async fn a_damaged_base_is_refused_and_leaves_nothing() {
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&[7; 5000]);
    let base = Base { sha512: "ab".repeat(64), ..base };
    let failure = disks.ensure_base(&base, &link).await.unwrap_err();
    assert!(failure.message.contains("damaged"), "{failure}");
    assert!(names(&state.path().join("base")).is_empty());
    for bad in [
        Base { sha512: "../../etc/passwd".to_owned(), ..base.clone() },
        Base { format: "vmdk".to_owned(), ..base },
    ] {
        assert!(disks.ensure_base(&bad, &link).await.is_err());
    }
}

/// A server and its root disk over a base.
fn root(base: Base) -> (ServerId, DiskSpec) {
    let assignment = crate::testing::assignment(1);
    let disk = assignment.guest.disks.into_iter().next().unwrap();
    (assignment.server_id, DiskSpec { content: Content::Image(base), ..disk })
}

#[tokio::test]
async fn a_disk_that_is_not_sent_after_all_leaves_no_copy() {
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&vec![0; 1 << 20]);
    disks.ensure_base(&base, &link).await.unwrap();
    let (server, disk) = root(base);
    disks.make(server, &disk).await.unwrap();
    let dir = disks.guest_dir(server);
    let before = names(&dir);
    // First the control plane refuses the disk. Then no shelving waits for it any more. Then the agent ends in
    // the middle.
    assert!(disks.upload(server, disk.id, "upload-1", &link).await.is_err());
    assert_eq!(names(&dir), before);
    {
        let mut sending = disks.upload(server, disk.id, "upload-2", &link);
        while !dir.join(WORK).exists() {
            tokio::select! {
                _ = &mut sending => panic!("it was to be given up half-way"),
                () = tokio::task::yield_now() => {}
            }
        }
    }
    assert_eq!(names(&dir), before);
    std::fs::write(dir.join(WORK), b"half").unwrap();
    disks.grow(server, &disk).await.unwrap();
    assert_eq!(names(&dir), before);
}

#[test]
fn images_that_lean_on_other_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let mut header = vec![0; 104];
    header[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    header[24..32].copy_from_slice(&(3_u64 << 30).to_be_bytes());
    std::fs::write(&path, &header).unwrap();
    assert_eq!(check_header(&path, "qcow2").unwrap(), 3 << 30);
    for (at, what) in [(15, "a backing file"), (79, "data is in another"), (0, "says qcow2, but")] {
        let mut bad = header.clone();
        bad[at] = 4;
        std::fs::write(&path, &bad).unwrap();
        assert!(check_header(&path, "qcow2").unwrap_err().message.contains(what), "{at}");
    }
    std::fs::write(&path, b"short").unwrap();
    assert!(check_header(&path, "qcow2").is_err());
    assert_eq!(check_header(&path, "raw").unwrap(), 5);
}

#[tokio::test]
async fn a_disk_is_made_kept_listed_and_removed() {
    if exec::which("qemu-img").is_none() {
        assert!(
            std::env::var_os("LENTICULAR_SKIP_QEMU").is_some(),
            "qemu-img is missing: tools/install qemu"
        );
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&[7; 1 << 20]);
    let (server, mut disk) = root(base.clone());
    assert!(disks.make(server, &disk).await.is_err(), "no base yet");
    assert_eq!(disks.list().await.unwrap(), []);
    disks.ensure_base(&base, &link).await.unwrap();
    disks.make(server, &disk).await.unwrap();
    assert_eq!(disks.list().await.unwrap(), [(server, disk.id, 1)]);
    let path = disks.path(server, disk.id);
    assert_eq!(
        check_header(&path, "qcow2").unwrap_err().message,
        "The image cannot be used: it has a backing file. Upload an image that needs no other file."
    );
    // A repetition changes nothing; a newer generation replaces the disk.
    let inode = |p: &Path| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(p).unwrap());
    let before = inode(&path);
    disks.make(server, &disk).await.unwrap();
    assert_eq!(inode(&path), before);
    disk.generation = 2;
    disks.make(server, &disk).await.unwrap();
    assert_eq!(disks.find(server, &disk).await.unwrap(), Some(2));
    disks.tidy().await.unwrap();
    assert!(names(&state.path().join("base")).contains(&format!("{}.raw", base.sha512)));
    disks.remove(server).await.unwrap();
    disks.remove(server).await.unwrap();
    assert!(names(&state.path().join("guests")).is_empty());
}

#[tokio::test]
async fn a_guests_disks_are_made_noted_and_removed_one_by_one() {
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&[7; 1 << 20]);
    disks.ensure_base(&base, &link).await.unwrap();
    let (server, root) = root(base);
    let id = |n: u8| DiskId::from_random([n; 16]);
    let blank = DiskSpec { id: id(11), bytes: 1 << 30, content: Content::Blank, ..root.clone() };
    let swap = DiskSpec { id: id(12), bytes: 64 << 20, content: Content::Swap, ..root.clone() };
    for disk in [&root, &blank, &swap] {
        disks.make(server, disk).await.unwrap();
    }
    let mut all = disks.list().await.unwrap();
    all.sort();
    let mut wanted = [(server, root.id, 1), (server, blank.id, 1), (server, swap.id, 1)];
    wanted.sort();
    assert_eq!(all, wanted);

    // The swap disk is a swap area over all of it, and the blank disk is empty.
    let dir = disks.guest_dir(server);
    let read = async |disk: &DiskSpec| {
        let (from, raw) = (disks.path(server, disk.id), state.path().join("raw"));
        let (from, to) = (from.to_str().unwrap(), raw.to_str().unwrap());
        let args = ["convert", "-f", "qcow2", "-O", "raw", from, to];
        exec::run(&exec::which("qemu-img").unwrap(), &args, IMG).await.unwrap();
        std::fs::read(raw).unwrap()
    };
    let content = read(&swap).await;
    assert_eq!((content.len() as u64, &content[4086..4096]), (swap.bytes, b"SWAPSPACE2".as_slice()));
    assert_eq!(content[1028..1032], (64_u32 * 256 - 1).to_le_bytes());
    let small = DiskSpec { bytes: 1 << 20, id: id(13), ..blank.clone() };
    disks.make(server, &small).await.unwrap();
    assert!(read(&small).await.iter().all(|byte| *byte == 0));

    // A missing disk is missed, though the others are there.
    std::fs::remove_file(disks.path(server, swap.id)).unwrap();
    assert_eq!(disks.find(server, &swap).await.unwrap(), None);
    assert_eq!(disks.find(server, &blank).await.unwrap(), Some(1));
    disks.remove(server).await.unwrap();
    assert!(!dir.exists());
}

#[tokio::test]
async fn a_rebuild_that_was_cut_off_between_file_and_note_is_finished_and_not_taken_back() {
    let state = tempfile::tempdir().unwrap();
    let disks = Qcow2Disks::new(state.path()).unwrap();
    let (link, base) = images(&[7; 1 << 20]);
    disks.ensure_base(&base, &link).await.unwrap();
    let (server, root) = root(base);
    disks.make(server, &root).await.unwrap();
    let next = DiskSpec { generation: 2, ..root.clone() };
    let dir = disks.path(server, root.id).parent().unwrap().to_owned();
    let inode = |name: &str| std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(dir.join(name)).unwrap());

    // The note of the new disk is there, and the file has its place already.
    let note = std::fs::read_to_string(dir.join("disk.json")).unwrap();
    std::fs::write(dir.join("new-disk.json"), note.replace("\"generation\":1", "\"generation\":2")).unwrap();
    let replaced = inode("root.qcow2");
    let back = DiskSpec { generation: 3, ..root.clone() };
    let refused = disks.relabel(server, &back).await.unwrap_err();
    assert_eq!(refused.message, "The older disk is no longer there.");
    disks.remake(server, std::slice::from_ref(&next), false).await.unwrap();
    assert_eq!((inode("root.qcow2"), disks.find(server, &next).await.unwrap()), (replaced, Some(2)));

    // A rebuild that was given up before leaves its new file; the older disk comes back without the file.
    std::fs::write(dir.join("new-root.qcow2"), b"half").unwrap();
    disks.relabel(server, &back).await.unwrap();
    let are_left = || names(&dir).iter().any(|name| name.starts_with("new-"));
    assert!(!are_left());
    let last = DiskSpec { generation: 4, ..root };
    disks.remake(server, std::slice::from_ref(&last), false).await.unwrap();
    assert_ne!(inode("root.qcow2"), replaced);
    assert_eq!((are_left(), disks.find(server, &last).await.unwrap()), (false, Some(4)));
}
