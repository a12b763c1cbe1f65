//! Limits of plans: how many moves may be under way, and how long the pauses between them are.

use serde::{Deserialize, Serialize};

/// The limits of one plan. All moves count against the limits of
/// hosts, racks and zones, also those that users and operators asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most moves from or to one host at a time.
    pub per_host: u32,
    /// The most moves from or to hosts with the same label `rack`, or the same label `gateway`, at a time.
    pub per_rack: u32,
    /// The most moves from or to hosts of one zone at a time.
    pub per_zone: u32,
    /// From the start of one server's move to the start of the next, in seconds.
    pub between_servers_s: i64,
    /// From the first move of one source host to the first move of the next, in seconds.
    pub between_hosts_s: i64,
    /// After so many moves the plan pauses; `None` for no such limit.
    #[serde(default)]
    pub hard_limit: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            per_host: 2,
            per_rack: 4,
            per_zone: 20,
            between_servers_s: 2,
            between_hosts_s: 180,
            hard_limit: None,
        }
    }
}

impl Limits {
    /// True if everything is at least as careful as the defaults.
    pub fn is_careful(&self) -> bool {
        let default = Self::default();
        self.per_host <= default.per_host
            && self.per_rack <= default.per_rack
            && self.per_zone <= default.per_zone
            && self.between_servers_s >= default.between_servers_s
            && self.between_hosts_s >= default.between_hosts_s
    }
}
