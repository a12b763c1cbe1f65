//! Reports of hosts.

pub mod guest;
pub mod host;
pub mod port;
pub mod restore;
