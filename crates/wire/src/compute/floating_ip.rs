//! Floating IPs as Nova shows them: a pool is an external network.

use lenticular_model::{State, network::floating_ip::FloatingIp};
use serde_json::{Value, json};

/// A floating IP.
pub fn view(state: &State, floating: &FloatingIp) -> Value {
    let server = floating.fixed.and_then(|a| state.ports.get(&a.port_id)).and_then(|p| p.server_id);
    json!({
        "id": floating.id,
        "ip": floating.address,
        "pool": state.networks.get(&floating.network_id).map(|n| n.name.as_str()),
        "instance_id": server,
        "fixed_ip": floating.fixed.map(|a| a.fixed_ip),
    })
}
