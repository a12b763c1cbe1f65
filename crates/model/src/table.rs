//! A table: the records of one type, by id.

use crate::{
    id::Id,
    record::{Record, Row},
};
use imbl::OrdMap;
use std::{marker::PhantomData, ops::Index, sync::Arc};

type Rows<R> = OrdMap<<<R as Record>::Id as Id>::Raw, Row>;

/// Records of one type, in the order of their ids.
#[derive(Clone)]
pub struct Table<R: Record>(Rows<R>, PhantomData<R>);

impl<R: Record> Default for Table<R> {
    fn default() -> Self {
        Self(OrdMap::new(), PhantomData)
    }
}

/// The record with this id; for tests.
///
/// # Panics
/// No record has this id.
impl<R: Record> Index<&R::Id> for Table<R> {
    type Output = Arc<R>;
    fn index(&self, id: &R::Id) -> &Arc<R> {
        self.get(id).unwrap_or_else(|| panic!("there is no {} {id}", R::KIND.name()))
    }
}

impl<R: Record> Table<R> {
    /// The record with this id.
    pub fn get(&self, id: &R::Id) -> Option<&Arc<R>> {
        self.0.get(id.raw()).and_then(R::of_row)
    }

    /// Whether a record has this id.
    pub fn contains_key(&self, id: &R::Id) -> bool {
        self.0.contains_key(id.raw())
    }

    /// The number of records.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All records.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Arc<R>> {
        self.0.values().filter_map(R::of_row)
    }

    /// All records with an id of at least `from`.
    pub fn from(&self, from: R::Id) -> impl Iterator<Item = &Arc<R>> {
        self.0.range(from.raw().clone()..).filter_map(|(_, row)| R::of_row(row))
    }

    /// All records with an id before `upto`, the last one first.
    pub fn before(&self, upto: R::Id) -> impl Iterator<Item = &Arc<R>> {
        self.0.range(..upto.raw().clone()).rev().filter_map(|(_, row)| R::of_row(row))
    }

    /// The ids of all records.
    pub fn keys(&self) -> impl Iterator<Item = &R::Id> {
        self.values().map(|record| record.id())
    }

    /// Puts a record; returns the record that had its id.
    pub(crate) fn insert(&mut self, record: Arc<R>) -> Option<Arc<R>> {
        let raw = record.id().raw().clone();
        self.0.insert(raw, record.into_row()).as_ref().and_then(R::of_row).cloned()
    }

    /// Removes the record with this id.
    pub(crate) fn remove(&mut self, id: &R::Id) -> Option<Arc<R>> {
        self.0.remove(id.raw()).as_ref().and_then(R::of_row).cloned()
    }

    /// Checks that another table has the same records.
    ///
    /// # Errors
    /// The tables differ; the text names the kind and the first record that differs.
    pub(crate) fn same(&self, other: &Self) -> Result<(), String> {
        if self.len() != other.len() {
            return Err(format!(
                "{} has {} records, and {} elsewhere",
                R::KIND.name(),
                self.len(),
                other.len()
            ));
        }
        match self.0.values().zip(other.0.values()).find(|(a, b)| a != b) {
            Some((a, b)) => Err(format!("{a:?} is {b:?} elsewhere")),
            None => Ok(()),
        }
    }
}
