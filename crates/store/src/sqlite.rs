//! The embedded engine: one SQLite file in WAL mode, synced at every commit, with one owner at a time.
//!
//! Beside `store.db` are SQLite's own `store.db-wal` and `store.db-shm`, and `store.db.lock`. The owner holds the
//! lock on `store.db.lock`, which contains the owner's process id.

mod check;
mod lock;
mod open;
mod present;
mod reader;
mod rows;

use crate::{
    OpenError,
    engine::{Batch, Before, CommitError, Engine, Head, Reader, StoredRecord},
    error::Damage,
    format::{Meta, damaged, failed},
    sql::{self, from_sql, to_sql},
    sum,
};
use lenticular_model::{Durability, Incarnation, Kind, Timestamp};
use lock::Lock;
use present::Present;
use reader::SqliteReader;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, ffi::ErrorCode, params};
use std::{fmt, fs, path::Path, sync::Arc};

const INSERT_ENTRY: &str =
    "INSERT INTO journal (seq, at, actor, request_id, why, sum) VALUES ($1, $2, $3, $4, $5, $6)";
const INSERT_CHANGE: &str = "INSERT INTO changes (seq, kind, id, before, sum) VALUES ($1, $2, $3, $4, $5)";
/// The sum is the stored record's with another seq, or `$4` if there is no record: see `sum.rs`.
const INSERT_CHANGE_FROM_STORED: &str = "INSERT INTO changes (seq, kind, id, before, sum)
     SELECT $1, $2, $3, stored.doc,
         CASE WHEN stored.id IS NULL THEN $4 ELSE (stored.sum & 4294967295) | ($1 << 32) END
     FROM (SELECT 1 AS one) AS always LEFT JOIN records AS stored ON stored.kind = $2 AND stored.id = $3";
const UPSERT_RECORD: &str = "INSERT INTO records (kind, id, doc, seq, sum) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (kind, id) DO UPDATE SET doc = excluded.doc, seq = excluded.seq, sum = excluded.sum";
const DELETE_RECORD: &str = "DELETE FROM records WHERE kind = $1 AND id = $2";
const SET_META: &str = "INSERT INTO meta (key, value) VALUES ($1, $2)
     ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// Changes are in the order of their entries, so the oldest are the first rows of the table.
const TRIM_CHANGES: &str = "DELETE FROM changes
     WHERE rowid IN (SELECT rowid FROM changes ORDER BY rowid LIMIT 1000) AND seq <= $1";

/// Writes what the log holds into the database, and begins the log anew. The answer begins with 1 if a reader
/// prevents that.
const CHECKPOINT: &str = "PRAGMA wal_checkpoint(RESTART)";

/// The line of `meta` that is `1` after a clean close, until the next opening.
const CLEAN: &str = "clean";

/// The engine over one SQLite file.
pub struct Sqlite {
    store: String,
    connection: Option<Connection>,
    reader: Arc<SqliteReader>,
    meta: Meta,
    present: Present,
    /// Released when dropped.
    lock: Option<Lock>,
}

