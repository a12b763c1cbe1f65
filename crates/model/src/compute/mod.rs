//! Nova's nouns, and what a server has: migrations, operations, disks.

pub mod aggregate;
pub mod disk;
pub mod disk_copy;
pub mod flavor;
pub mod hint;
pub mod keypair;
pub mod maintenance;
pub mod migration;
pub mod operation;
pub mod personality;
pub mod rebuild;
pub mod rescue;
pub mod server;
pub mod server_group;
pub mod snapshot;
