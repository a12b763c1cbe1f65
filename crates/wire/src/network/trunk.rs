//! A trunk as Neutron shows it.

use super::stamp;
use lenticular_model::{State, network::trunk::Trunk, policy::Caller};
use serde_json::{Value, json};

/// Its subports.
pub fn sub_ports(trunk: &Trunk) -> Vec<Value> {
    let one = |s: &lenticular_model::network::trunk::SubPort| json!({"port_id": s.port_id, "segmentation_type": "vlan", "segmentation_id": s.segmentation_id});
    trunk.sub_ports.iter().map(one).collect()
}

/// A trunk.
pub fn view(state: &State, _: &Caller, trunk: &Trunk) -> Value {
    let active = state.ports.get(&trunk.port_id).is_some_and(|p| p.is_active(state));
    let mut view = json!({
        "id": trunk.id,
        "name": trunk.name,
        "tenant_id": trunk.project_id,
        "project_id": trunk.project_id,
        "admin_state_up": trunk.admin_state_up,
        "status": if active { "ACTIVE" } else { "DOWN" },
        "port_id": trunk.port_id,
        "sub_ports": sub_ports(trunk),
        "tags": trunk.tags,
    });
    stamp(&mut view, trunk.created_at, trunk.updated_at, trunk.revision, &trunk.description);
    view
}
