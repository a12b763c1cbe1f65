//! The pace of all plans together.

use crate::{SingletonId, Timestamp, record};

/// The id of the one record.
pub const PACE: &str = "pace";

record! {
    /// When plans begin moves. The pause between servers binds all plans, so that many small ones are no faster than a
    /// large one.
    pub struct PlanPace: SingletonId {
        /// When a plan last began a move.
        pub last_begin: Timestamp,
    }
}
