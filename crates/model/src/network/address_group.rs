//! Address groups: ranges under one name, which rules of security groups may be about (Neutron's noun).

use crate::{record, AddressGroupId, ProjectId};
use ipnet::IpNet;

record! {
    /// An address group.
    pub struct AddressGroup: AddressGroupId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// The ranges, of either family, none of them twice.
        #[serde(default)]
        pub addresses: Vec<IpNet>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}
