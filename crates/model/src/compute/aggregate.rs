//! Host aggregates: sets of hosts with properties that the scheduler reads.

use crate::{AggregateId, HostId, record};
use std::collections::BTreeMap;

/// The metadata key that puts an aggregate's hosts in a zone.
pub const ZONE_KEY: &str = "availability_zone";

record! {
    /// An aggregate.
    pub struct Aggregate: AggregateId {
        /// The number that the compute API calls its id.
        pub number: u64,
        /// Unique.
        pub name: String,
        /// Its hosts, in the order in which they were added.
        #[serde(default)]
        pub hosts: Vec<HostId>,
        /// The properties that the aggregate's hosts have in common.
        #[serde(default)]
        pub metadata: BTreeMap<String, String>,
    }
}

impl Aggregate {
    /// The zone that it puts its hosts in.
    pub fn zone(&self) -> Option<&str> {
        self.metadata.get(ZONE_KEY).map(String::as_str)
    }
}
