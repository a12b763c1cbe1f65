//! A subnet as Neutron shows it.

use super::stamp;
use lenticular_model::{State, network::subnet::Subnet, policy::Caller};
use serde_json::{Value, json};

/// A subnet.
pub fn view(_: &State, _: &Caller, subnet: &Subnet) -> Value {
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
        "subnetpool_id": subnet.subnet_pool_id,
        "service_types": subnet.service_types,
        "dns_publish_fixed_ip": subnet.dns_publish_fixed_ip,
        "tags": subnet.tags,
    });
    stamp(&mut view, subnet.created_at, subnet.updated_at, subnet.revision, &subnet.description);
    view
}
