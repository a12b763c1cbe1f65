//! Nova's commands.

pub mod access;
pub mod aggregate;
pub mod evacuate;
pub mod flavor;
pub mod interface;
pub mod keypair;
pub mod migrate;
pub mod nic;
pub mod rebuild;
pub mod rescue;
pub mod server;
pub mod server_create;
pub mod server_group;
pub mod shelve;
pub mod snapshot;
pub mod suspend;
