//! Finding damage in an SQLite store before anything is written to it.

use super::CLEAN;
use crate::{
    error::Damage,
    format::{self, damaged, failed, first_gap, MetaLines, TABLES},
    sql::{self, from_sql, TAIL_ENTRIES},
    OpenError,
};
use rusqlite::{ffi::ErrorCode, params, Connection, OptionalExtension};

/// A file up to this size is always checked whole.
const SMALL_BYTES: u64 = 16 << 20;

/// A file up to this size is checked whole when its last owner did not close it.
const CHECKABLE_BYTES: u64 = 2 << 30;

/// Checks a store that is not new; `bytes` is the size of its file.
pub(super) fn check(store: &str, connection: &Connection, bytes: u64) -> Result<(), OpenError> {
    let fail = |error: rusqlite::Error| read_error(store, "checking it", &error);
    for table in TABLES {
        let known = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = $1";
        let count: i64 = connection.query_row(known, [table], |row| row.get(0)).map_err(fail)?;
        if count == 0 {
            return Err(damaged(store, Damage::MissingTable(table)));
        }
    }
    let lines = meta_lines(connection).map_err(fail)?;
    format::check(store, &lines)?;
    let is_clean = lines.get(CLEAN).is_some_and(|clean| clean == "1");
    let whole = bytes <= SMALL_BYTES || (!is_clean && bytes <= CHECKABLE_BYTES);
    if whole {
        check_pages(store, connection)?;
    }
    check_journal(store, connection, if whole { i64::MAX } else { TAIL_ENTRIES })?;
    if whole {
        check_references(store, connection)?;
    }
    Ok(())
}

fn check_pages(store: &str, connection: &Connection) -> Result<(), OpenError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(|error| read_error(store, "checking its pages", &error))?;
    if verdict == "ok" {
        return Ok(());
    }
    Err(damaged(store, Damage::Malformed(verdict)))
}

fn check_journal(store: &str, connection: &Connection, entries: i64) -> Result<(), OpenError> {
    let fail = |error: rusqlite::Error| read_error(store, "checking the journal", &error);
    let mut statement = connection.prepare(sql::JOURNAL_TAIL).map_err(fail)?;
    let seqs = statement.query_map([entries], |row| row.get::<_, i64>(0)).map_err(fail)?;
    let mut read_failure = None;
    let seqs = seqs.map_while(|seq| seq.map_err(|error| read_failure = Some(error)).ok());
    let gap = first_gap(seqs.map(from_sql));
    if let Some(error) = read_failure {
        return Err(fail(error));
    }
    gap.map_or(Ok(()), |missing| Err(damaged(store, Damage::JournalGap { missing })))
}

/// Nothing may be newer than the journal.
fn check_references(store: &str, connection: &Connection) -> Result<(), OpenError> {
    let fail = |error: rusqlite::Error| read_error(store, "checking the records", &error);
    let head: Option<i64> =
        connection.query_row("SELECT max(seq) FROM journal", [], |row| row.get(0)).map_err(fail)?;
    let head = head.unwrap_or(0);
    let record = "SELECT kind, id, seq FROM records WHERE seq > $1 ORDER BY seq DESC LIMIT 1";
    let record = connection.query_row(record, params![head], |row| {
        let (kind, id, seq) = (row.get(0)?, row.get(1)?, from_sql(row.get(2)?));
        Ok(Damage::RecordBeyondJournal { kind, id, seq, head: from_sql(head) })
    });
    let change = "SELECT seq FROM changes WHERE seq > $1 ORDER BY seq DESC LIMIT 1";
    let change = connection.query_row(change, params![head], |row| {
        Ok(Damage::ChangeBeyondJournal { seq: from_sql(row.get(0)?), head: from_sql(head) })
    });
    match record.optional().map_err(fail)?.or(change.optional().map_err(fail)?) {
        Some(damage) => Err(damaged(store, damage)),
        None => Ok(()),
    }
}

/// The lines of `meta`.
pub(super) fn meta_lines(connection: &Connection) -> rusqlite::Result<MetaLines> {
    let mut statement = connection.prepare("SELECT key, value FROM meta")?;
    let lines = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    lines.collect()
}

/// Names damage as damage, and everything else as a failure of what was being done.
pub(super) fn read_error(store: &str, doing: &'static str, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => damaged(store, Damage::NotADatabase),
        Some(ErrorCode::DatabaseCorrupt) => damaged(store, Damage::Malformed(error.to_string())),
        _ => failed(store, doing, super::explain(error)),
    }
}
