//! A row as it should be: known by its table and id, holding values, referring to other rows by theirs.

use super::{schema::Table, Key, ID};
use crate::ovsdb::{Atom, Datum};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// Which row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowId {
    /// Its id among ours: its key, and what tells it from others of that key.
    pub id: String,
    /// Its table.
    pub table: Table,
}

/// A place in a set of rows that another row holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Membership {
    /// Whose set.
    pub of: RowId,
    /// Which.
    pub column: &'static str,
}

/// A row as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which.
    pub id: RowId,
    /// What it holds; nothing in the columns that are not here.
    pub columns: BTreeMap<&'static str, Datum>,
    /// Columns that hold one other row of ours.
    pub refs: BTreeMap<&'static str, RowId>,
    /// The sets that it is in.
    pub member_of: BTreeSet<Membership>,
}

impl RowId {
    /// The row of a key that stands for the key itself.
    pub fn of(table: Table, key: Key) -> Self {
        Self { id: key.to_string(), table }
    }

    /// Another row of the key.
    pub fn part(table: Table, key: Key, part: impl Display) -> Self {
        Self { id: format!("{key}/{part}"), table }
    }
}

impl Row {
    /// A row that holds nothing but its id.
    pub fn new(id: RowId) -> Self {
        let columns = [("external_ids", Datum::map([(ID, id.id.as_str())]))].into();
        Self { id, columns, refs: BTreeMap::new(), member_of: BTreeSet::new() }
    }

    /// With a column.
    pub fn with(mut self, column: &'static str, value: Datum) -> Self {
        self.columns.insert(column, value);
        self
    }

    /// With a column of one value.
    pub fn with_one(self, column: &'static str, value: impl Into<Atom>) -> Self {
        self.with(column, Datum::one(value))
    }

    /// With a word for people in its `external_ids`.
    pub fn noted(mut self, key: &str, value: &str) -> Self {
        if let Some(Datum::Map(ids)) = self.columns.get_mut("external_ids") {
            ids.insert(Atom::from(format!("lenticular:{key}")), Atom::from(value));
        }
        self
    }

    /// With a column that holds another row.
    pub fn with_ref(mut self, column: &'static str, row: RowId) -> Self {
        self.refs.insert(column, row);
        self
    }

    /// In another row's set.
    pub fn inside(mut self, of: RowId, column: &'static str) -> Self {
        self.member_of.insert(Membership { of, column });
        self
    }
}

/// A name that OVN's match language takes: of an id, with nothing but letters, digits and `_`.
pub fn symbol(prefix: &str, id: impl Display) -> String {
    format!("{prefix}_{}", id.to_string().replace('-', "_"))
}
