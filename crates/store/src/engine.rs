//! What the writer asks of a database, and what it hands it.

use crate::{error::Damage, OpenError};
use lenticular_model::{Cause, Incarnation, Kind, Timestamp};
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// The most rows that one [`Reader::list`] gives.
pub const LIST_ROWS_MAX: usize = 10_000;

/// The most entries that one [`Reader::history`] gives: the newest ones.
pub const HISTORY_ENTRIES_MAX: usize = 10_000;

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// The transaction's place in the order of all.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// Who caused it, on which request, and what for.
    pub cause: Cause,
}

/// What a record was before a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Before {
    /// This document; `None` if it was not there.
    Known(Option<String>),
    /// What `records` holds as the commit begins.
    Stored,
}

/// One record changed by one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeRow {
    /// The transaction.
    pub seq: u64,
    /// The record's kind.
    pub kind: Kind,
    /// The record's id.
    pub id: String,
    /// What it was.
    pub before: Before,
}

/// What a record is after the last change of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordRow {
    /// The document; `None` if the record is gone.
    pub doc: Option<String>,
    /// The transaction that made it so.
    pub seq: u64,
}

/// What one database commit writes, all of it or nothing. An engine writes `changes` before `records`, so that
/// [`Before::Stored`] means the record as it was before the batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    /// One for each transaction, dense and ascending.
    pub entries: Vec<JournalEntry>,
    /// Every change of every transaction, ascending by seq.
    pub changes: Vec<ChangeRow>,
    /// Each changed record once, as it is in the end.
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

/// Where a store stands when it was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The last transaction; 0 if there was none.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// Which life of the store this is; `None` if it is new.
    pub incarnation: Option<Incarnation>,
    /// How many times the store was opened; this opening is the newest, or it can no longer commit.
    pub epoch: u64,
}

/// One entry of a record's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// The transaction that changed the record.
    pub seq: u64,
    /// When it was committed.
    pub at: Timestamp,
    /// Who caused it, on which request, and what for.
    pub cause: Cause,
    /// The record before it; `None` if it was not there.
    pub before: Option<String>,
}

/// Which documents to list.
#[derive(Debug, Clone)]
pub struct Page<'p> {
    /// Of this kind.
    pub kind: Kind,
    /// With ids that begin with this.
    pub prefix: &'p str,
    /// Beyond this id in the direction of the listing.
    pub after: Option<&'p str>,
    /// At most so many, and never more than [`LIST_ROWS_MAX`].
    pub limit: usize,
    /// From the greatest id down.
    pub reverse: bool,
}

/// A commit did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing was written; the next commit may succeed.
    #[error("{0}")]
    Failed(String),
    /// It may or may not have been written, so whoever led must load the store again.
    #[error("whether the commit was written is unknown: {0}")]
    Unknown(String),
    /// Nothing was written, because the store was opened by another process since.
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

/// A read did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The database could not answer.
    #[error("{0}")]
    Failed(String),
    /// What was read is not what was written.
    #[error("{store} is damaged: {damage}; restore a backup, or keep the files and ask for help")]
    Damaged {
        /// Which store.
        store: String,
        /// How.
        damage: Damage,
    },
    /// What is asked for lies before the beginning of the journal.
    #[error("the journal begins at {}; what was before has been trimmed", begins.iso_us())]
    Trimmed {
        /// The time of the journal's first entry.
        begins: Timestamp,
    },
}

/// A database under the writer. It is opened, and thereby owned, by a function of its own.
pub trait Engine: Send {
    /// Which database this is, for messages: `SQLite store /var/lib/lenticular/store.db`.
    fn describe(&self) -> String;

    /// Hands over every hot record, ordered by kind and id, and tells where the store stands. Records of unknown kinds
    /// are left alone.
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

    /// Notes that the store begins a new life.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn begin_incarnation(&mut self, incarnation: Incarnation) -> Result<(), CommitError>;

    /// Removes at most `entries_max` of the oldest journal entries from before `before`, and their changes; gives back
    /// how many. The newest entry always stays, because it says where the store stands.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn trim(&mut self, before: Timestamp, entries_max: usize) -> Result<usize, CommitError>;

    /// A way to read what is committed, beside the writer.
    fn reader(&self) -> Arc<dyn Reader>;

    /// Gives the store up in good order. Nothing can be committed afterwards.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn close(&mut self) -> Result<(), CommitError>;
}

/// Reads what is committed, without waiting for the writer. Calls block and may come from several threads. Every row
/// that an answer is made of is compared with its checksum.
pub trait Reader: Send + Sync {
    /// The document of a durable record.
    ///
    /// # Errors
    /// The database could not answer, or what it holds is damaged.
    fn get(&self, kind: Kind, id: &str) -> Result<Option<String>, ReadError>;

    /// Ids and documents of durable records, in the order of their ids.
    ///
    /// # Errors
    /// The database could not answer, or what it holds is damaged.
    fn list(&self, page: &Page<'_>) -> Result<Vec<(String, String)>, ReadError>;

    /// What the journal knows of a record, oldest first; the newest [`HISTORY_ENTRIES_MAX`] entries.
    ///
    /// # Errors
    /// The database could not answer, or what it holds is damaged.
    fn history(&self, kind: Kind, id: &str) -> Result<Vec<HistoryEntry>, ReadError>;

    /// A record as it was after the last commit at or before `at`.
    ///
    /// # Errors
    /// The database could not answer, what it holds is damaged, or `at` lies before the beginning of a journal that was
    /// trimmed.
    fn record_at(&self, kind: Kind, id: &str, at: Timestamp) -> Result<Option<String>, ReadError>;

    /// Writes a consistent copy of the store to a file that must not exist yet, while the writer goes on.
    ///
    /// # Errors
    /// The engine has no backup of its own (its message says what to use instead), or the copy failed.
    fn backup(&self, to: &Path) -> Result<(), ReadError>;
}

/// Answers `record_at` from the journal's first entry, the first change after the time (with its before-image), and
/// the present.
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
