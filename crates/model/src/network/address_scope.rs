//! Address scopes: addresses are unique within a scope, so routers may join its networks without translation
//! (Neutron's noun).

use crate::{
    AddressScopeId, Owned, ProjectId, Scoped, State,
    error::Error,
    network::rbac_policy::{RbacAction, RbacObject},
    policy::{Action, Caller},
    record,
};
use std::fmt::Display;

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

impl Scoped for AddressScope {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Address scope", id).coded("AddressScopeNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.rbac_allows(caller, RbacObject::AddressScope(self.id), RbacAction::AccessAsShared)
    }
}

impl Owned for AddressScope {
    const WRITE: Action = Action::AddressScopeWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
