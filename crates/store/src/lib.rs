//! Durability: one writer that commits transactions in groups, three engines under it, and the history of every
//! record.
//!
//! [`Writer`] is the synchronous core. It runs transactions one after another on the head [`State`], hands their
//! changes to an [`Engine`] as one commit, and only then publishes the new State. It has no thread and no clock, so
//! the simulator drives it directly. [`Store`] is the asynchronous handle around a writer on its own thread.
//!
//! The store has three tables and a small table `meta`. `records(kind, id, doc, seq)` is the present; `journal(seq,
//! at, actor, request_id, why)` and `changes(seq, kind, id, before)` are the past. `seq` has no gaps: every
//! committed transaction has one, and a batch of transactions is one database commit with several.
//!
//! # Damage
//!
//! Every row of the three tables has a checksum in its column `sum` (see `sum.rs`). A row with a wrong checksum is
//! reported by kind, id and seq. It is never repaired, and never gets a new sum: a damaged document that a commit
//! copies as a before-image stays known as damaged. The checks:
//!
//! - At every opening: hot records, records of kinds that this version does not know, and the last 10,000 entries
//!   of the journal, which must also have no gap. A damaged store is not opened ([`OpenError::Damaged`]).
//! - At the opening of an SQLite file that is small or was not closed ([`Sqlite::open`] says how small): every row
//!   of the file, and SQLite's own check of its pages.
//! - At every read of cold records and of the past: every row of the answer. The answer is [`ReadError::Damaged`],
//!   and the store continues.
//!
//! Checksums do not find: a missing record or change, or one that an older copy of itself has replaced; and damage
//! to a row of format 1, which had no sums, until that row is written again.
//!
//! Architecture invariant: this is the only crate with SQL, and no code outside it knows which engine runs.
//!
//! Architecture invariant: a State is published, and a transaction answered, only when it is durable.
//!
//! Architecture invariant: a commit of unknown outcome ends the leadership, and never the process. The store is given
//! up and opened again, which tells the outcome ([`Store::keep_open`]).
//!
//! [`State`]: lenticular_model::State

#![warn(unreachable_pub)]

mod document_range;
mod engine;
mod error;
mod format;
mod keep_open;
mod leadership;
mod memory;
mod postgres;
mod sql;
mod sqlite;
mod stats;
mod store;
mod sum;
mod writer;

pub use engine::{
    Batch, Before, ChangeRow, CommitError, Engine, HISTORY_ENTRIES_MAX, Head, HistoryEntry, JournalEntry,
    LIST_ROWS_MAX, Page, ReadError, Reader, RecordRow, StoredRecord,
};
pub use error::{Damage, OpenError};
pub use format::{FORMAT, MIN_READER, MIN_WRITER};
pub use leadership::{Leadership, Leaderships};
pub use memory::{Crash, Memory, MemoryDisk};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use stats::{BATCH_SIZE_BOUNDS, COMMIT_US_BOUNDS, Stats};
pub use store::Store;
pub use writer::{Commit, Job, Outcome, Prepared, Run, Writer};
