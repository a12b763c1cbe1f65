//! Serving a router on a listener: connections, their limits, and their end.

pub mod connections;
pub mod listener;
pub mod unread;
mod watched;

pub use listener::{raise_file_limit, serve, serve_agents};
