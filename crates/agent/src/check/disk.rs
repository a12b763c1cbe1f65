//! The check `disk`: whether guests' disks can be written, how long a write takes to be durable, and the space left.

use super::Verdict;
use lenticular_model::host::evidence::Level;
use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::task::JoinHandle;

/// A durable write that takes longer fails the check: guests wait as long.
const SYNC_FAILS: Duration = Duration::from_secs(5);
/// A durable write that takes longer is a warning.
const SYNC_WARNS: Duration = Duration::from_secs(1);
/// Less space left in percent is a warning.
const LEFT_WARNS_PERCENT: u64 = 5;

/// The check of one directory. A write that hangs is waited for and not repeated, so that it holds one thread.
pub(super) struct Disk {
    folder: PathBuf,
    write: Option<JoinHandle<io::Result<(Duration, u64)>>>,
}

impl Disk {
    pub(super) fn new(state_dir: &Path) -> Self {
        Self { folder: state_dir.to_owned(), write: None }
    }

    /// Writes a small file to the state directory.
    pub(super) async fn run(&mut self) -> Verdict {
        let folder = self.folder.clone();
        let shown = self.folder.display().to_string();
        let write = self.write.get_or_insert_with(|| tokio::task::spawn_blocking(move || written(folder)));
        let fails = |why: String| Some((Level::Fail, format!("{why}. Look at the disk of {shown}.")));
        let Ok(ended) = tokio::time::timeout(SYNC_FAILS, write).await else {
            return fails(format!("a write of 4 KiB was not durable after {} s", SYNC_FAILS.as_secs()));
        };
        self.write = None;
        match ended {
            Err(error) => fails(format!("a write could not be tried: {error}")),
            Ok(Err(error)) => fails(format!("a write of 4 KiB failed: {error}")),
            Ok(Ok((took, left))) => judge(took, left, &shown),
        }
    }
}

fn written(folder: PathBuf) -> io::Result<(Duration, u64)> {
    let path = folder.join("check-disk");
    let begun = Instant::now();
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&[0; 4096])?;
    file.sync_all()?;
    let took = begun.elapsed();
    match std::fs::remove_file(&path) {
        // A check that an operator ordered runs beside the regular one.
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let space = rustix::fs::statvfs(&folder)?;
    Ok((took, space.f_bavail * 100 / space.f_blocks.max(1)))
}

fn judge(took: Duration, left_percent: u64, shown: &str) -> Verdict {
    if took > SYNC_FAILS {
        return Some((
            Level::Fail,
            format!("a write of 4 KiB took {} s to be durable in {shown}", took.as_secs()),
        ));
    }
    if took > SYNC_WARNS {
        return Some((
            Level::Warn,
            format!("a write of 4 KiB took {} ms to be durable in {shown}", took.as_millis()),
        ));
    }
    (left_percent < LEFT_WARNS_PERCENT)
        .then(|| (Level::Warn, format!("{left_percent} % of the disk of {shown} is free")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_is_written_or_the_check_fails() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Disk::new(folder.path()).run().await.is_none_or(|(level, _)| level == Level::Warn));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
        let (level, text) = Disk::new(&folder.path().join("gone")).run().await.unwrap();
        assert!(level == Level::Fail && text.contains("failed"), "{text}");
    }

    #[test]
    fn a_slow_or_full_disk_is_a_warning() {
        assert_eq!(judge(Duration::from_millis(20), 50, "/"), None);
        assert_eq!(judge(Duration::from_secs(90), 50, "/").unwrap().0, Level::Fail);
        assert!(judge(Duration::from_millis(1_500), 50, "/").unwrap().1.contains("1500 ms"));
        assert!(judge(Duration::from_millis(20), 4, "/").unwrap().1.contains("4 %"));
    }
}
