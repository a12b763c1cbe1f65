//! A transaction: a private State to read and write, and the list of its changes.
//!
//! Transactions run one after another on the head State, so there are no lost updates and no retries. When a
//! transaction returns an error, all its changes are dropped.

use crate::{
    State, Timestamp,
    error::{Error, Result},
    record::{Durability, Kind, Record},
};
use serde::Serialize;
use std::{collections::BTreeMap, fmt, ops::Deref, sync::Arc};

/// A record as the store sees it.
pub trait Document: Send + Sync {
    /// The record as JSON.
    fn json(&self) -> String;
}

impl<T: Serialize + Send + Sync> Document for T {
    fn json(&self) -> String {
        serde_json::to_string(self).expect("records have string keys and no failing serializer")
    }
}

/// The change that one transaction makes to one record.
#[derive(Clone)]
pub struct Change {
    /// The record's kind.
    pub kind: Kind,
    /// The record's id as text.
    pub id: String,
    /// The record before; `None` if it did not exist or is of a cold kind.
    pub before: Option<Arc<dyn Document>>,
    /// The record after; `None` if it is deleted.
    pub after: Option<Arc<dyn Document>>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match (&self.before, &self.after) {
            (_, None) => "delete",
            (None, _) => "insert",
            _ => "update",
        };
        write!(f, "{what} {} {}", self.kind.name(), self.id)
    }
}

/// The cause of a commit, for the journal: the actor, the request and the purpose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// A user id, `host/<name>`, or `controller`.
    pub actor: String,
    /// The request id (`req-…`), or empty.
    pub request_id: String,
    /// The purpose in a few words: `server create`.
    pub why: String,
}

/// A source of random bytes, which the caller supplies.
pub type Entropy<'e> = &'e mut dyn FnMut() -> [u8; 16];

/// A transaction under way. It derefs to the State that it sees: the head with the transaction's writes.
pub struct Txn<'e> {
    state: State,
    /// The transaction's time: never earlier than the previous commit.
    pub now: Timestamp,
    entropy: Entropy<'e>,
    changes: BTreeMap<(Kind, String), Change>,
}

impl<'e> Txn<'e> {
    /// Begins a transaction on `head`. Its commit will be `head.seq + 1`.
    pub fn new(head: &State, now: Timestamp, entropy: Entropy<'e>) -> Self {
        let mut state = head.clone();
        state.seq += 1;
        Self { state, now, entropy, changes: BTreeMap::new() }
    }

    /// Sixteen random bytes for a new id or secret.
    pub fn random(&mut self) -> [u8; 16] {
        (self.entropy)()
    }

    /// The record with this id, or the caller's error.
    pub fn need<R: Record>(&self, id: &R::Id, missing: impl FnOnce() -> Error) -> Result<Arc<R>> {
        self.state.get::<R>(id).cloned().ok_or_else(missing)
    }

    /// Writes a record, new or changed.
    pub fn put<R: Record>(&mut self, record: R) {
        let (record, seq) = (Arc::new(record), self.state.seq);
        let before = self.state.apply_put(record.clone(), seq);
        self.note(R::KIND, record.id().to_string(), before.map(|r| r as _), Some(record));
    }

    /// Changes an existing record and its `updated_at`; false if the record does not exist.
    pub fn update<R: Record>(&mut self, id: &R::Id, change: impl FnOnce(&mut R)) -> bool {
        let Some(record) = self.state.get::<R>(id) else { return false };
        let mut record = R::clone(record);
        change(&mut record);
        record.touch(self.now);
        self.put(record);
        true
    }

    /// Removes a record; returns the removed record.
    pub fn delete<R: Record>(&mut self, id: &R::Id) -> Option<Arc<R>> {
        let seq = self.state.seq;
        let before = self.state.apply_delete::<R>(id, seq)?;
        self.note(R::KIND, id.to_string(), Some(before.clone()), None);
        Some(before)
    }

    /// Writes a document of a cold kind.
    pub fn put_cold(
        &mut self,
        kind: Kind,
        id: impl Into<String>,
        document: impl Serialize + Send + Sync + 'static,
    ) {
        debug_assert_eq!(kind.durability(), Durability::Cold);
        self.note(kind, id.into(), None, Some(Arc::new(document)));
    }

    /// Removes a document of a cold kind, whether it exists or not.
    pub fn delete_cold(&mut self, kind: Kind, id: impl Into<String>) {
        debug_assert_eq!(kind.durability(), Durability::Cold);
        self.note(kind, id.into(), None, None);
    }

    /// True if the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Ends the transaction; returns its State and its changes, ordered by kind and id.
    pub fn finish(self) -> (State, Vec<Change>) {
        (self.state, self.changes.into_values().collect())
    }

    fn note(
        &mut self,
        kind: Kind,
        id: String,
        before: Option<Arc<dyn Document>>,
        after: Option<Arc<dyn Document>>,
    ) {
        use std::collections::btree_map::Entry;
        match self.changes.entry((kind, id)) {
            Entry::Vacant(slot) => {
                let id = slot.key().1.clone();
                slot.insert(Change { kind, id, before, after });
            }
            Entry::Occupied(mut slot) => slot.get_mut().after = after,
        }
    }
}

impl Deref for Txn<'_> {
    type Target = State;
    fn deref(&self) -> &State {
        &self.state
    }
}
