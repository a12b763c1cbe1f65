//! Reads from an SQLite store on separate connections, so that neither the writer nor another reader waits.

use super::{
    open::BUSY_TIMEOUT,
    rows::{self, Unreadable},
};
use crate::{
    document_range::DocumentRange,
    engine::{HISTORY_ENTRIES_MAX, HistoryEntry, JournalEntry, Page, ReadError, Reader, resolve_record_at},
    format::beside,
    sql::{self, from_sql},
};
use lenticular_model::{Cause, Kind, Lock, Timestamp};
use rusqlite::{Connection, OpenFlags, Row, params};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// Connections that are kept open while idle.
const IDLE_MAX: usize = 4;

pub(super) struct SqliteReader {
    path: PathBuf,
    idle: Lock<Vec<Connection>>,
}

impl SqliteReader {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Lock::default() }
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Unreadable>) -> Result<T, ReadError> {
        let idle = || self.idle.lock();
        let kept = idle().pop();
        let connection = kept.map_or_else(|| self.connect(), Ok).map_err(Unreadable::from);
        let result = connection.and_then(|connection| {
            let value = read(&connection)?;
            let mut idle = idle();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
            Ok(value)
        });
        result.map_err(|error| match error {
            Unreadable::Sqlite(error) => self.failed(super::explain(&error)),
            Unreadable::Damaged(damage) => ReadError::Damaged { store: self.describe(), damage },
        })
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        // Even a reader of a WAL database writes to its shared-memory file.
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA trusted_schema = OFF;")?;
        Ok(connection)
    }

    fn failed(&self, why: impl std::fmt::Display) -> ReadError {
        ReadError::Failed(format!("{}: {why}", self.describe()))
    }

    fn describe(&self) -> String {
        format!("SQLite store {}", self.path.display())
    }
}

/// The id and the document of a record whose columns begin at `first`.
fn record(row: &Row<'_>, first: usize) -> Result<(String, String), Unreadable> {
    rows::image(row, first)?.check_record()?;
    Ok((row.get(first + 1)?, row.get(first + 2)?))
}

/// An entry of the journal whose columns begin at `first`.
fn entry(row: &Row<'_>, first: usize) -> Result<JournalEntry, Unreadable> {
    rows::entry(row, first)?.check()?;
    let text = |column: usize| row.get(first + column);
    Ok(JournalEntry {
        seq: from_sql(row.get(first)?),
        at: Timestamp(row.get(first + 1)?),
        cause: Cause { actor: text(2)?, request_id: text(3)?, why: text(4)? },
    })
}

/// An entry of the journal whose columns begin at `first`, and the before-image in the columns after it.
fn change(row: &Row<'_>, first: usize) -> Result<(JournalEntry, Option<String>), Unreadable> {
    let image = rows::image(row, first + 6)?;
    image.check_change()?;
    if !rows::is_there(row, first)? {
        return Err(image.without_entry().into());
    }
    Ok((entry(row, first)?, row.get(first + 8)?))
}

impl Reader for SqliteReader {
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::GET)?;
            let mut found = statement.query_and_then(params![kind.name(), id], |row| record(row, 0))?;
            Ok(found.next().transpose()?.map(|(_, doc)| doc))
        })
    }

    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError> {
        let range = DocumentRange::of(page);
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql::list(range.high.is_some(), page.reverse))?;
            let row = |row: &Row<'_>| record(row, 0);
            let kind = page.kind.name();
            match &range.high {
                Some(high) => statement
                    .query_and_then(params![kind, range.low, range.skip, high, limit], row)?
                    .collect(),
                None => statement.query_and_then(params![kind, range.low, range.skip, limit], row)?.collect(),
            }
        })
    }

    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError> {
        let limit = i64::try_from(HISTORY_ENTRIES_MAX).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::HISTORY)?;
            let entries = statement.query_and_then(params![kind.name(), id, limit], |row| {
                let (JournalEntry { seq, at, cause }, before) = change(row, 0)?;
                Ok(HistoryEntry { seq, at, cause, before })
            })?;
            let mut entries = entries.collect::<Result<Vec<_>, Unreadable>>()?;
            entries.reverse();
            Ok(entries)
        })
    }

    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError> {
        let (oldest, later, present) = self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::RECORD_AT)?;
            let mut rows = statement.query(params![kind.name(), id, at.0])?;
            let Some(row) = rows.next()? else { return Ok((None, None, None)) };
            let oldest = rows::is_there(row, 0)?.then(|| entry(row, 0)).transpose()?;
            let oldest = oldest.map(|entry| (entry.seq, entry.at));
            if rows::is_there(row, 20)? {
                let (_, before) = change(row, 11)?;
                return Ok((oldest, Some(before), None));
            }
            let present = rows::is_there(row, 9)?.then(|| record(row, 6)).transpose()?;
            Ok((oldest, None, present.map(|(_, doc)| doc)))
        })?;
        resolve_record_at(at, oldest, later, present)
    }

    fn backup(&self, to: &Path) -> Result<(), ReadError> {
        let fail = |what: &str, error: &dyn std::fmt::Display| {
            self.failed(format!("the backup to {} was not made: {what}: {error}", to.display()))
        };
        if to.exists() {
            return Err(fail("a file of that name is there", &"choose another name, or move it away"));
        }
        let partial = beside(to, ".partial");
        let text = partial.to_str().ok_or_else(|| fail("its name", &"is not UTF-8"))?;
        // An existing empty file gives the copy its mode: the store holds secrets.
        let mut options = OpenOptions::new();
        let made = options.create(true).write(true).truncate(true).mode(0o600).open(&partial);
        made.map_err(|error| fail("making the file", &error))?;
        let connection = self.connect().map_err(|error| fail("reading the store", &error))?;
        // The copy is written to another file, which `query_only` forbids.
        let copied = connection
            .execute_batch("PRAGMA query_only = OFF")
            .and_then(|()| connection.execute("VACUUM INTO $1", [text]));
        copied.map_err(|error| fail("copying", &super::explain(&error)))?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let synced = File::open(&partial)
            .and_then(|file| file.sync_all())
            .and_then(|()| fs::rename(&partial, to))
            .and_then(|()| File::open(folder)?.sync_all());
        synced.map_err(|error| fail("syncing", &error))
    }
}
