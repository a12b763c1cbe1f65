//! Rescued servers.

use crate::ImageId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The image that the guest starts from while the server is rescued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rescue {
    /// The image.
    pub image_id: ImageId,
    /// The SHA-512 of its bytes.
    pub base: Arc<str>,
    /// The format of those bytes.
    pub base_format: Arc<str>,
    /// True if the guest's own disks keep their places, and the rescue disk is a further one.
    pub stable: bool,
    /// True if the guest is to run again after a failure.
    pub ran: bool,
}
