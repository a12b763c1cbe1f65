//! A router as Neutron shows it.

use super::stamp;
use lenticular_model::{State, network::router::Router, policy::Caller};
use serde_json::{Value, json};

/// A router.
pub fn view(state: &State, caller: &Caller, router: &Router) -> Value {
    let gateway = router.gateway.map(|g| {
        let addresses = state.ports.get(&g.port_id).map(|p| p.fixed_ips.clone()).unwrap_or_default();
        json!({
            "network_id": g.network_id,
            "enable_snat": g.enable_snat,
            "external_fixed_ips": addresses,
            "qos_policy_id": g.qos_policy_id,
        })
    });
    let mut view = json!({
        "id": router.id,
        "name": router.name,
        "tenant_id": router.project_id,
        "project_id": router.project_id,
        "admin_state_up": router.admin_state_up,
        "status": if router.admin_state_up { "ACTIVE" } else { "DOWN" },
        "external_gateway_info": gateway,
        "routes": router.routes,
        "availability_zone_hints": router.availability_zone_hints,
        "availability_zones": router.availability_zone_hints,
        "flavor_id": null,
        "tags": router.tags,
    });
    if caller.is_admin() {
        view["distributed"] = json!(router.distributed);
        view["ha"] = json!(router.ha);
    }
    stamp(&mut view, router.created_at, router.updated_at, router.revision, &router.description);
    view
}
