//! A record's change between two States, for all code that follows commits.

use crate::{Record, State};
use std::{str::FromStr, sync::Arc};

/// The change of a record from one State to another.
pub struct Pair<'s, R> {
    /// The record before; `None` if there was none.
    pub old: Option<&'s Arc<R>>,
    /// The record after; `None` if it is gone.
    pub new: Option<&'s Arc<R>>,
}

impl<'s, R: Record> Pair<'s, R> {
    /// The change of the record with this id; `None` if the text is no id of the type.
    pub fn of(old: &'s State, new: &'s State, id: &str) -> Option<(R::Id, Self)> {
        let id = R::Id::from_str(id).ok()?;
        let pair = Self { old: old.get::<R>(&id), new: new.get::<R>(&id) };
        Some((id, pair))
    }

    /// The record before and the record after; only those that exist.
    pub fn each(&self) -> impl Iterator<Item = &'s Arc<R>> {
        self.old.into_iter().chain(self.new)
    }

    /// Whether the function's result differs between the two records. A created or deleted record always differs.
    pub fn differs<T: PartialEq>(&self, what: impl Fn(&'s R) -> T) -> bool {
        self.old.map(|r| what(r)) != self.new.map(|r| what(r))
    }
}
