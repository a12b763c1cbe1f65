//! Quotas: the limits of a project and its usage.

use crate::{ProjectId, UserId, record};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limits by name, with Nova's or Neutron's names; -1 is no limit.
pub type Limits = BTreeMap<String, i64>;

record! {
    /// The limits of a project that differ from the defaults. The record of [`ProjectId::CLOUD`] has the limits of the
    /// class `default`: they are the defaults of all projects.
    pub struct Quota: ProjectId {
        /// Nova's limits (`instances`, `cores`, `ram`, …).
        #[serde(default)]
        pub compute: Limits,
        /// Neutron's limits (`network`, `subnet`, `port`, …).
        #[serde(default)]
        pub network: Limits,
        /// Nova's limits of single users in the project, which differ from the project's.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        pub users: BTreeMap<UserId, Limits>,
    }
}

/// Nova's limits and their defaults, in the order of Nova's API.
pub const COMPUTE_DEFAULTS: &[(&str, i64)] = &[
    ("instances", 100),
    ("cores", 400),
    ("ram", 819_200),
    ("metadata_items", 128),
    ("key_pairs", 100),
    ("server_groups", 10),
    ("server_group_members", 10),
    ("injected_files", 5),
    ("injected_file_content_bytes", 10_240),
    ("injected_file_path_bytes", 255),
];

/// Neutron's limits and their defaults.
pub const NETWORK_DEFAULTS: &[(&str, i64)] = &[
    ("network", 100),
    ("subnet", 100),
    ("port", 500),
    ("security_group", 10),
    ("security_group_rule", 100),
    ("router", 10),
    ("floatingip", 50),
    ("subnetpool", -1),
    ("rbac_policy", 10),
    ("trunk", -1),
];

/// The limit called `name`: the project's own, else the default; `None` if there is no such limit.
pub fn limit(own: Option<&Limits>, defaults: &[(&str, i64)], name: &str) -> Option<i64> {
    let default = defaults.iter().find(|(n, _)| *n == name)?.1;
    Some(own.and_then(|limits| limits.get(name)).copied().unwrap_or(default))
}

/// The resources that a project's servers take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Servers.
    pub instances: i64,
    /// Virtual CPUs.
    pub cores: i64,
    /// Memory in MiB.
    pub ram: i64,
}
