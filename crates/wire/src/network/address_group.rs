//! An address group as Neutron shows it.

use super::{shared, stamp};
use lenticular_model::{
    State,
    network::{address_group::AddressGroup, rbac_policy::RbacObject},
    policy::Caller,
};
use serde_json::{Value, json};

/// An address group.
pub fn view(state: &State, caller: &Caller, group: &AddressGroup) -> Value {
    let mut view = json!({
        "id": group.id,
        "name": group.name,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "addresses": group.addresses,
        "shared": shared(state, caller, RbacObject::AddressGroup(group.id)),
    });
    stamp(&mut view, group.created_at, group.updated_at, group.revision, &group.description);
    view
}
