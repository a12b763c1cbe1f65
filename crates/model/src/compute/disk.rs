//! Disks: what guests read and write, and what servers left behind on hosts.
//!
//! The life of a server's disk. A disk has one owner at a time: only the host in `host_id` may write the disk. The record
//! goes with its server.
//!
//! ```text
//!             the host made it           ticket: `issued` names the next generation
//!  not made ───────────────────▶ made ─────────────────────────────────────────────▶ made, on another host
//!     ▲                            │                     released                          │
//!     │ shelved, evacuated:        │                                                       │ at the source
//!     │ another generation         ▼                                                       ▼
//!     └──────────────────────── no host                    Left (another record): Kept ─▶ Doomed ─▶ gone
//! ```
//!
//! All disks of a server are on one host, and move with the server together or not at all.

use crate::{DiskId, HostId, ServerId, Timestamp, compute::flavor::Size, record};
use serde::{Deserialize, Serialize};

/// What a guest has a disk for. The disks of a guest are in this order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskKind {
    /// The guest starts from it. Its content begins as the server's image.
    #[default]
    Root,
    /// A second disk, which begins empty, also after the server was shelved or evacuated. Its size is the flavor's
    /// `ephemeral`.
    Ephemeral,
    /// Swap space. Its size is the flavor's `swap`.
    Swap,
}

impl DiskKind {
    /// The kind's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Ephemeral => "ephemeral",
            Self::Swap => "swap",
        }
    }

    /// The least size of such a disk for a server of this size, in bytes; 0 if the server has none.
    pub fn bytes(self, size: &Size) -> u64 {
        match self {
            Self::Root => u64::from(size.disk_gb) << 30,
            Self::Ephemeral => u64::from(size.ephemeral_gb) << 30,
            Self::Swap => u64::from(size.swap_mb) << 20,
        }
    }

    /// What a server of this size has disks for, in order.
    pub fn all_of(size: &Size) -> impl Iterator<Item = Self> + use<> {
        let size = *size;
        let more = [Self::Ephemeral, Self::Swap].into_iter().filter(move |kind| kind.bytes(&size) > 0);
        [Self::Root].into_iter().chain(more)
    }
}

/// Where a disk's bytes are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// In files of its host.
    #[default]
    Local,
}

/// The fate of a disk that a server left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Fate {
    /// The disk is kept; no guest starts from it automatically.
    Kept {
        /// Until then.
        until: Timestamp,
    },
    /// The host reported the disk, and no record explains it. The disk stays until an operator decides.
    Found {
        /// The host's report of the disk.
        what: FoundDisk,
    },
    /// The host must remove the disk: a tombstone that stands until the host has confirmed it.
    Doomed,
}

/// A host's report of a disk that no record explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum FoundDisk {
    /// By its orders, the host may run the guest from the disk.
    Own,
    /// The disk was coming to the host, and the host waits for the source's release.
    Coming,
    /// The host handed the disk on. The next host has it under this generation.
    Released {
        /// The generation.
        generation: u64,
    },
    /// The disk was left behind on the host.
    Left,
}

/// How a disk that a server left behind came about, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The server's disk of which this is an older state.
    pub of: DiskId,
    /// The fate of the copy.
    pub fate: Fate,
    /// True if a guest may run on it: the move was overtaken, and its progress is unknown.
    #[serde(default)]
    pub may_run: bool,
    /// The reason why it was left behind, for people.
    pub why: String,
}

record! {
    /// A disk of a server, or a copy of one that the server left behind on a host. A host has at most one copy of a
    /// disk, and none of a disk of a server that it runs or receives.
    pub struct Disk: DiskId {
        /// The server that has it, or left it behind. A server that left it behind may be deleted.
        pub server_id: ServerId,
        /// What the guest has it for.
        #[serde(default)]
        pub kind: DiskKind,
        /// The tag under which the guest finds it in its metadata.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub tag: Option<String>,
        /// Where its bytes are.
        #[serde(default)]
        pub backend: Backend,
        /// The grant: the one host that may write it; `None` while the server is on no host.
        pub host_id: Option<HostId>,
        /// Grows each time the right to write moves to another host. A host must not touch a newer disk.
        pub generation: u64,
        /// The highest generation that any ticket has named; 0 if there was no ticket. No number is ever used
        /// twice.
        #[serde(default)]
        pub issued: u64,
        /// The older generation that the disk has on its host, if an operator decided to go back to that disk.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub revives: Option<u64>,
        /// True once a host reported that it made the disk. From then on a missing disk is a loss: no host makes a
        /// new one.
        #[serde(default)]
        pub made: bool,
        /// Set if the server left this copy behind; `None` if it is the server's own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub left: Option<Box<Left>>,
    }
}

impl Disk {
    /// The fate of a disk that was left behind; `None` for a server's own disk.
    pub fn fate(&self) -> Option<&Fate> {
        self.left.as_deref().map(|left| &left.fate)
    }

    /// True if a guest may run on this disk, which its server left behind.
    pub fn may_run(&self) -> bool {
        self.left.as_deref().is_some_and(|left| left.may_run)
    }

    /// Whether two versions of a server's own disk mean different orders to its host.
    pub(crate) fn orders_differ(&self, other: &Self) -> bool {
        self.host_id != other.host_id
            || self.generation != other.generation
            || self.issued != other.issued
            || self.revives != other.revives
            || self.made != other.made
    }
}

/// How long a left disk is kept, and how long a resize can be reverted, in seconds.
pub const KEPT_S: i64 = 24 * 3600;

/// The root disk in the record of a server that was written by 0.1.0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FormerDisk {
    /// See [`Disk::generation`].
    pub generation: u64,
    /// See [`Disk::issued`].
    #[serde(default)]
    pub issued: u64,
    /// See [`Disk::revives`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revives: Option<u64>,
    /// See [`Disk::made`].
    #[serde(default)]
    pub made: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_the_disks_of_its_flavor_in_order() {
        let size = Size { vcpus: 1, ram_mb: 1, disk_gb: 2, ephemeral_gb: 0, swap_mb: 0, image_gb: 0 };
        let disks = |size: Size| DiskKind::all_of(&size).map(|p| (p, p.bytes(&size))).collect::<Vec<_>>();
        assert_eq!(disks(size), [(DiskKind::Root, 2 << 30)]);
        let all = [(DiskKind::Root, 2 << 30), (DiskKind::Ephemeral, 3 << 30), (DiskKind::Swap, 64 << 20)];
        assert_eq!(disks(Size { ephemeral_gb: 3, swap_mb: 64, ..size }), all);
    }
}
