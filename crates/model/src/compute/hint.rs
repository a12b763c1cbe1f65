//! Scheduler hints.

use crate::ServerId;
use serde::{Deserialize, Serialize};

/// The scheduler hints of the server's owner, besides the server group. They hold for later moves too.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hints {
    /// The server goes to a host that has one of these servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub same_host: Vec<ServerId>,
    /// The server goes to a host that has none of these servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub different_host: Vec<ServerId>,
}
