//! QEMU processes: found by what they were started with, held by a descriptor that no other process can take over.

use lenticular_model::ServerId;
use rustix::process::{pidfd_open, pidfd_send_signal, Pid, PidfdFlags, Signal};
use std::{
    collections::HashMap,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};
use tokio::io::{unix::AsyncFd, Interest};

/// What a process says of itself: number, name given to it, and when it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: u32,
    /// What `-name` said.
    pub(super) name: String,
    /// Clock ticks since the host's boot: with the number, unique for this boot of the host.
    pub(super) start_time: u64,
}

/// A process that was held while it was known to be the right one.
pub(super) struct Process {
    pub(super) seen: Seen,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Holds the process whose pid file is this one; `None` if there is none.
    pub(super) fn hold(pid: u32, pid_file: &Path) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        let fd = match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        // Looked at after it was held: if its number went to another before, this is seen here.
        match look(pid).filter(|(file, _)| file == pid_file) {
            Some((_, seen)) => Ok(Some(Self { seen, fd: register(fd)? })),
            None => Ok(None),
        }
    }

    /// Returns when the process has ended.
    pub(super) async fn ended(&self) -> io::Result<()> {
        self.fd.readable().await.map(drop)
    }

    /// Ends it at once.
    pub(super) fn kill(&self) -> io::Result<()> {
        match pidfd_send_signal(self.fd.get_ref(), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Its successor is `unsafe`, which this workspace forbids, and asks the caller to see to it that the descriptor stays
/// the same and open: an `OwnedFd` that is moved in does.
#[allow(deprecated, reason = "the successor is unsafe, and what it asks for holds by the type")]
fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(fd, Interest::READABLE)
}

/// All QEMU processes whose pid file lies in `guests/<server>/`.
pub(super) fn scan(guests: &Path) -> io::Result<HashMap<ServerId, u32>> {
    let mut found = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Some((pid_file, _)) = look(pid) else { continue };
        let server = pid_file
            .strip_prefix(guests)
            .ok()
            .and_then(|rest| rest.parent()?.to_str()?.parse::<ServerId>().ok());
        if let Some(server) = server {
            found.insert(server, pid);
        }
    }
    Ok(found)
}

/// A process's pid file and what else it says; `None` if it is no guest's QEMU.
fn look(pid: u32) -> Option<(PathBuf, Seen)> {
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let args: Vec<&str> =
        cmdline.split(|byte| *byte == 0).filter_map(|arg| std::str::from_utf8(arg).ok()).collect();
    let after = |option: &str| args.iter().skip_while(|arg| **arg != option).nth(1).copied();
    let (pid_file, name) = (after("-pidfile")?, after("-name")?);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let seen = Seen { pid, name: name.to_owned(), start_time: start_time(&stat)? };
    Some((PathBuf::from(pid_file), seen))
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
    fn this_process_is_no_guest() {
        assert!(look(std::process::id()).is_none());
        assert!(scan(Path::new("/nowhere/guests")).unwrap().is_empty());
    }
}
