//! The commands of callers: one folder for each service, one file for each noun. A command is a function of a
//! transaction, the caller and the request. A command that returns an error has changed nothing.

pub mod compute;
pub mod host;
pub mod identity;
pub mod image;
pub mod image_member;
pub mod network;
pub mod ops;
pub mod quota;
