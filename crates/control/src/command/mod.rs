//! What callers ask: a folder for each service, a file for each noun, each command a function of a transaction, the
//! caller and the request. A command that returns an error has changed nothing.

pub mod compute;
pub mod host;
pub mod identity;
pub mod image;
pub mod network;
pub mod quota;
