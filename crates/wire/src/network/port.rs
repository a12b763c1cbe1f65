//! A port as Neutron shows it.

use super::{project, stamp};
use lenticular_model::{
    State,
    network::port::{Port, dns_name},
    policy::Caller,
};
use serde_json::{Value, json};
use std::net::IpAddr;

/// The default DNS domain, if neither port nor network has one.
const DOMAIN: &str = "openstacklocal.";

/// The DNS names of its addresses.
fn assignment(state: &State, port: &Port) -> Vec<Value> {
    let domain = state.networks.get(&port.network_id).map_or("", |n| n.dns_domain.as_str());
    let domain = [port.dns_domain.as_str(), domain, DOMAIN].into_iter().find(|d| !d.is_empty());
    let domain = domain.unwrap_or(DOMAIN).trim_end_matches('.');
    let own = dns_name(state, port).trim_end_matches('.');
    let one = |address: IpAddr| {
        let hostname = match own {
            "" => format!("host-{}", address.to_string().replace(['.', ':'], "-")),
            own => own.to_owned(),
        };
        json!({"ip_address": address, "hostname": hostname, "fqdn": format!("{hostname}.{domain}.")})
    };
    port.fixed_ips.iter().map(|ip| one(ip.ip_address)).collect()
}

fn trunk(state: &State, port: &Port) -> Value {
    let trunk = state.trunk_of_parent(port.id);
    let Some(trunk) = trunk else { return Value::Null };
    let subports = trunk.sub_ports.iter().map(|s| {
        json!({
            "port_id": s.port_id,
            "segmentation_type": "vlan",
            "segmentation_id": s.segmentation_id,
            "mac_address": state.ports.get(&s.port_id).map(|p| p.mac),
        })
    });
    json!({"trunk_id": trunk.id, "sub_ports": subports.collect::<Vec<_>>()})
}

/// Whether traffic can flow.
pub fn status(state: &State, port: &Port) -> &'static str {
    match port.is_active(state) {
        true => "ACTIVE",
        false => "DOWN",
    }
}

/// A port.
pub fn view(state: &State, caller: &Caller, port: &Port) -> Value {
    let pairs = port.allowed_address_pairs.iter();
    let pairs =
        pairs.map(|p| json!({"ip_address": p.ip_address, "mac_address": p.mac_address.unwrap_or(port.mac)}));
    let options = port.extra_dhcp_opts.iter();
    let options =
        options.map(|o| json!({"opt_name": o.name, "opt_value": o.value, "ip_version": o.ip_version}));
    let network = state.networks.get(&port.network_id);
    let mut view = json!({
        "id": port.id,
        "name": port.name,
        "tenant_id": project(port.project_id),
        "project_id": project(port.project_id),
        "network_id": port.network_id,
        "admin_state_up": port.admin_state_up,
        "status": status(state, port),
        "mac_address": port.mac,
        "fixed_ips": port.fixed_ips,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "security_groups": port.security_groups,
        "port_security_enabled": port.port_security_enabled,
        "allowed_address_pairs": pairs.collect::<Vec<_>>(),
        "extra_dhcp_opts": options.collect::<Vec<_>>(),
        "dns_name": dns_name(state, port),
        "dns_domain": port.dns_domain,
        "dns_assignment": assignment(state, port),
        "qos_policy_id": port.qos_policy_id,
        "propagate_uplink_status": port.propagate_uplink_status,
        "qos_network_policy_id": network.and_then(|n| n.qos_policy_id),
        "binding:vnic_type": if port.vnic_type.is_empty() { "normal" } else { &port.vnic_type },
        "tags": port.tags,
    });
    if state.trunk_of_parent(port.id).is_some() {
        view["trunk_details"] = trunk(state, port);
    }
    if caller.is_admin() {
        bind(state, port, &mut view);
    }
    stamp(&mut view, port.created_at, port.updated_at, port.revision, &port.description);
    view
}

/// Adds the binding to a host, for callers who may see hosts.
fn bind(state: &State, port: &Port, view: &mut Value) {
    let carrier = port.carrier(state).unwrap_or(port);
    let host = carrier.host_id.and_then(|id| state.hosts.get(&id));
    let name = host.map_or(carrier.binding_host.as_str(), |h| &h.name);
    let known = host.is_some() || state.host_named(name).is_some();
    view["binding:host_id"] = json!(name);
    view["binding:vif_type"] = json!(match (name, known) {
        ("", _) => "unbound",
        (_, true) => "ovs",
        (_, false) => "binding_failed",
    });
    view["binding:vif_details"] = json!({});
    view["binding:profile"] = json!(port.binding_profile);
}
