//! Address scopes: within one, addresses are unique, so that routers may join its networks without translation
//! (Neutron's noun).

use crate::{record, AddressScopeId, ProjectId};

record! {
    /// An address scope.
    pub struct AddressScope: AddressScopeId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// 4 or 6.
        pub ip_version: u8,
        /// True shows it to every project.
        #[serde(default)]
        pub shared: bool,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}
