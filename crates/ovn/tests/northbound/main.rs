//! The northbound rows of generated clouds: alone, and in a real database server.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod clouds;
mod converge;
mod incremental;
mod packet;
mod qos;
mod rows;
mod server;
mod sets;
mod tls;
mod world;
