//! What a host measures of a running guest.

use serde::{Deserialize, Serialize};

/// The measurements of a guest. A missing number means that the host cannot measure it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostics {
    /// QEMU's word for the state of the virtual CPUs (`running`, `paused`, …).
    pub state: String,
    /// For how long the guest's process has run, in seconds.
    #[serde(default)]
    pub uptime_s: Option<u64>,
    /// For each virtual CPU, how long it has run, in nanoseconds.
    #[serde(default)]
    pub cpus_ns: Vec<u64>,
    /// The guest's memory, in KiB.
    #[serde(default)]
    pub memory_kib: Option<u64>,
    /// The memory that the guest's process has on the host, in KiB.
    #[serde(default)]
    pub resident_kib: Option<u64>,
    /// Its disks, in order.
    #[serde(default)]
    pub disks: Vec<DiskCounters>,
    /// Its interfaces, in order.
    #[serde(default)]
    pub nics: Vec<NicCounters>,
}

/// The counters of a disk, since the start of the guest's process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskCounters {
    /// Bytes read.
    pub read_bytes: u64,
    /// Reads.
    pub read_requests: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Writes.
    pub write_requests: u64,
    /// Reads and writes that failed.
    pub errors: u64,
}

/// An interface of the guest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicCounters {
    /// Its Ethernet address.
    pub mac: String,
    /// The name of the host's side, if it has one.
    #[serde(default)]
    pub device: Option<String>,
    /// What the guest received; `None` if the host does not count.
    #[serde(default)]
    pub received: Option<Traffic>,
    /// What the guest sent.
    #[serde(default)]
    pub sent: Option<Traffic>,
}

/// Traffic in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Bytes.
    pub bytes: u64,
    /// Packets.
    pub packets: u64,
    /// Packets with an error.
    pub errors: u64,
    /// Packets that were dropped.
    pub dropped: u64,
}
