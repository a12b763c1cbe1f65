//! The freeze: while it stands, no plan begins a step.

use crate::{SingletonId, UserId, record};

/// The id of the one freeze.
pub const FREEZE: &str = "freeze";

record! {
    /// The freeze. Moves that are under way end; nothing else begins.
    pub struct Freeze: SingletonId {
        /// The reason, for people.
        pub reason: String,
        /// The operator.
        pub user_id: UserId,
    }
}
