//! An address scope as Neutron shows it.

use super::shared;
use lenticular_model::{
    State,
    network::{address_scope::AddressScope, rbac_policy::RbacObject},
    policy::Caller,
};
use serde_json::{Value, json};

/// An address scope.
pub fn view(state: &State, caller: &Caller, scope: &AddressScope) -> Value {
    json!({
        "id": scope.id,
        "name": scope.name,
        "tenant_id": scope.project_id,
        "project_id": scope.project_id,
        "ip_version": scope.ip_version,
        "shared": scope.shared || shared(state, caller, RbacObject::AddressScope(scope.id)),
        "revision_number": scope.revision,
    })
}
