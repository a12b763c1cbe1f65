//! What happened to a server: `lenticular server journal`.

use crate::table::{Screen, Table, always, dropped};
use anyhow::Result;
use clap::Args;
use lenticular_wire::operator::{Change, JournalLine};
use std::io::Write;

/// Longer values are cut in the table, in characters; JSON has the whole value.
const VALUE_MAX: usize = 200;

/// The same for an old value.
const OLD_VALUE_MAX: usize = 40;

/// The server of the journal.
#[derive(Debug, Clone, Args)]
pub struct JournalArgs {
    /// Its id, or its name if no other has it.
    pub server: String,
    /// Also shows commits without a change that operators ask about, such as steps of a disk.
    #[arg(long)]
    pub all: bool,
    /// Prints JSON, for scripts: everything, with the id of each request.
    #[arg(long)]
    pub json: bool,
}

/// Prints the changes of each commit.
pub fn show<W: Write>(lines: &[JournalLine], all: bool, screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[
        dropped(2, "commit"),
        always("at"),
        always("by"),
        always("what for"),
        always("what changed"),
        dropped(3, "request"),
    ]);
    let shown: Vec<&JournalLine> = lines.iter().filter(|line| all || !line.changes.is_empty()).collect();
    for line in &shown {
        let changes: Vec<String> = line.changes.iter().map(text).collect();
        table.row([
            &line.seq.to_string(),
            &line.at,
            &line.by,
            &line.why,
            &changes.join("; "),
            &line.request_id,
        ]);
    }
    table.print(screen)?;
    match lines.len() - shown.len() {
        0 => Ok(()),
        hidden => screen.line(&format!(
            "Commits left out because they changed nothing of this: {hidden} (--all shows them)."
        )),
    }
}

/// `status BUILD → ACTIVE`; a value without an earlier one is only named.
fn text(change: &Change) -> String {
    let to = change.to.as_deref().map_or("none".to_owned(), |to| cut(to, VALUE_MAX));
    match &change.from {
        Some(from) => format!("{} {} → {to}", change.what, cut(from, OLD_VALUE_MAX)),
        None => format!("{} {to}", change.what),
    }
}

fn cut(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, by: &str, why: &str, changes: &[(&str, Option<&str>, Option<&str>)]) -> JournalLine {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let change = |(what, from, to): &(&str, Option<&str>, Option<&str>)| Change {
            what: (*what).to_owned(),
            from: owned(*from),
            to: owned(*to),
        };
        JournalLine {
            seq,
            at: "2026-11-30T10:02:11Z".to_owned(),
            actor: "4f0a9c2de1b84c57a3d86f0e2b7c9a15".to_owned(),
            by: by.to_owned(),
            request_id: "req-4f0a9c2d-e1b8-4c57-a3d8-6f0e2b7c9a15".to_owned(),
            why: why.to_owned(),
            changes: changes.iter().map(change).collect(),
        }
    }

    fn lines() -> Vec<JournalLine> {
        let new = [
            ("status", None, Some("BUILD")),
            ("host", None, Some("rack-1-host-07")),
            ("flavor", None, Some("m1.small")),
            ("image", None, Some("debian-12")),
            ("addresses", None, Some("10.0.0.17")),
        ];
        let active = [
            ("status", Some("BUILD"), Some("ACTIVE")),
            ("task", Some("create"), None),
            ("guest", Some("off"), Some("running")),
        ];
        let moved = [
            ("host", Some("rack-1-host-07"), Some("rack-2-host-11")),
            ("moving to", Some("rack-2-host-11"), None),
        ];
        let fault = "500: The guest died: qemu-system-x86_64 was killed by signal 9, which is what the kernel does when memory \
                     is short. Start the server again.";
        vec![
            line(412, "alice", "server create", &new),
            line(413, "host rack-1-host-07", "host report", &[]),
            line(415, "host rack-1-host-07", "host report", &active),
            line(97_133, "host rack-2-host-11", "host report", &moved),
            line(97_140, "host rack-2-host-11", "host report", &[("fault", None, Some(fault))]),
            line(97_151, "alice", "server start", &[("fault", Some(fault), None)]),
        ]
    }

    #[test]
    fn the_journal_says_what_changed() {
        insta::assert_snapshot!(Screen::printed(|screen| show(&lines(), false, screen)));
    }

    #[test]
    fn all_shows_commits_that_changed_nothing_of_interest() {
        insta::assert_snapshot!(Screen::printed(|screen| show(&lines(), true, screen)));
    }
}
