//! Hosts that run servers, and when each was last heard of.

use crate::{record, HostId, Timestamp};
use serde::{Deserialize, Serialize};

/// What the operator wants of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Intent {
    /// It may take new servers.
    Enabled,
    /// It takes no new servers; what runs there goes on.
    Disabled {
        /// Why, for people.
        reason: Option<String>,
    },
}

/// What a host has to give.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Logical CPUs.
    pub vcpus: u64,
    /// Memory in MiB.
    pub memory_mb: u64,
    /// Disk for servers in GiB.
    pub disk_gb: u64,
}

/// What runs guests on a host, as its agent proved it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypervisor {
    /// `qemu` or `sim`.
    pub driver: String,
    /// `kvm`, `tcg` or `none`.
    pub acceleration: String,
    /// The hypervisor's version as a number, as Nova shows it (10.0.2 is 10000002).
    pub version: u64,
    /// The CPU's architecture (`x86_64`).
    pub arch: String,
    /// The CPU's model, for people.
    pub cpu_model: String,
    /// Why it cannot run guests now; `None` if it can.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// The word that a host is off: that nothing runs there, and nothing will before the word is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fence {
    /// When it was given.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// True if its disks are lost with it: servers on them can only be made anew from their images.
    #[serde(default)]
    pub disks_lost: bool,
}

record! {
    /// A host.
    pub struct Host: HostId {
        /// Unique: the host's name.
        pub name: String,
        /// What the operator wants.
        pub intent: Intent,
        /// The availability zone.
        pub zone: String,
        /// Where its agent can be found, for people.
        pub address: String,
        /// `address:port` where its agent listens for other hosts' agents; empty if it does not.
        #[serde(default)]
        pub peer_address: String,
        /// What it has.
        pub capacity: Capacity,
        /// How it runs guests.
        pub hypervisor: Hypervisor,
        /// The kernel's boot id: changes when the host restarts.
        pub boot_id: String,
        /// A number for old clients.
        pub number: u64,
        /// Since when nothing was heard of it; `None` while it talks.
        #[serde(default)]
        pub silent_since: Option<Timestamp>,
        /// The word that it is off and stays so; `None` as long as nobody gave it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub fence: Option<Fence>,
        /// True from a restore of the store until the host has said what is there.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub unheard: bool,
        /// CPU share given out for each real one.
        pub cpu_ratio: f64,
    }
}

record! {
    /// When a host was last heard of, and in which session. Volatile: only its transitions are in the journal
    /// (`Host::silent_since`), and after a restart of the control plane every host says hello again.
    pub struct Contact: HostId {
        /// When.
        pub at: Timestamp,
        /// The session that its last hello began. Reports of others say nothing.
        pub session: u64,
        /// The number of the last report taken in this session; 0 before the first.
        pub number: u64,
    }
}

/// The zone of hosts that were put in no other.
pub const DEFAULT_ZONE: &str = "nova";

/// After this long without a word a host counts as silent, in seconds (Nova's `service_down_time`).
pub const SILENT_AFTER_S: i64 = 60;

impl Host {
    /// True unless it is silent, or was declared to be off.
    pub fn is_up(&self) -> bool {
        self.silent_since.is_none() && self.fence.is_none()
    }

    /// True if the operator lets it take servers.
    pub fn is_enabled(&self) -> bool {
        self.intent == Intent::Enabled
    }

    /// Virtual CPUs it may give out.
    pub fn vcpus_to_give(&self) -> u64 {
        (self.capacity.vcpus as f64 * self.cpu_ratio) as u64
    }
}
