//! The records that a caller can see, and the records that a caller may change.

use crate::{
    ProjectId, State,
    error::{Error, Result},
    policy::{self, Action, Caller},
    record::Record,
};
use std::{fmt::Display, sync::Arc};

/// A record that exists for some callers and not for others.
pub trait Scoped: Record {
    /// The refusal: no record with this id exists for the caller.
    fn missing(id: impl Display) -> Error;
    /// Whether the record exists for the caller.
    fn visible_to(&self, state: &State, caller: &Caller) -> bool;
}

/// A record that a project owns. The owner decides who may change the record.
pub trait Owned: Scoped {
    /// The action that changes the record.
    const WRITE: Action;
    /// The project that owns the record.
    fn project(&self) -> ProjectId;
}

impl State {
    /// The record with this id, if it exists for the caller.
    ///
    /// # Errors
    /// No such record exists for the caller.
    pub fn visible<R: Scoped>(&self, caller: &Caller, id: &R::Id) -> Result<Arc<R>> {
        let found = self.get::<R>(id).filter(|record| record.visible_to(self, caller));
        found.cloned().ok_or_else(|| R::missing(id))
    }

    /// The record with this id, if the caller may change it.
    ///
    /// # Errors
    /// No such record exists for the caller, or the caller may only read it.
    pub fn changeable<R: Owned>(&self, caller: &Caller, id: &R::Id) -> Result<Arc<R>> {
        let found = self.visible::<R>(caller, id)?;
        policy::check(caller, R::WRITE, Some(found.project()))?;
        Ok(found)
    }
}
