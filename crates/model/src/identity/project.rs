//! Projects (tenants), which own servers, networks and images.

use crate::{DomainId, ProjectId, Timestamp, record};
use std::collections::BTreeMap;

record! {
    /// A project (tenant), which owns servers, networks and images.
    pub struct Project: ProjectId {
        /// Its domain.
        pub domain_id: DomainId,
        /// Unique in its domain.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False shuts out everyone in it.
        pub enabled: bool,
        /// A token issued before this time is void: the project was disabled then.
        #[serde(default)]
        pub tokens_void_before: Timestamp,
        /// Its parent project; `None` directly under the domain.
        #[serde(default)]
        pub parent_id: Option<ProjectId>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Attributes that the project's creator chose, shown back as they came.
        #[serde(default)]
        pub extra: BTreeMap<String, serde_json::Value>,
    }
}
