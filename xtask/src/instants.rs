//! Where the monotonic clock is read: in the files listed here, each for its reason, and in tests and benchmarks.

use crate::{rules::Violation, source::Source, tree::File};

/// This file.
const HERE: &str = "xtask/src/instants.rs";

/// The files that read the clock, and what for. Nothing else may: time is handed in.
const READERS: &[(&str, &str)] = &[
    ("crates/agent/src/check/disk.rs", "the check measures how long a write takes"),
    ("crates/agent/src/daemon.rs", "a daemon that ends soon after its start is started again later"),
    ("crates/agent/src/driver/qemu/copy.rs", "the log says how long a guest's file systems stood"),
    ("crates/agent/src/driver/qemu/launch.rs", "a deadline for a disk that another process has locked"),
    ("crates/agent/src/driver/qemu/moves.rs", "deadlines for QEMU's part of a migration"),
    ("crates/agent/src/driver/qemu/nics.rs", "a deadline for a guest that gives an interface back"),
    ("crates/agent/src/driver/ovn_net/probe.rs", "pings measure how long an answer takes"),
    ("crates/agent/src/runtime/canary.rs", "the log says how long a step took"),
    ("crates/agent/src/runtime/mod.rs", "the pace of reports and of what is tried again"),
    ("crates/agent/src/runtime/work.rs", "the log says how long a step took"),
    ("crates/api/src/agent/session.rs", "the deadline of a long poll"),
    ("crates/api/src/router.rs", "metrics and log say how long a request took"),
    ("crates/api/src/serve/connections.rs", "connections that are idle for longest are closed first"),
    ("crates/cli/src/project.rs", "the deadline that a person gave"),
    ("crates/lenticular/src/clock.rs", "time enters here"),
    ("crates/lenticular/src/command/up.rs", "the log says how long the start took"),
    ("crates/lenticular/src/lab/mod.rs", "a deadline for other processes"),
    ("crates/lenticular/src/process.rs", "a deadline for another process's end"),
    ("crates/ovn/src/ovsdb/session.rs", "a server that is silent for too long is probed"),
    ("crates/ovn/src/sync.rs", "the pace of what is tried again"),
    ("crates/sim/src/main.rs", "the command says how long a wave took on this machine"),
    ("crates/store/src/store.rs", "metrics say how long a commit took"),
];

/// Files that read the clock without a place in the list, and places in the list of files that do not.
pub fn check(files: &[File]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut readers = Vec::new();
    for file in files.iter().filter(|file| may_not_by_itself(file)) {
        let source = Source::of(&file.text);
        let lines: Vec<usize> =
            source.lines().filter(|(_, line)| line.contains("Instant::now")).map(|(n, _)| n).collect();
        if lines.is_empty() {
            continue;
        }
        readers.push(file.path.as_str());
        if !READERS.iter().any(|(path, _)| *path == file.path) {
            let remedy = "hand the time in, or give the file and its reason a place in xtask/src/instants.rs";
            found.extend(lines.iter().map(|line| Violation::new(file, *line, "the clock is read", remedy)));
        }
    }
    if let Some(here) = files.iter().find(|file| file.path == HERE) {
        let stale = READERS.iter().filter(|(path, _)| !readers.contains(path));
        found.extend(stale.map(|(path, _)| {
            Violation::new(here, 1, format!("{path} does not read the clock"), "take it out of the list")
        }));
    }
    found
}

fn may_not_by_itself(file: &File) -> bool {
    let exempt = file.is_test() || file.is_under("benches") || file.is_under("examples");
    file.is_rust() && !exempt && file.path != HERE
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: &str = "//! A file.\nlet began = Instant::now();\n";

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&[File::new(path, text)]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_clock_is_read_in_listed_files_alone() {
        let said = found("crates/api/src/a.rs", READS);
        assert!(
            said.len() == 1 && said[0].starts_with("crates/api/src/a.rs:2: the clock is read"),
            "{said:?}"
        );
        for path in [READERS[0].0, "crates/api/tests/a.rs", "benches/src/a.rs", "crates/store/examples/a.rs"]
        {
            assert_eq!(found(path, READS), Vec::<String>::new());
        }
        assert_eq!(
            found("crates/api/src/a.rs", "//! A file.\n// Not Instant::now here.\n"),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_listed_file_that_reads_no_clock_is_told() {
        let said = found(HERE, "//! The list.\n");
        assert_eq!(said.len(), READERS.len());
        let files = [File::new(HERE, "//! The list.\n"), File::new(READERS[0].0, READS)];
        assert_eq!(check(&files).len(), READERS.len() - 1);
    }
}
