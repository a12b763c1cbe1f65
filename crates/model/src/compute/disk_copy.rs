//! Disks that a server has left behind: kept for a while after it moved away, and then removed.

use crate::{record, DiskCopyId, HostId, ServerId, Timestamp};
use serde::{Deserialize, Serialize};

/// What becomes of a disk that a server left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Fate {
    /// It is kept, and never started by itself.
    Kept {
        /// Until then.
        until: Timestamp,
    },
    /// It was found there, and no record says how it came to be: it is left alone until an operator decides on it.
    Found {
        /// What its host says of it.
        what: FoundDisk,
    },
    /// Its host is to remove it: a tombstone that stands until the host has confirmed it.
    Doomed,
}

/// What a host says of a disk that no record explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum FoundDisk {
    /// It is the host's to run, by the orders that the host had.
    Own,
    /// It was coming there, and the host waits for its release.
    Coming,
    /// The host handed it on, and the next has it under this generation.
    Released {
        /// Which.
        generation: u64,
    },
    /// It was left behind there.
    Left,
}

record! {
    /// A disk, whole or half, that is not the server's any more. A host has at most one of a server, and none of one
    /// that it runs or gets.
    pub struct DiskCopy: DiskCopyId {
        /// Whose it was. That server may be gone.
        pub server_id: ServerId,
        /// Where it lies.
        pub host_id: HostId,
        /// Its generation. Nothing there that is newer is touched.
        pub generation: u64,
        /// What becomes of it.
        pub fate: Fate,
        /// True if a guest may run on it: nobody knows how far the move got when it was overtaken.
        #[serde(default)]
        pub may_run: bool,
        /// How it came about, for people.
        pub why: String,
    }
}

/// How long the source's copy is kept after a move, in seconds.
pub const KEPT_S: i64 = 24 * 3600;
