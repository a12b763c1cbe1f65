//! The search for damage in an SQLite store, before anything is written to the store.

use super::{
    CLEAN,
    rows::{self, Unreadable},
};
use crate::{
    OpenError,
    error::Damage,
    format::{self, Dense, MetaLines, TABLES, damaged, failed},
    sql::{self, TAIL_ENTRIES, from_sql},
};
use rusqlite::{Connection, OptionalExtension, ffi::ErrorCode};

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
    let sum = format::check(store, &lines)?.sum_column();
    let is_clean = lines.get(CLEAN).is_some_and(|clean| clean == "1");
    let whole = bytes <= SMALL_BYTES || (!is_clean && bytes <= CHECKABLE_BYTES);
    if whole {
        check_pages(store, connection)?;
    }
    named(store, "checking the journal", check_journal(connection, sum, whole))?;
    if whole {
        named(store, "checking the records", check_records(connection, sum))?;
        named(store, "checking the changes", check_changes(connection, sum))?;
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

/// Checks that journal entries are as they were written, without gaps: all of them, or those at the journal's end.
fn check_journal(connection: &Connection, sum: &str, whole: bool) -> Result<(), Unreadable> {
    let before = match whole {
        true => None,
        false => connection.query_row(sql::BEFORE_TAIL, [TAIL_ENTRIES], |row| row.get(0)).optional()?,
    };
    let mut statement = connection.prepare(&sql::journal_after(sum))?;
    let mut rows = statement.query([before.unwrap_or(i64::MIN)])?;
    let mut dense = Dense::default();
    while let Some(row) = rows.next()? {
        let entry = rows::entry(row, 0)?;
        entry.check()?;
        dense.take(from_sql(entry.seq))?;
    }
    Ok(())
}

/// Checks that every record is as it was written, and none is newer than the journal.
fn check_records(connection: &Connection, sum: &str) -> Result<(), Unreadable> {
    let head = head(connection)?;
    let mut statement = connection.prepare(&format!("SELECT kind, id, doc, seq, {sum} FROM records"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let image = rows::image(row, 0)?;
        image.check_record()?;
        if image.seq > head {
            let (kind, id, seq) = (row.get(0)?, row.get(1)?, from_sql(image.seq));
            return Err(Damage::RecordBeyondJournal { kind, id, seq, head: from_sql(head) }.into());
        }
    }
    Ok(())
}

/// Checks that every before-image is as it was written, and belongs to no entry beyond the journal.
fn check_changes(connection: &Connection, sum: &str) -> Result<(), Unreadable> {
    let head = head(connection)?;
    let mut statement = connection.prepare(&format!("SELECT kind, id, before, seq, {sum} FROM changes"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let image = rows::image(row, 0)?;
        image.check_change()?;
        if image.seq > head {
            let seq = from_sql(image.seq);
            return Err(Damage::ChangeBeyondJournal { seq, head: from_sql(head) }.into());
        }
    }
    Ok(())
}

fn head(connection: &Connection) -> rusqlite::Result<i64> {
    let head: Option<i64> = connection.query_row("SELECT max(seq) FROM journal", [], |row| row.get(0))?;
    Ok(head.unwrap_or(0))
}

fn named(store: &str, doing: &'static str, result: Result<(), Unreadable>) -> Result<(), OpenError> {
    result.map_err(|error| match error {
        Unreadable::Sqlite(error) => read_error(store, doing, &error),
        Unreadable::Damaged(damage) => damaged(store, damage),
    })
}

/// The lines of `meta`.
pub(super) fn meta_lines(connection: &Connection) -> rusqlite::Result<MetaLines> {
    let mut statement = connection.prepare("SELECT key, value FROM meta")?;
    let lines = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    lines.collect()
}

/// Reports damage as damage, and every other error as a failure of `doing`.
pub(super) fn read_error(store: &str, doing: &'static str, error: &rusqlite::Error) -> OpenError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => damaged(store, Damage::NotADatabase),
        Some(ErrorCode::DatabaseCorrupt) => damaged(store, Damage::Malformed(error.to_string())),
        _ => failed(store, doing, super::explain(error)),
    }
}
