//! The commands that run a part of the cloud. Commands that only ask a running cloud are in `lenticular-cli`.

pub(crate) mod agent;
pub(crate) mod down;
pub(crate) mod server;
pub(crate) mod store;
pub(crate) mod up;
