//! What becomes of a thing once a request or a host has spoken.

pub mod archive;
pub mod condition;
pub mod disk_copy;
pub mod host;
pub mod image;
pub mod loss;
pub mod migration;
pub mod network;
pub mod operation;
pub mod ports;
pub mod restore;
pub mod run;
pub mod shelf;
