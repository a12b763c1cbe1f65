//! A floating IP as Neutron shows it.

use super::{port_forwarding, stamp};
use lenticular_model::{State, network::floating_ip::FloatingIp, policy::Caller};
use serde_json::{Value, json};

/// A floating IP.
pub fn view(state: &State, _: &Caller, floating: &FloatingIp) -> Value {
    let forwardings = state.port_forwardings_of(floating.id);
    let forwardings: Vec<Value> = forwardings.map(|f| port_forwarding::brief(f)).collect();
    let port = floating.fixed.and_then(|a| state.ports.get(&a.port_id));
    let details = port.map(|p| {
        json!({
            "name": p.name,
            "network_id": p.network_id,
            "mac_address": p.mac,
            "admin_state_up": p.admin_state_up,
            "status": super::port::status(state, p),
            "device_id": p.device_id,
            "device_owner": p.device_owner,
        })
    });
    let network = state.networks.get(&floating.network_id);
    let mut view = json!({
        "id": floating.id,
        "tenant_id": floating.project_id,
        "project_id": floating.project_id,
        "floating_network_id": floating.network_id,
        "floating_ip_address": floating.address,
        "port_id": floating.fixed.map(|a| a.port_id),
        "fixed_ip_address": floating.fixed.map(|a| a.fixed_ip),
        "router_id": floating.router_id,
        "status": if floating.router_id.is_some() { "ACTIVE" } else { "DOWN" },
        "port_details": details,
        "port_forwardings": forwardings,
        "dns_name": floating.dns_name,
        "dns_domain": floating.dns_domain,
        "qos_policy_id": floating.qos_policy_id,
        "qos_network_policy_id": network.and_then(|n| n.qos_policy_id),
        "tags": floating.tags,
    });
    stamp(&mut view, floating.created_at, floating.updated_at, floating.revision, &floating.description);
    view
}
