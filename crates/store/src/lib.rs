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
//! # Damage
//!
//! Every row of the three tables has a checksum in its column `sum` (`sum.rs` says over what), and one that differs is
//! named by kind, id and seq. It is never mended, and never summed anew: a document that is damaged as a commit makes it
//! an image before stays known as damaged. What is compared when:
//!
//! - At every opening: hot records, records of kinds that this version does not know, and the last 10,000 entries of
//!   the journal, which must also have no hole. The store is not opened ([`OpenError::Damaged`]).
//! - At the opening of an SQLite file that is small or was not closed ([`Sqlite::open`] says how small): every row of
//!   the file, and SQLite's own check of its pages.
//! - When they are asked for: cold records and the past, that is, every row that an answer is made of. The answer is
//!   [`ReadError::Damaged`], and nothing else stops.
//!
//! What no checksum finds: a record or a change that is gone whole, or that an older copy of itself has replaced; and
//! damage to a row that format 1 wrote, which had no sums, until that row is written again.
//!
//! Architecture invariant: this is the only crate with SQL, and nothing outside it knows which engine runs.
//!
//! Architecture invariant: a state is published, and a transaction answered, only when it is durable.
//!
//! [`State`]: lenticular_model::State

#![warn(unreachable_pub)]

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
mod sum;
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
