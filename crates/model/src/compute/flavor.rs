//! Sizes of server (Nova's flavors).

use crate::{FlavorId, ProjectId, Scoped, State, error::Error, policy::Caller, record};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt::Display, sync::Arc};

record! {
    /// A flavor.
    pub struct Flavor: FlavorId {
        /// Unique in the cloud.
        pub name: String,
        /// For people (from microversion 2.55).
        #[serde(default)]
        pub description: Option<String>,
        /// The size of a server of this flavor.
        pub size: Size,
        /// False hides the flavor from projects without access.
        pub is_public: bool,
        /// Projects with access to the flavor when it is not public.
        #[serde(default)]
        pub access: Vec<ProjectId>,
        /// Kept for the API; has no effect.
        pub rxtx_factor: f64,
        /// Hints for scheduler and hypervisor.
        #[serde(default)]
        pub extra_specs: Arc<BTreeMap<String, String>>,
    }
}

/// The size of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub ram_mb: u32,
    /// Root disk in GiB; 0 means as large as the image.
    pub disk_gb: u32,
    /// A second, empty disk in GiB.
    #[serde(default)]
    pub ephemeral_gb: u32,
    /// Swap disk in MiB.
    #[serde(default)]
    pub swap_mb: u32,
    /// Root disk in GiB that the server takes for its image, if the flavor leaves the size to the image.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub image_gb: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Size {
    /// The part of this size that exceeds the other size.
    pub fn beyond(&self, other: &Self) -> Self {
        Self {
            vcpus: self.vcpus.saturating_sub(other.vcpus),
            ram_mb: self.ram_mb.saturating_sub(other.ram_mb),
            disk_gb: self.root_gb().saturating_sub(other.root_gb()),
            ephemeral_gb: self.ephemeral_gb.saturating_sub(other.ephemeral_gb),
            swap_mb: self.swap_mb.saturating_sub(other.swap_mb),
            image_gb: 0,
        }
    }

    /// How large the root disk is, in GiB.
    pub fn root_gb(&self) -> u32 {
        self.disk_gb.max(self.image_gb)
    }

    /// All disk space that a server of this size takes from its host, in GiB.
    pub fn all_disk_gb(&self) -> u64 {
        u64::from(self.root_gb()) + u64::from(self.ephemeral_gb) + u64::from(self.swap_mb.div_ceil(1024))
    }
}

impl Scoped for Flavor {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Flavor", id)
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        let given = |project| self.access.contains(&project);
        self.is_public || caller.is_admin() || caller.project_id().is_some_and(given)
    }
}
