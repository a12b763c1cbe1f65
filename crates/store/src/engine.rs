//! The interface between the writer and a database.

use crate::{OpenError, error::Damage};
use lenticular_model::{Cause, Incarnation, Kind, Timestamp};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The most rows that one [`Reader::list`] returns.
pub const LIST_ROWS_MAX: usize = 10_000;

/// The most entries that one [`Reader::history`] returns: the newest ones.
pub const HISTORY_ENTRIES_MAX: usize = 10_000;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The transaction's number.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The cause: the actor, the request and the purpose.
    pub cause: Cause,
}

/// The document of a record before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// This document; `None` if the record did not exist.
    Known(Option<String>),
    /// The document in `records` at the begin of the commit.
    Stored,
}

/// One record's change by one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// The transaction.
    pub seq: u64,
    /// The record's kind.
    pub kind: Kind,
    /// The record's id.
    pub id: String,
    /// The record before.
    pub before: Before,
}

/// A record after the last change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// The document; `None` if the record is gone.
    pub doc: Option<String>,
    /// The transaction that changed it last.
    pub seq: u64,
}

/// The content of one database commit, which is atomic. An engine writes `changes` before `records`, so that
/// [`Before::Stored`] means the record before the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// One entry for each transaction, without gaps and ascending.
    pub entries: Vec<JournalEntry>,
    /// Every change of every transaction, ascending by seq.
    pub changes: Vec<ChangeRow>,
    /// Each changed record once, in its last version.
    pub records: BTreeMap<(Kind, String), RecordRow>,
}

/// A hot record as a store holds it.
#[derive(Debug, Clone, Copy)]
pub struct StoredRecord<'r> {
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: &'r str,
    /// The document.
    pub doc: &'r str,
    /// The transaction that wrote it.
    pub seq: u64,
}

/// The position of a loaded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last transaction; 0 if there was none.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The incarnation of the store; `None` if it is new.
    pub incarnation: Option<Incarnation>,
    /// The number of openings. This opening must be the newest, or it can no longer commit.
    pub epoch: u64,
}

/// One entry of a record's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction that changed the record.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// The cause: the actor, the request and the purpose.
    pub cause: Cause,
    /// The record before the change; `None` if it did not exist.
    pub before: Option<String>,
}

/// The choice of documents to list.
#[derive(Debug, Clone)]
pub struct Page<'p> {
    /// Of this kind.
    pub kind: Kind,
    /// With this prefix of the id.
    pub prefix: &'p str,
    /// Beyond this id in the direction of the listing.
    pub after: Option<&'p str>,
    /// At most this many, and never more than [`LIST_ROWS_MAX`].
    pub limit: usize,
    /// From the greatest id down.
    pub reverse: bool,
}

/// A commit failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written; the next commit may succeed.
    #[error("{0}")]
    Failed(String),
    /// The commit may or may not have been written, so the leader must load the store again.
    #[error("whether the commit was written is unknown: {0}")]
    Unknown(String),
    /// Nothing was written, because another process has opened the store since.
    #[error(
        "another process has taken the store over: it is in epoch {found}, and this process opened it in \
         epoch {ours}"
    )]
    Stale {
        /// The epoch of this opening.
        ours: u64,
        /// The store's epoch.
        found: u64,
    },
}

/// A read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The database could not answer.
    #[error("{0}")]
    Failed(String),
    /// The read data differs from the written data.
    #[error("{store} is damaged: {damage}; restore a backup, or keep the files and ask for help")]
    Damaged {
        /// The store.
        store: String,
        /// The damage.
        damage: Damage,
    },
    /// The requested time is before the beginning of the journal.
    #[error("the journal begins at {}; what was before has been trimmed", begins.iso_us())]
    Trimmed {
        /// The time of the journal's first entry.
        begins: Timestamp,
    },
}

/// A database under the writer. A separate function opens the database and so takes its ownership.
pub trait Engine: Send {
    /// The database's name for messages: `SQLite store /var/lib/lenticular/store.db`.
    fn describe(&self) -> String;

    /// Passes every hot record to `each`, ordered by kind and id, and returns the store's position. Records of
    /// unknown kinds are left alone.
    ///
    /// # Errors
    /// The store is damaged or cannot be read, or `each` refused a record.
    fn load(
        &mut self,
        each: &mut dyn FnMut(StoredRecord<'_>) -> Result<(), OpenError>,
    ) -> Result<Head, OpenError>;

    /// Writes a batch durably.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn commit(&mut self, batch: &Batch) -> Result<(), CommitError>;

    /// Begins a new incarnation of the store.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<(), CommitError>;

    /// Removes at most `entries_max` of the oldest journal entries before `before`, and their changes; returns how
    /// many. The newest entry always stays, because it holds the store's position.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn trim(&mut self, before: Timestamp, entries_max: usize) -> Result<usize, CommitError>;

    /// A reader of committed data, independent of the writer.
    fn reader(&self) -> Arc<dyn Reader>;

    /// Gives the store up after a commit of unknown outcome, so that it can be opened again. Nothing is written, and
    /// nothing can be committed afterwards.
    fn release(&mut self);

    /// Closes the store cleanly. Nothing can be committed afterwards.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn close(&mut self) -> Result<(), CommitError>;
}

/// Reads committed data without waiting for the writer. Calls block and may come from several threads. Every row of
/// an answer is compared with its checksum.
pub trait Reader: Send + Sync {
    /// The document of a durable record.
    ///
    /// # Errors
    /// The database could not answer, or the data is damaged.
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError>;

    /// Ids and documents of durable records, in the order of their ids.
    ///
    /// # Errors
    /// The database could not answer, or the data is damaged.
    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError>;

    /// The journal's entries of a record, oldest first; the newest [`HISTORY_ENTRIES_MAX`] entries.
    ///
    /// # Errors
    /// The database could not answer, or the data is damaged.
    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError>;

    /// A record after the last commit at or before `at`.
    ///
    /// # Errors
    /// The database could not answer, the data is damaged, or `at` is before the beginning of a trimmed journal.
    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError>;

    /// Writes a consistent copy of the store to a new file, while the writer continues.
    ///
    /// # Errors
    /// The engine has no backup (its message says what to use instead), or the copy failed.
    fn backup(&self, to: &Path) -> Result<(), ReadError>;
}

/// Answers `record_at` from the journal's first entry, the first change after the time (with its before-image), and
/// the present record.
pub(crate) fn resolve_record_at(
    at: Timestamp,
    first_entry: Option<(u64, Timestamp)>,
    change_after: Option<Option<String>>,
    present: Option<String>,
) -> Result<Option<String>, ReadError> {
    match first_entry {
        Some((seq, begins)) if seq > 1 && at < begins => Err(ReadError::Trimmed { begins }),
        _ => Ok(change_after.unwrap_or(present)),
    }
}
