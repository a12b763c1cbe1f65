//! Rebuilds of servers.

use crate::ImageId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A rebuild under way, with what the server goes back to if its host cannot make the new disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rebuild {
    /// The generation of the old disk.
    pub generation: u64,
    /// See [`crate::compute::server::Server::image_id`].
    pub image_id: ImageId,
    /// See [`crate::compute::server::Server::base`].
    pub base: Arc<str>,
    /// See [`crate::compute::server::Server::base_image`].
    #[serde(default)]
    pub base_image: Option<ImageId>,
    /// See [`crate::compute::server::Server::base_format`].
    pub base_format: Arc<str>,
    /// True if only the root disk is made anew.
    pub keeps_data: bool,
    /// True if the guest is to run again after a failure.
    pub ran: bool,
}
