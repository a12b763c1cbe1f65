//! A transaction: a State of its own to read and write, and the list of what it changed.
//!
//! Transactions run serially against the head state, so there are no lost updates and no retries. A transaction that
//! returns an error is dropped with all it did.

use crate::{
    error::{Error, Result},
    record::{Durability, Kind, Record},
    State, Timestamp,
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

/// What one transaction did to one record: from `before` to `after`.
#[derive(Clone)]
pub struct Change {
    /// The record's kind.
    pub kind: Kind,
    /// The record's id as text.
    pub id: String,
    /// What it was before; `None` if it was not there, or is of a cold kind.
    pub before: Option<Arc<dyn Document>>,
    /// What it is now; `None` if it is gone.
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

/// Who causes a commit, on which request, and what for: the journal's line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cause {
    /// A user id, `host/<name>`, or `controller`.
    pub actor: String,
    /// The request id (`req-…`), or empty.
    pub request_id: String,
    /// What it was for, in a few words: `server create`.
    pub why: String,
}

/// A source of random bytes, handed in.
pub type Entropy<'e> = &'e mut dyn FnMut() -> [u8; 16];

/// A transaction under way. It derefs to the State that it sees: the head with its own writes.
pub struct Txn<'e> {
    state: State,
    /// The transaction's time: never earlier than the commit before it.
    pub now: Timestamp,
    entropy: Entropy<'e>,
    changes: BTreeMap<(Kind, String), Change>,
}

impl<'e> Txn<'e> {
    /// Begins a transaction on `head` that, if committed, is commit `head.seq + 1`.
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
        let id = record.id();
        let before = R::table(&self.state).get(&id).cloned();
        let seq = self.state.seq;
        self.state.apply_put(record, seq);
        let after = R::table(&self.state).get(&id).cloned();
        self.note(R::KIND, id.to_string(), before.map(|r| r as _), after.map(|r| r as _));
    }

    /// Changes a record that is there, and its `updated_at`; false if it is not there.
    pub fn update<R: Record>(&mut self, id: &R::Id, change: impl FnOnce(&mut R)) -> bool {
        let Some(record) = self.state.get::<R>(id) else { return false };
        let mut record = R::clone(record);
        change(&mut record);
        record.touch(self.now);
        self.put(record);
        true
    }

    /// Removes a record; gives back what was there.
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

    /// Removes a document of a cold kind, whether or not it is there.
    pub fn delete_cold(&mut self, kind: Kind, id: impl Into<String>) {
        debug_assert_eq!(kind.durability(), Durability::Cold);
        self.note(kind, id.into(), None, None);
    }

    /// True if the transaction changed nothing.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Ends the transaction: the state it made, and its changes in the order of kind and id.
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
