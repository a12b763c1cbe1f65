//! QEMU processes: found by what they were started with, held by a descriptor that no other process can take over.

use crate::held::Held;
use lenticular_model::ServerId;
use rustix::process::Signal;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
};

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
    held: Held,
}

impl Process {
    /// Holds the process whose pid file is this one; `None` if there is none.
    pub(super) fn hold(pid: u32, pid_file: &Path) -> io::Result<Option<Self>> {
        let Some(held) = Held::open(pid)? else { return Ok(None) };
        // Looked at after it was held: if its number went to another before, this is seen here.
        Ok(look(pid).filter(|(file, _)| file == pid_file).map(|(_, seen)| Self { seen, held }))
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
