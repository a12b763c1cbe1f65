//! Address groups: named lists of ranges that security group rules can refer to (Neutron's noun).

use crate::{
    AddressGroupId, Owned, ProjectId, Scoped, State,
    error::Error,
    network::rbac_policy::{RbacAction, RbacObject},
    policy::{Action, Caller},
    record,
};
use ipnet::IpNet;
use std::fmt::Display;

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
        /// The ranges, of either family, without duplicates.
        #[serde(default)]
        pub addresses: Vec<IpNet>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl Scoped for AddressGroup {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Address group", id).coded("AddressGroupNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.rbac_allows(caller, RbacObject::AddressGroup(self.id), RbacAction::AccessAsShared)
    }
}

impl Owned for AddressGroup {
    const WRITE: Action = Action::AddressGroupWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
