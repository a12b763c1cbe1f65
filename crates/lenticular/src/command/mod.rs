//! The commands that run a part of the cloud. What only asks a running cloud stands in `lenticular-cli`.

pub(crate) mod agent;
pub(crate) mod down;
pub(crate) mod server;
pub(crate) mod store;
pub(crate) mod up;
