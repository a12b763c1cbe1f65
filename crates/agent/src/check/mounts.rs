//! The check `mounts`: whether what `/etc/fstab` names is mounted, can be written, and has space.

use super::Verdict;
use lenticular_model::host::evidence::Level;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a look at the mounts may take: one of a server that does not answer hangs.
const LOOK_MAX: Duration = Duration::from_secs(10);
/// Less space or fewer files left in percent is a warning.
const LEFT_WARNS_PERCENT: u128 = 5;

/// The check. A look that hangs is waited for and not repeated, so that it holds one thread.
#[derive(Default)]
pub(super) struct Mounts {
    look: Option<JoinHandle<Verdict>>,
}

impl Mounts {
    pub(super) async fn run(&mut self) -> Verdict {
        let look = self.look.get_or_insert_with(|| tokio::task::spawn_blocking(look));
        let Ok(ended) = tokio::time::timeout(LOOK_MAX, look).await else {
            let why = format!("a mounted file system does not answer within {} s", LOOK_MAX.as_secs());
            return Some((Level::Fail, why));
        };
        self.look = None;
        ended.unwrap_or_else(|error| Some((Level::Unknown, error.to_string())))
    }
}

fn look() -> Verdict {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let wanted = wanted(&read("/etc/fstab"));
    judge(&wanted, &mounted(&read("/proc/self/mounts"))).or_else(|| {
        let full = wanted.iter().filter(|mount| !mount.read_only).find_map(|mount| {
            let space = rustix::fs::statvfs(&mount.at).ok()?;
            let left =
                |free: u64, all: u64| (u128::from(free) * 100).checked_div(u128::from(all)).unwrap_or(100);
            let (blocks, files) = (left(space.f_bavail, space.f_blocks), left(space.f_favail, space.f_files));
            (blocks.min(files) < LEFT_WARNS_PERCENT)
                .then(|| format!("{} has {blocks} % of its space and {files} % of its files left", mount.at))
        });
        full.map(|why| (Level::Warn, why))
    })
}

/// A line of `/etc/fstab` that the boot mounts (fstab(5)).
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    at: String,
    read_only: bool,
    /// True if the boot goes on without it.
    may_fail: bool,
}

fn wanted(fstab: &str) -> Vec<Wanted> {
    let lines = fstab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let mounts = lines.filter_map(|line| {
        let mut words = line.split_whitespace();
        let (at, kind, options) = (words.nth(1)?, words.next()?, words.next().unwrap_or("defaults"));
        let has = |option: &str| options.split(',').any(|one| one == option);
        let counts = at.starts_with('/') && kind != "swap" && !has("noauto") && !has("x-systemd.automount");
        let at = if at == "/" { at } else { at.trim_end_matches('/') };
        counts.then(|| Wanted { at: plain(at), read_only: has("ro"), may_fail: has("nofail") })
    });
    mounts.collect()
}

/// Where file systems are mounted, each with whether it can be written. The last one at a place counts.
fn mounted(mounts: &str) -> Vec<(String, bool)> {
    let lines = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (at, options) = (words.nth(1)?, words.nth(1)?);
        Some((plain(at), options.split(',').next() == Some("rw")))
    });
    lines.collect()
}

/// A path without the escapes of blanks.
fn plain(path: &str) -> String {
    path.replace("\\040", " ").replace("\\011", "\t")
}

fn judge(wanted: &[Wanted], mounted: &[(String, bool)]) -> Verdict {
    let troubles = wanted.iter().filter_map(|Wanted { at, read_only, may_fail }| {
        match mounted.iter().rev().find(|(place, _)| place == at) {
            None if *may_fail => Some((Level::Warn, format!("{at} is not mounted"))),
            None => Some((Level::Fail, format!("{at} is not mounted, though /etc/fstab names it"))),
            Some((_, false)) if !read_only => Some((
                Level::Fail,
                format!("{at} is mounted read-only. Look for errors of its disk in the kernel's log."),
            )),
            Some(_) => None,
        }
    });
    // A failure is told before a warning.
    troubles.min_by_key(|(level, _)| *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FSTAB: &str = "# <file system> <mount point>\nUUID=1 / ext4 errors=remount-ro 0 1\nUUID=2 none swap sw 0 0\n\
        UUID=3 /srv/my\\040data/ xfs defaults 0 2\nnas:/iso /iso nfs ro,nofail 0 0\n/dev/sr0 /cdrom iso9660 noauto 0 0\n";

    #[test]
    fn what_fstab_names_must_be_mounted_and_writable() {
        let wanted = wanted(FSTAB);
        assert_eq!(
            wanted.iter().map(|mount| mount.at.as_str()).collect::<Vec<_>>(),
            ["/", "/srv/my data", "/iso"]
        );
        let mounts = |root: &str| {
            mounted(&format!("/dev/sda1 / ext4 {root},relatime 0 0\n/dev/sdb /srv/my\\040data xfs rw 0 0\n"))
        };
        let (level, text) = judge(&wanted, &mounts("rw")).unwrap();
        assert!(level == Level::Warn && text == "/iso is not mounted", "{text}");
        let (level, text) = judge(&wanted, &mounts("ro")).unwrap();
        assert!(level == Level::Fail && text.starts_with("/ is mounted read-only"), "{text}");
        let (level, text) = judge(&wanted, &mounted("/dev/sda1 / ext4 rw 0 0\n")).unwrap();
        assert!(level == Level::Fail && text.starts_with("/srv/my data is not mounted, though"), "{text}");
    }

    #[tokio::test]
    async fn this_machine_is_looked_at() {
        let verdict = Mounts::default().run().await;
        assert!(verdict.as_ref().is_none_or(|(_, text)| text.contains('/')), "{verdict:?}");
    }
}
