//! Durability: one writer that commits transactions in groups, three engines under it, and the past of every record.
//!
//! [`Writer`] is the synchronous core: it runs transactions serially against the head [`State`], hands what they
//! changed to an [`Engine`] as one commit, and publishes the new state only then. It has no thread and no clock, so
//! the simulator drives it directly. [`Store`] is the asynchronous handle around a writer on a thread of its own.
//!
//! The store is three tables and a little `meta`. `records(kind, id, doc, seq)` is the present;
//! `journal(seq, at, actor, request_id, why)` and `changes(seq, kind, id, before)` are the past. `seq` is dense: every
//! committed transaction has one, and a batch of transactions is one database commit with several.
//!
//! Architecture invariant: this is the only crate with SQL, and nothing outside it knows which engine runs.
//!
//! Architecture invariant: a state is published, and a transaction answered, only when it is durable.
//!
//! [`State`]: lenticular_model::State

mod document_range;
mod engine;
mod error;
mod format;
mod memory;
mod postgres;
mod sql;
mod sqlite;
mod stats;
mod store;
mod writer;

pub use engine::{
    Batch, Before, ChangeRow, CommitError, Engine, Head, HistoryEntry, JournalEntry, Page, ReadError, Reader,
    RecordRow, StoredRecord, HISTORY_ENTRIES_MAX, LIST_ROWS_MAX,
};
pub use error::{Damage, OpenError};
pub use format::{FORMAT, MIN_READER, MIN_WRITER};
pub use memory::{Crash, Memory, MemoryDisk};
pub use postgres::Postgres;
pub use sqlite::Sqlite;
pub use stats::{Stats, BATCH_SIZE_BOUNDS, COMMIT_US_BOUNDS};
pub use store::Store;
pub use writer::{Commit, Job, Outcome, Prepared, Run, Writer};
