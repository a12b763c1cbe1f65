//! A domain: a name space for users and projects.

use crate::{DomainId, Timestamp, record};

record! {
    /// A domain: a name space for users and projects.
    pub struct Domain: DomainId {
        /// Unique in the cloud.
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False shuts out everyone in it.
        pub enabled: bool,
        /// A token issued before this time is void: the domain was disabled then.
        #[serde(default)]
        pub tokens_void_before: Timestamp,
    }
}
