//! Snapshots: copies of servers' root disks that become images.

use crate::ImageId;
use serde::{Deserialize, Serialize};

/// A copy of a server's root disk on its way to the image store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The image that it becomes.
    pub image_id: ImageId,
    /// The name of this attempt. The host may send the disk for this attempt alone.
    pub upload: String,
    /// Set for a backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
}

/// How many backups of a server are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// Backups of one type are counted together, such as `daily`.
    pub backup_type: String,
    /// So many are kept, the newest.
    pub keep: u32,
}
