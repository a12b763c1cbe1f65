//! A port forwarding as Neutron shows it.

use super::stamp;
use lenticular_model::{
    State,
    network::port_forwarding::{PortForwarding, PortRange},
    policy::Caller,
};
use serde_json::{Value, json};

fn ports(view: &mut Value, side: &str, range: PortRange) {
    view[format!("{side}_port_range")] = json!(format!("{}:{}", range.first, range.last));
    if range.first == range.last {
        view[format!("{side}_port")] = json!(range.first);
    }
}

/// A port forwarding as listed in its floating IP.
pub fn brief(forwarding: &PortForwarding) -> Value {
    let mut view = json!({
        "id": forwarding.id,
        "protocol": forwarding.protocol,
        "internal_ip_address": forwarding.internal_address,
        "internal_port_id": forwarding.internal_port_id,
    });
    ports(&mut view, "internal", forwarding.internal);
    ports(&mut view, "external", forwarding.external);
    view
}

/// A port forwarding.
pub fn view(_: &State, _: &Caller, forwarding: &PortForwarding) -> Value {
    let mut view = brief(forwarding);
    let (created, updated) = (forwarding.created_at, forwarding.updated_at);
    stamp(&mut view, created, updated, forwarding.revision, &forwarding.description);
    view
}
