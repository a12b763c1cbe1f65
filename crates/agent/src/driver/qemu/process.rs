//! QEMU processes: found by their command line, and held by a descriptor, so that a reused process id cannot be
//! mistaken.

use super::{PID, args::layout_of};
use crate::{driver::guest_user, held::Held};
use lenticular_model::ServerId;
use rustix::{
    fs::{Mode, OFlags},
    process::Signal,
};
use std::{
    collections::HashMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

/// A process's own data: process id, name and start time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    /// The value of `-name`.
    pub(super) name: String,
    /// The layout of its machine, as its devices tell.
    pub(super) layout: u32,
    /// Clock ticks since the host's boot: with the process id, unique for this boot of the host.
    pub(super) start_time: u64,
}

/// A process that was checked while it was held.
pub(super) struct Process {
    pub(super) seen: Seen,
    held: Held,
}

impl Process {
    /// Holds the process of this id, if it is the QEMU of this directory's guest.
    pub(super) fn hold(pid: u32, dir: &Path) -> io::Result<Option<Self>> {
        let Some(held) = Held::open(pid)? else { return Ok(None) };
        // The check comes after the hold: if another process got the id before, the check sees it.
        Ok(look(pid).filter(|(of, _)| of == dir).map(|(_, seen)| Self { seen, held }))
    }

    /// Returns when the process has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.held.ended().await
    }

    /// Ends it at once.
    pub(super) fn kill(&self) -> io::Result<()> {
        self.held.signal(Signal::KILL)
    }
}

/// All QEMU processes of the guests of `guests/<server>`.
pub(super) fn scan(guests: &Path) -> io::Result<HashMap<ServerId, u32>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some((dir, _)) = look(pid) else { continue };
        let server = dir.strip_prefix(guests).ok().and_then(|rest| rest.to_str()?.parse::<ServerId>().ok());
        if let Some(server) = server {
            found.insert(server, pid);
        }
    }
    Ok(found)
}

/// The process id in a guest's pid file. Code that broke out of the guest may have replaced the file.
pub(super) fn noted(pid_file: &Path) -> Option<u32> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(pid_file, flags, Mode::empty()).ok()?);
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// The guest's directory and the data of a QEMU process; `None` if the process is no guest's QEMU.
fn look(pid: u32) -> Option<(PathBuf, Seen)> {
    let proc = PathBuf::from(format!("/proc/{pid}"));
    let cmdline = std::fs::read(proc.join("cmdline")).ok()?;
    let args: Vec<&str> =
        cmdline.split(|byte| *byte == 0).filter_map(|arg| std::str::from_utf8(arg).ok()).collect();
    let after = |option: &str| args.iter().skip_while(|arg| **arg != option).nth(1).copied();
    let (pid_file, name) = (after("-pidfile")?, after("-name")?);
    let dir = match pid_file {
        PID => std::fs::read_link(proc.join("cwd")).ok()?,
        // The form of an older agent.
        absolute => Path::new(absolute).parent()?.to_owned(),
    };
    // Code that broke out of another guest may take any process name, but has another user.
    let status = std::fs::read_to_string(proc.join("status")).ok()?;
    if !guest_user::is_of(&dir, user(&status)?) {
        return None;
    }
    let stat = std::fs::read_to_string(proc.join("stat")).ok()?;
    let seen = Seen { pid, name: name.to_owned(), layout: layout_of(&args), start_time: start_time(&stat)? };
    Some((dir, seen))
}

/// The effective user in `/proc/<pid>/status`.
fn user(status: &str) -> Option<u32> {
    status.lines().find_map(|line| line.strip_prefix("Uid:"))?.split_whitespace().nth(1)?.parse().ok()
}

/// Field 22 of `/proc/<pid>/stat`; the second field is the program's name and may hold anything.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_are_read_past_odd_names() {
        let fields: Vec<String> = (3..30).map(|n| n.to_string()).collect();
        assert_eq!(start_time(&format!("1 (a ) b) {}", fields.join(" "))), Some(22));
    }

    #[test]
    fn a_pid_file_is_read_only_if_it_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("pid"), "42\n").unwrap();
        std::os::unix::fs::symlink(at("pid"), at("link")).unwrap();
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert_eq!(
            ["pid", "link", "fifo", "none"].map(|name| noted(&at(name))),
            [Some(42), None, None, None]
        );
    }

    #[test]
    fn the_user_of_a_process_is_the_one_that_counts() {
        assert_eq!(user("Name:\tqemu\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n"), Some(2));
        assert_eq!(user("Name:\tqemu\n"), None);
    }

    #[test]
    fn this_process_is_no_guest() {
        assert!(look(std::process::id()).is_none());
        assert!(scan(Path::new("/nowhere/guests")).unwrap().is_empty());
    }
}
