//! What becomes of a thing once a request or a host has spoken.

pub mod migration;
pub mod operation;
pub mod ports;
