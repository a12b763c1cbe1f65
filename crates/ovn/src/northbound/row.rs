//! A wanted row: identified by its table and id, with values and references to other rows.

use super::{ID, Key, schema::Table};
use crate::ovsdb::{Atom, Datum};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// The identity of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// The row's id among our rows: its key, and a suffix that distinguishes the rows of one key.
    pub id: String,
    /// Its table.
    pub table: Table,
}

/// A place in a set of rows that another row holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    /// The row with the set.
    pub of: RowId,
    /// The column of the set.
    pub column: &'static str,
}

/// A wanted row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its identity.
    pub id: RowId,
    /// Its values. Columns that are not listed must be empty.
    pub columns: BTreeMap<&'static str, Datum>,
    /// Columns that refer to one other row of ours.
    pub refs: BTreeMap<&'static str, RowId>,
    /// The sets that it is in.
    pub member_of: BTreeSet<Membership>,
}

impl RowId {
    /// The main row of a key.
    pub fn of(table: Table, key: Key) -> Self {
        Self { id: key.to_string(), table }
    }

    /// Another row of the key.
    pub fn part(table: Table, key: Key, part: impl Display) -> Self {
        Self { id: format!("{key}/{part}"), table }
    }
}

impl Row {
    /// A row with nothing but its id.
    pub fn new(id: RowId) -> Self {
        let columns = [("external_ids", Datum::map([(ID, id.id.as_str())]))].into();
        Self { id, columns, refs: BTreeMap::new(), member_of: BTreeSet::new() }
    }

    /// Adds a column.
    pub fn with(mut self, column: &'static str, value: Datum) -> Self {
        self.columns.insert(column, value);
        self
    }

    /// Adds a column with one value.
    pub fn with_one(self, column: &'static str, value: impl Into<Atom>) -> Self {
        self.with(column, Datum::one(value))
    }

    /// Adds a note for people to `external_ids`.
    pub fn noted(mut self, key: &str, value: &str) -> Self {
        if let Some(Datum::Map(ids)) = self.columns.get_mut("external_ids") {
            ids.insert(Atom::from(format!("lenticular:{key}")), Atom::from(value));
        }
        self
    }

    /// Adds a column that refers to another row.
    pub fn with_ref(mut self, column: &'static str, row: RowId) -> Self {
        self.refs.insert(column, row);
        self
    }

    /// Puts the row into another row's set.
    pub fn inside(mut self, of: RowId, column: &'static str) -> Self {
        self.member_of.insert(Membership { of, column });
        self
    }
}

/// A name that is valid in OVN's match language: letters, digits and `_` alone, made from an id.
pub fn symbol(prefix: &str, id: impl Display) -> String {
    format!("{prefix}_{}", id.to_string().replace('-', "_"))
}
