//! The commands that run a part of the cloud. What only asks a running cloud stands in `lenticular-cli`.

pub mod agent;
pub mod down;
pub mod server;
pub mod store;
pub mod up;
