//! The check `repository`: how old the snapshot of the repositories is that the host installs from.
//!
//! Only operators know how their hosts get such a snapshot. So the host's own configuration names a file or a program that
//! says it: one line with the snapshot's id, and perhaps its time (RFC 3339). Without a time, an id that begins with a date
//! has the time (`20261101T000000Z`).

use super::Verdict;
use crate::exec::{self, Limits};
use lenticular_model::{
    Timestamp,
    host::{evidence::Level, version::is_version},
};
use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long the file or the program may take: the agent's start waits for it.
const LIMITS: Limits = Limits { deadline: Duration::from_secs(5), memory_mb_and_cpu_s: None };
/// How much of a file is read, in bytes.
const FILE_BYTES_MAX: &str = "4096";
/// The most that a snapshot may be ahead of the host's clock, in seconds.
const AHEAD_S_MAX: i64 = 86_400;

/// Where the host's configuration says which snapshot it installs from.
#[derive(Debug, Clone)]
pub struct Repository {
    /// The file or the program that says it.
    pub source: SnapshotSource,
    /// An older snapshot is a warning, in days.
    pub warn_days: i64,
}

/// What says which snapshot a host installs from.
#[derive(Debug, Clone)]
pub enum SnapshotSource {
    /// A file.
    File(PathBuf),
    /// A program with its arguments.
    Command(Vec<String>),
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its id.
    pub(crate) id: String,
    at: Option<Timestamp>,
}

impl Repository {
    /// The snapshot.
    ///
    /// # Errors
    /// The file or the program does not say it; the text says why.
    pub(crate) async fn snapshot(&self) -> Result<Snapshot, String> {
        let said = match &self.source {
            // A program reads the file: it can be ended if its file system does not answer.
            SnapshotSource::File(path) => {
                let args = ["-c", FILE_BYTES_MAX, "--"].map(OsStr::new).into_iter().chain([path.as_os_str()]);
                exec::run(Path::new("head"), &args.collect::<Vec<_>>(), LIMITS).await
            }
            SnapshotSource::Command(command) => {
                let (program, args) = command.split_first().ok_or("no program is named")?;
                exec::run(Path::new(program), args, LIMITS).await
            }
        };
        let said = said.map_err(|error| error.to_string())?;
        parse(&said).ok_or_else(|| "its first line does not begin with a snapshot's id".to_owned())
    }

    /// The verdict about the snapshot, or about why it is not known.
    pub(crate) fn judge(&self, snapshot: &Result<Snapshot, String>, now: Timestamp) -> Verdict {
        match snapshot {
            Err(why) => Some((Level::Unknown, format!("the repository's snapshot is not known: {why}"))),
            Ok(snapshot) => judge(snapshot, self.warn_days, now),
        }
    }
}

fn parse(said: &str) -> Option<Snapshot> {
    let mut words = said.lines().next()?.split_whitespace();
    let id = words.next().filter(|id| is_version(id))?.to_owned();
    let said = words.next().and_then(Timestamp::parse);
    let of_id = || {
        let date = id.get(..8).filter(|date| date.bytes().all(|byte| byte.is_ascii_digit()))?;
        Timestamp::parse(&format!("{}-{}-{}T00:00:00Z", &date[..4], &date[4..6], &date[6..]))
    };
    Some(Snapshot { at: said.or_else(of_id), id })
}

fn judge(snapshot: &Snapshot, warn_days: i64, now: Timestamp) -> Verdict {
    let Snapshot { id, at } = snapshot;
    let Some(at) = at else {
        return Some((Level::Unknown, format!("snapshot {id} does not say of when it is")));
    };
    let old_s = now.since_ms(*at) / 1_000;
    if old_s < -AHEAD_S_MAX {
        return Some((Level::Unknown, format!("snapshot {id} is of the future: {}", at.iso())));
    }
    let days = old_s / 86_400;
    (days >= warn_days)
        .then(|| (Level::Warn, format!("snapshot {id} of the repositories is {days} days old")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_snapshot_says_its_age_or_is_unknown() {
        let now = at("2026-11-30T12:00:00Z");
        let judged = |said: &str| judge(&parse(said).unwrap(), 14, now);
        assert_eq!(judged("20261120T000000Z\n"), None);
        assert_eq!(judged("20261120T000000Z stable"), None);
        assert_eq!(judged("weekly-47 2026-11-20T03:00:00Z"), None);
        let (level, text) = judged("20261101T000000Z").unwrap();
        assert!(level == Level::Warn && text.contains("29 days old"), "{text}");
        assert_eq!(judged("weekly-47").unwrap().0, Level::Unknown);
        assert_eq!(judged("20270101").unwrap().0, Level::Unknown);
        assert_eq!(parse(" \n"), None);
        assert_eq!(parse("\u{1b}[1m2026"), None, "a terminal would obey it");
    }

    #[tokio::test]
    async fn a_file_or_a_program_says_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("snapshot");
        let of = |source| Repository { source, warn_days: 14 };
        let missing = of(SnapshotSource::File(path.clone())).snapshot().await.unwrap_err();
        assert!(missing.contains("No such file"), "{missing}");
        std::fs::write(&path, "20261101\n").unwrap();
        assert_eq!(of(SnapshotSource::File(path)).snapshot().await.unwrap().id, "20261101");
        let command = ["echo", "weekly-47"].map(str::to_owned).to_vec();
        assert_eq!(of(SnapshotSource::Command(command)).snapshot().await.unwrap().id, "weekly-47");
    }
}
