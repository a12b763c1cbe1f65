//! Disks that a server left behind. A disk is kept for a while after the server moved away, and is then removed.

use crate::{DiskCopyId, HostId, ServerId, Timestamp, record};
use serde::{Deserialize, Serialize};

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

record! {
    /// A disk, whole or partial, that no longer belongs to its server. A host has at most one such disk of a
    /// server, and none of a server that it runs or receives.
    pub struct DiskCopy: DiskCopyId {
        /// The server that had the disk. The server may be deleted.
        pub server_id: ServerId,
        /// The host that has it.
        pub host_id: HostId,
        /// Its generation. The host must not touch a newer disk.
        pub generation: u64,
        /// The fate of the disk.
        pub fate: Fate,
        /// True if a guest may run on the disk: the move was overtaken, and its progress is unknown.
        #[serde(default)]
        pub may_run: bool,
        /// The reason why it was left behind, for people.
        pub why: String,
    }
}

/// How long the source's copy is kept after a move, in seconds.
pub const KEPT_S: i64 = 24 * 3600;