impl Sqlite {
    /// Opens the store in a file and owns it until dropped or closed. An absent or empty file becomes a new store;
    /// its folder must exist.
    ///
    /// Every opening checks the tables, `meta`, every record except the cold ones, and the last 10,000 journal
    /// entries. A whole check adds SQLite's `quick_check`, every journal entry, every record and every change. The
    /// file is checked whole if it is smaller than 16 MiB, or smaller than 2 GiB and not closed by its last owner.
    /// The whole check takes about a second for each 300 MiB, too long for the start of a larger file after a
    /// crash. A store of an older format is upgraded after the check.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing in the file is changed then.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let store = describe(path);
        let opened = open::open(&store, path)?;
        Ok(Self {
            store,
            connection: Some(opened.connection),
            reader: Arc::new(SqliteReader::new(path)),
            meta: opened.meta,
            present: opened.present,
            lock: Some(opened.lock),
        })
    }

    /// As [`Sqlite::open`], but an absent or empty file is refused. After a failed sync the kernel may take pages of
    /// the log for written that are not, so what the log holds is written anew, into the database.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing that was acknowledged is changed then.
    pub fn open_again(path: &Path) -> Result<Self, OpenError> {
        if !fs::metadata(path).is_ok_and(|metadata| metadata.len() > 0) {
            return Err(OpenError::Gone { store: describe(path) });
        }
        let opened = Self::open(path)?;
        let fail =
            |cause: &dyn fmt::Display| failed(&opened.store, "writing its log into the database", cause);
        let busy = opened.connection.as_ref().map(|c| c.query_row(CHECKPOINT, [], |row| row.get(0)));
        match busy.transpose().map_err(|error| fail(&explain(&error)))? {
            Some(0) => Ok(opened),
            _ => Err(fail(&"a reader keeps the log busy")),
        }
    }

    /// Runs `write` in a transaction and commits it.
    fn transaction<T>(
        &mut self,
        write: impl FnOnce(&rusqlite::Transaction<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, CommitError> {
        let Some(connection) = &mut self.connection else {
            return Err(CommitError::Failed("the store is closed".to_owned()));
        };
        self.present.check().map_err(CommitError::Failed)?;
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(not_written)?;
        let value = write(&transaction).map_err(not_written)?;
        transaction.commit().map_err(|error| match error.sqlite_error_code() {
            // After a failed sync the log may still be complete on the disk: a crash would bring the commit back.
            Some(ErrorCode::SystemIoFailure) => CommitError::Unknown(explain(&error)),
            _ => CommitError::Failed(explain(&error)),
        })?;
        // If a file was just removed, the commit is in a file without a name.
        self.present.check().map_err(CommitError::Unknown)?;
        Ok(value)
    }
}

fn describe(path: &Path) -> String {
    format!("SQLite store {}", path.display())
}

fn not_written(error: rusqlite::Error) -> CommitError {
    CommitError::Failed(explain(&error))
}

/// What happened and what to do.
fn explain(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "free space on the store's file system",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "end the other program that holds the file locked"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => "make the file and its folder writable",
        Some(ErrorCode::SystemIoFailure) => "look at the disk and the kernel's log",
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            "stop, keep the files, and restore a backup"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}

fn write(transaction: &rusqlite::Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert = transaction.prepare_cached(INSERT_ENTRY)?;
    for entry in &batch.entries {
        let cause = &entry.cause;
        let (seq, sum) = (to_sql(entry.seq), sum::of_entry(entry));
        insert.execute(params![seq, entry.at.0, cause.actor, cause.request_id, cause.why, sum])?;
    }
    let mut known = transaction.prepare_cached(INSERT_CHANGE)?;
    let mut stored = transaction.prepare_cached(INSERT_CHANGE_FROM_STORED)?;
    for change in &batch.changes {
        let (seq, kind) = (to_sql(change.seq), change.kind.name());
        match &change.before {
            Before::Known(before) => {
                let sum = sum::of_image(change.kind, &change.id, before.as_deref(), change.seq);
                known.execute(params![seq, kind, change.id, before, sum])?
            }
            Before::Stored => {
                let absent = sum::of_image(change.kind, &change.id, None, change.seq);
                stored.execute(params![seq, kind, change.id, absent])?
            }
        };
    }
    let mut upsert = transaction.prepare_cached(UPSERT_RECORD)?;
    let mut delete = transaction.prepare_cached(DELETE_RECORD)?;
    for ((kind, id), row) in &batch.records {
        match &row.doc {
            Some(doc) => {
                let sum = sum::of_image(*kind, id, Some(doc), row.seq);
                upsert.execute(params![kind.name(), id, doc, to_sql(row.seq), sum])?
            }
            None => delete.execute(params![kind.name(), id])?,
        };
    }
    Ok(())
}

impl Engine for Sqlite {
    fn describe(&self) -> String {
        self.store.clone()
    }

    fn load(
        &mut self,
        each: &mut dyn FnMut(StoredRecord<'_>) -> Result<(), OpenError>,
    ) -> Result<Head, OpenError> {
        let store = &self.store;
        let fail = |error: rusqlite::Error| check::read_error(store, "reading the records", &error);
        let Some(connection) = &self.connection else {
            return Err(failed(store, "reading the records", "it is closed"));
        };
        let head = connection.query_row(sql::HEAD, [], |row| Ok((row.get(0)?, row.get(1)?)));
        let (seq, at): (i64, i64) = head.optional().map_err(fail)?.unwrap_or((0, 0));
        let mut statement = connection.prepare(&sql::load()).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let image = rows::image(row, 0).map_err(fail)?;
            image.check_record().map_err(|damage| damaged(store, damage))?;
            let text = |column| row.get_ref(column).map_err(fail).map(|value| value.as_str());
            let (name, id, doc) = (text(0)?, text(1)?, text(2)?);
            let kind = name.ok().and_then(Kind::from_name);
            let Some(kind) = kind.filter(|kind| kind.durability() == Durability::Hot) else { continue };
            let unreadable = |id: &str, error: rusqlite::types::FromSqlError| {
                let (kind, id, why) = (kind.name(), id.to_owned(), error.to_string());
                damaged(store, Damage::Document { kind, id, why })
            };
            let id = id.map_err(|error| unreadable("with an unreadable id", error))?;
            let doc = doc.map_err(|error| unreadable(id, error))?;
            each(StoredRecord { kind, id, doc, seq: from_sql(image.seq) })?;
        }
        let Meta { incarnation, epoch, .. } = self.meta;
        Ok(Head { seq: from_sql(seq), at: Timestamp(at), incarnation, epoch })
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError> {
        self.transaction(|transaction| write(transaction, batch))
    }

    fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<(), CommitError> {
        self.transaction(|transaction| {
            transaction.execute(SET_META, params!["incarnation", incarnation.to_string()]).map(|_| ())
        })?;
        self.meta.incarnation = Some(incarnation);
        Ok(())
    }

    fn trim(&mut self, before: Timestamp, entries_max: usize) -> Result<usize, CommitError> {
        let entries_max = i64::try_from(entries_max).unwrap_or(i64::MAX);
        self.transaction(|transaction| {
            let last =
                transaction.query_row(sql::TRIM_UP_TO, params![entries_max, before.0], |row| row.get(0));
            let Some(last): Option<i64> = last.optional()? else { return Ok(0) };
            while transaction.prepare_cached(TRIM_CHANGES)?.execute(params![last])? > 0 {}
            transaction.execute("DELETE FROM journal WHERE seq <= $1", params![last])
        })
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.reader.clone()
    }

    fn release(&mut self) {
        // Files without a name stay open: an operator can still copy them.
        if self.present.check().is_ok() {
            self.connection = None;
        }
        self.lock = None;
    }

    fn close(&mut self) -> Result<(), CommitError> {
        if self.connection.is_none() {
            return Ok(());
        }
        self.transaction(|transaction| transaction.execute(SET_META, params![CLEAN, "1"]).map(|_| ()))?;
        if let Some(connection) = self.connection.take() {
            // Moving the log into the file helps an operator who copies the file; a reader under way prevents the
            // move.
            let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            connection.close().map_err(|(_, error)| not_written(error))?;
        }
        self.lock = None;
        Ok(())
    }
}
