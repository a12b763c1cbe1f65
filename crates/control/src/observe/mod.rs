//! What hosts say.

pub mod host;
pub mod restore;
