//! Reads from an SQLite store on connections of their own, so that neither the writer nor another reader waits.

use super::open::BUSY_TIMEOUT;
use crate::{
    document_range::DocumentRange,
    engine::{resolve_record_at, HistoryEntry, Page, ReadError, Reader, HISTORY_ENTRIES_MAX},
    format::beside,
    sql::{self, from_sql},
};
use lenticular_model::{Cause, Kind, Timestamp};
use rusqlite::{params, Connection, OpenFlags, OptionalExtension};
use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// Connections that are kept open while idle.
const IDLE_MAX: usize = 4;

pub(super) struct SqliteReader {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
}

impl SqliteReader {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default() }
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, ReadError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = idle().pop();
        let result = kept.map_or_else(|| self.connect(), Ok).and_then(|connection| {
            let value = read(&connection)?;
            let mut idle = idle();
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
            Ok(value)
        });
        result.map_err(|error| self.failed(super::explain(&error)))
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
        ReadError::Failed(format!("SQLite store {}: {why}", self.path.display()))
    }
}

impl Reader for SqliteReader {
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::GET)?;
            statement.query_row(params![kind.name(), id], |row| row.get(0)).optional()
        })
    }

    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError> {
        let range = DocumentRange::of(page);
        let limit = i64::try_from(range.limit).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(&sql::list(range.high.is_some(), page.reverse))?;
            let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            let kind = page.kind.name();
            match &range.high {
                Some(high) => {
                    statement.query_map(params![kind, range.low, range.skip, high, limit], row)?.collect()
                }
                None => statement.query_map(params![kind, range.low, range.skip, limit], row)?.collect(),
            }
        })
    }

    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError> {
        let limit = i64::try_from(HISTORY_ENTRIES_MAX).unwrap_or(i64::MAX);
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::HISTORY)?;
            let entries = statement.query_map(params![kind.name(), id, limit], |row| {
                Ok(HistoryEntry {
                    seq: from_sql(row.get(0)?),
                    at: Timestamp(row.get(1)?),
                    cause: Cause { actor: row.get(2)?, request_id: row.get(3)?, why: row.get(4)? },
                    before: row.get(5)?,
                })
            })?;
            let mut entries = entries.collect::<rusqlite::Result<Vec<_>>>()?;
            entries.reverse();
            Ok(entries)
        })
    }

    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError> {
        let (first_entry, later, present) = self.read(|connection| {
            let mut statement = connection.prepare_cached(sql::RECORD_AT)?;
            statement.query_row(params![kind.name(), id, at.0], |row| {
                let (seq, begins): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
                let (later_seq, before): (Option<i64>, Option<String>) = (row.get(2)?, row.get(3)?);
                let first_entry = seq.zip(begins).map(|(seq, begins)| (from_sql(seq), Timestamp(begins)));
                Ok((first_entry, later_seq.map(|_| before), row.get(4)?))
            })
        })?;
        resolve_record_at(at, first_entry, later, present)
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
        // A file that is there and empty gives the copy its mode: the store holds secrets.
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
