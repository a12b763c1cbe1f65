//! Disks that servers left behind, in the records of stores that 0.1.0 wrote. They are brought over when such a store
//! is opened.

use super::disk::Fate;
use crate::{DiskCopyId, HostId, ServerId, record};

record! {
    /// A disk that a server left behind on a host.
    pub struct DiskCopy: DiskCopyId {
        /// The server.
        pub server_id: ServerId,
        /// The host.
        pub host_id: HostId,
        /// The generation.
        pub generation: u64,
        /// Its fate.
        pub fate: Fate,
        /// True if a guest may run on it.
        #[serde(default)]
        pub may_run: bool,
        /// The reason why it was left behind.
        pub why: String,
    }
}
