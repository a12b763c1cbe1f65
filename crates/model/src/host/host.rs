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

/// How much of what a host has is given out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Memory given out for each MiB that is there.
    pub ram_ratio: f64,
    /// Disk given out for each GiB that is there.
    pub disk_ratio: f64,
    /// Kept back for the host itself.
    #[serde(default)]
    pub reserved: Capacity,
}

impl Default for Share {
    fn default() -> Self {
        Self { ram_ratio: 1.0, disk_ratio: 1.0, reserved: Capacity::default() }
    }
}

/// What connects guests on a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wiring {
    /// `ovn`, `user` or `sim`; empty if the host does not say.
    #[serde(default)]
    pub driver: String,
    /// The physical networks that it reaches, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub physical_networks: Vec<String>,
    /// Why its guests' networks do not follow changes now; `None` if they do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Wiring {
    /// True if OVN says when a port is plugged.
    pub fn is_ovn(&self) -> bool {
        self.driver == "ovn"
    }

    /// True if it reaches the physical network.
    pub fn reaches(&self, physical_network: &str) -> bool {
        self.is_ovn() && self.physical_networks.iter().any(|name| name == physical_network)
    }
}

/// What runs guests on a host, as its agent proved it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// What connects its guests.
    #[serde(default)]
    pub wiring: Wiring,
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
    /// What switched it off and saw it off, and what that said; `None` if a person's word is all there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// A fencing driver has switched a host off, and seen it off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Which driver.
    pub driver: String,
    /// Its words.
    pub said: String,
}

impl Hypervisor {
    /// What can be asked of hosts with it, under the names that Placement's traits have.
    pub fn traits(&self) -> Vec<&'static str> {
        let mut traits = vec!["COMPUTE_IMAGE_TYPE_QCOW2", "COMPUTE_IMAGE_TYPE_RAW", "COMPUTE_NODE"];
        match self.acceleration.as_str() {
            "kvm" => traits.push("CUSTOM_ACCELERATION_KVM"),
            "tcg" => traits.push("CUSTOM_ACCELERATION_TCG"),
            _ => {}
        }
        match self.driver.as_str() {
            "qemu" => traits.push("CUSTOM_DRIVER_QEMU"),
            "sim" => traits.push("CUSTOM_DRIVER_SIM"),
            _ => {}
        }
        match self.arch.as_str() {
            "x86_64" => traits.push("HW_ARCH_X86_64"),
            "aarch64" => traits.push("HW_ARCH_AARCH64"),
            _ => {}
        }
        traits
    }

    /// True if each of its guests has a config drive, whether that was asked for or not.
    pub fn gives_config_drives(&self) -> bool {
        self.driver == "qemu"
    }

    /// Nova's name for its kind.
    pub fn kind(&self) -> &'static str {
        match self.driver.as_str() {
            "qemu" => "QEMU",
            _ => "fake",
        }
    }
}

record! {
    /// A host.
    pub struct Host: HostId {
        /// Unique: the host's name.
        pub name: String,
        /// What the operator wants.
        pub intent: Intent,
        /// The availability zone: that of its aggregates, if they give one.
        pub zone: String,
        /// The zone it has by itself, while an aggregate gives it another.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub own_zone: Option<String>,
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
        /// Virtual CPUs given out for each real one.
        pub cpu_ratio: f64,
        /// How much more of the rest is given out than there is, and what is kept back.
        #[serde(default)]
        pub share: Share,
    }
}

record! {
    /// When a host was last heard of, and in which session. Volatile: only its transitions are in the journal
    /// (`Host::silent_since`), and after a restart of the control plane every host says hello again.
    pub struct Heartbeat: HostId {
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

    /// True if it may have servers or disks that no record names: it has not said what it has since the store was
    /// restored, and its disks are not known to be lost.
    pub fn may_know_more(&self) -> bool {
        self.unheard && !self.fence.as_ref().is_some_and(|fence| fence.disks_lost)
    }

    /// True if the operator lets it take servers.
    pub fn is_enabled(&self) -> bool {
        self.intent == Intent::Enabled
    }

    /// How often each class of resource is given out.
    pub fn ratios(&self) -> Ratios {
        Ratios { cpu: self.cpu_ratio, ram: self.share.ram_ratio, disk: self.share.disk_ratio }
    }

    /// What there is for servers before it is given out more than once.
    pub fn net(&self) -> Capacity {
        let (all, kept) = (self.capacity, self.share.reserved);
        Capacity {
            vcpus: all.vcpus.saturating_sub(kept.vcpus),
            memory_mb: all.memory_mb.saturating_sub(kept.memory_mb),
            disk_gb: all.disk_gb.saturating_sub(kept.disk_gb),
        }
    }

    /// What it may give out.
    pub fn to_give(&self) -> Capacity {
        self.ratios().of(self.net())
    }

    /// Virtual CPUs it may give out.
    pub fn vcpus_to_give(&self) -> u64 {
        self.to_give().vcpus
    }
}

/// How often each class of resource is given out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratios {
    /// Virtual CPUs.
    pub cpu: f64,
    /// Memory.
    pub ram: f64,
    /// Disk.
    pub disk: f64,
}

impl Ratios {
    /// What may be given out of this.
    pub fn of(self, net: Capacity) -> Capacity {
        let times = |amount: u64, ratio: f64| (amount as f64 * ratio) as u64;
        Capacity {
            vcpus: times(net.vcpus, self.cpu),
            memory_mb: times(net.memory_mb, self.ram),
            disk_gb: times(net.disk_gb, self.disk),
        }
    }
}
