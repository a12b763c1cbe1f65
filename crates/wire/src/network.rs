//! Neutron's bodies.

use lenticular_model::{
    network::Network,
    port::Port,
    security_group::{Remote, SecurityGroup, SecurityGroupRule},
    subnet::Subnet,
    State, Timestamp,
};
use serde_json::{json, Value};

/// What the cloud really has of Neutron's extensions: alias and name.
pub const PRESENT: &[(&str, &str)] = &[
    ("allowed-address-pairs", "Allowed Address Pairs"),
    ("binding", "Port Binding"),
    ("default-subnetpools", "Default Subnetpools"),
    ("external-net", "Neutron external network"),
    ("net-mtu", "Network MTU"),
    ("net-mtu-writable", "Network MTU (writable)"),
    ("pagination", "Pagination support"),
    ("port-mac-address-regenerate", "Neutron Port MAC address regenerate"),
    ("port-security", "Port Security"),
    ("project-id", "project_id field enabled"),
    ("provider", "Provider Network"),
    ("quotas", "Quota management support"),
    ("quota_details", "Quota details management support"),
    ("security-group", "security-group"),
    ("shared-attributes", "Shared attributes"),
    ("sorting", "Sorting support"),
    ("standard-attr-description", "standard-attr-description"),
    ("standard-attr-revisions", "Resource revision numbers"),
    ("standard-attr-tag", "Tag support for resources with standard attribute"),
    ("standard-attr-timestamp", "Resource timestamps"),
    ("stateful-security-group", "Stateful security group"),
];

/// An extension.
pub fn extension(alias: &str, name: &str) -> Value {
    json!({
        "alias": alias,
        "name": name,
        "description": name,
        "updated": "2026-01-01T00:00:00-00:00",
        "links": [],
    })
}

fn stamp(view: &mut Value, created: Timestamp, updated: Option<Timestamp>, revision: u64, description: &str) {
    view["created_at"] = json!(created.iso());
    view["updated_at"] = json!(updated.unwrap_or(created).iso());
    view["revision_number"] = json!(revision);
    view["description"] = json!(description);
}

/// A network.
pub fn network(state: &State, network: &Network, admin: bool) -> Value {
    let from = (network.id, lenticular_model::SubnetId(Default::default()));
    let subnets = state.index.network_subnets.range(from..).take_while(|(n, _)| *n == network.id);
    let subnets: Vec<_> = subnets.map(|(_, subnet)| *subnet).collect();
    let mut view = json!({
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": if network.admin_state_up { "ACTIVE" } else { "DOWN" },
        "shared": network.shared,
        "router:external": network.external,
        "is_default": network.is_default,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security_enabled,
        "subnets": subnets,
        "availability_zone_hints": [],
        "availability_zones": [],
        "ipv4_address_scope": null,
        "ipv6_address_scope": null,
        "tags": network.tags,
    });
    if admin {
        let kind = &network.provider.network_type;
        view["provider:network_type"] = json!(if kind.is_empty() { "geneve" } else { kind });
        view["provider:physical_network"] = json!(network.provider.physical_network);
        view["provider:segmentation_id"] = json!(network.provider.segmentation_id);
    }
    stamp(&mut view, network.created_at, network.updated_at, network.revision, &network.description);
    view
}

/// A subnet.
pub fn subnet(subnet: &Subnet) -> Value {
    let mut view = json!({
        "id": subnet.id,
        "name": subnet.name,
        "tenant_id": subnet.project_id,
        "project_id": subnet.project_id,
        "network_id": subnet.network_id,
        "ip_version": if subnet.cidr.addr().is_ipv4() { 4 } else { 6 },
        "cidr": subnet.cidr,
        "gateway_ip": subnet.gateway,
        "enable_dhcp": subnet.enable_dhcp,
        "allocation_pools": subnet.pools,
        "dns_nameservers": subnet.dns_nameservers,
        "host_routes": subnet.host_routes,
        "ipv6_ra_mode": subnet.ipv6_ra_mode,
        "ipv6_address_mode": subnet.ipv6_address_mode,
        "subnetpool_id": null,
        "service_types": [],
        "tags": subnet.tags,
    });
    stamp(&mut view, subnet.created_at, subnet.updated_at, subnet.revision, &subnet.description);
    view
}

/// A port.
pub fn port(state: &State, port: &Port, admin: bool) -> Value {
    let mut view = json!({
        "id": port.id,
        "name": port.name,
        "tenant_id": port.project_id,
        "project_id": port.project_id,
        "network_id": port.network_id,
        "admin_state_up": port.admin_state_up,
        "status": if port.plugged { "ACTIVE" } else { "DOWN" },
        "mac_address": port.mac,
        "fixed_ips": port.fixed_ips,
        "device_id": port.device_id,
        "device_owner": port.device_owner,
        "security_groups": port.security_groups,
        "port_security_enabled": port.port_security_enabled,
        "allowed_address_pairs": port.allowed_address_pairs,
        "binding:vnic_type": if port.vnic_type.is_empty() { "normal" } else { &port.vnic_type },
        "tags": port.tags,
    });
    if admin {
        let host = port.host_id.and_then(|id| state.hosts.get(&id));
        view["binding:host_id"] = json!(host.map_or("", |h| &h.name));
        view["binding:vif_type"] = json!(if host.is_some() { "ovs" } else { "unbound" });
        view["binding:vif_details"] = json!({});
        view["binding:profile"] = json!({});
    }
    stamp(&mut view, port.created_at, port.updated_at, port.revision, &port.description);
    view
}

/// A rule of a security group.
pub fn rule(rule: &SecurityGroupRule) -> Value {
    let (prefix, group, addresses) = match &rule.remote {
        Remote::Any => (None, None, None),
        Remote::Range(range) => (Some(range), None, None),
        Remote::Group(id) => (None, Some(id), None),
        Remote::AddressGroup(id) => (None, None, Some(id)),
    };
    let mut view = json!({
        "id": rule.id,
        "security_group_id": rule.security_group_id,
        "tenant_id": rule.project_id,
        "project_id": rule.project_id,
        "direction": rule.direction,
        "ethertype": if rule.ip_version == 4 { "IPv4" } else { "IPv6" },
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": prefix,
        "remote_group_id": group,
        "remote_address_group_id": addresses,
    });
    stamp(&mut view, rule.created_at, rule.updated_at, rule.revision, &rule.description);
    view
}

/// A security group with its rules.
pub fn security_group(state: &State, group: &SecurityGroup) -> Value {
    let from = (group.id, lenticular_model::SecurityGroupRuleId(Default::default()));
    let rules = state.index.group_rules.range(from..).take_while(|(g, _)| *g == group.id);
    let rules: Vec<Value> =
        rules.filter_map(|(_, id)| state.security_group_rules.get(id)).map(|r| rule(r)).collect();
    let mut view = json!({
        "id": group.id,
        "name": group.name,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "stateful": group.stateful,
        "shared": false,
        "security_group_rules": rules,
        "tags": group.tags,
    });
    stamp(&mut view, group.created_at, group.updated_at, group.revision, &group.description);
    view
}
