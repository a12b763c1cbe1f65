//! The model of a cloud: typed ids, records, the State with all records, transactions that change the State, and
//! the rules that need nothing else.
//!
//! Architecture invariant: this crate is pure. It does no I/O, reads no clock, takes its randomness from the
//! caller, and has no async code.

pub mod change;
pub mod compute;
pub mod error;
pub mod host;
pub mod id;
pub mod identity;
pub mod image;
pub mod index;
mod lock;
pub mod network;
pub mod ops;
pub mod policy;
pub mod quota;
pub mod record;
mod relation;
pub mod revision;
pub mod state;
pub mod table;
pub mod time;
pub mod txn;

pub use error::{Error, Result};
pub use id::*;
pub use lock::Lock;
pub use record::{Durability, Kind, Record};
pub use relation::{Owned, Scoped};
pub use state::State;
pub use time::Timestamp;
pub use txn::{Cause, Change, Txn};
