//! The whole cloud as one immutable value. A clone is cheap and never changes.

use crate::{
    Incarnation, Timestamp,
    index::Index,
    record::{Record, Tables},
};
use std::{ops::Deref, sync::Arc};

/// A snapshot of the cloud after commit `seq`.
///
/// Deref gives the tables: `state.servers.get(&id)`.
#[derive(Clone)]
pub struct State {
    /// The commit that made this State; 0 is the empty cloud.
    pub seq: u64,
    /// The incarnation of the store.
    pub incarnation: Incarnation,
    /// When the running leader took over. The silence of a host counts from this time at the earliest.
    pub took_over_at: Timestamp,
    /// The primary tables.
    pub tables: Tables,
    /// Secondary indexes, kept by the same code that writes the tables.
    pub(crate) index: Index,
}

impl State {
    /// The empty cloud.
    pub fn new(incarnation: Incarnation, took_over_at: Timestamp) -> Self {
        Self { seq: 0, incarnation, took_over_at, tables: Tables::default(), index: Index::default() }
    }

    /// The record with this id.
    pub fn get<R: Record>(&self, id: &R::Id) -> Option<&Arc<R>> {
        R::table(self).get(id)
    }

    /// All records of a type, in the order of their ids.
    pub fn all<R: Record>(&self) -> impl Iterator<Item = &Arc<R>> {
        R::table(self).values()
    }

    /// Puts a record and updates the indexes; `seq` is the commit of the change. Returns the record before.
    pub(crate) fn apply_put<R: Record>(&mut self, record: Arc<R>, seq: u64) -> Option<Arc<R>> {
        let old = R::table_mut(self).insert(record.clone());
        R::index(&mut self.index, seq, old.as_deref(), Some(&record));
        old
    }

    /// Removes a record and updates the indexes; returns the removed record.
    pub(crate) fn apply_delete<R: Record>(&mut self, id: &R::Id, seq: u64) -> Option<Arc<R>> {
        let old = R::table_mut(self).remove(id)?;
        R::index(&mut self.index, seq, Some(&old), None);
        Some(old)
    }
}

impl Deref for State {
    type Target = Tables;
    fn deref(&self) -> &Tables {
        &self.tables
    }
}
