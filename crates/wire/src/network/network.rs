//! A network as Neutron shows it.

use super::{shared, stamp};
use lenticular_model::{
    AddressScopeId, State,
    network::{network::Network, rbac_policy::RbacObject, subnet::Subnet},
    policy::Caller,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The address scope of one IP family; none if the subnets have no pool, or a pool without a scope.
fn scope(state: &State, subnets: &[&Arc<Subnet>], v4: bool) -> Option<AddressScopeId> {
    let first = subnets.iter().find(|s| s.cidr.addr().is_ipv4() == v4)?;
    state.subnet_pools.get(&first.subnet_pool_id?)?.address_scope_id
}

/// A network.
pub fn view(state: &State, caller: &Caller, network: &Network) -> Value {
    let subnets: Vec<&Arc<Subnet>> = state.subnets_of_network(network.id).collect();
    let mut view = json!({
        "id": network.id,
        "name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "admin_state_up": network.admin_state_up,
        "status": if network.admin_state_up { "ACTIVE" } else { "DOWN" },
        "shared": network.shared || shared(state, caller, RbacObject::Network(network.id)),
        "router:external": network.external,
        "is_default": network.is_default,
        "mtu": network.mtu,
        "port_security_enabled": network.port_security_enabled,
        "subnets": subnets.iter().map(|s| s.id).collect::<Vec<_>>(),
        "availability_zone_hints": network.availability_zone_hints,
        "availability_zones": network.availability_zone_hints,
        "ipv4_address_scope": scope(state, &subnets, true),
        "ipv6_address_scope": scope(state, &subnets, false),
        "dns_domain": network.dns_domain,
        "qos_policy_id": network.qos_policy_id,
        "tags": network.tags,
    });
    if caller.is_admin() {
        let kind = &network.provider.network_type;
        view["provider:network_type"] = json!(if kind.is_empty() { "geneve" } else { kind });
        view["provider:physical_network"] = json!(network.provider.physical_network);
        view["provider:segmentation_id"] = json!(network.provider.segmentation_id);
    }
    stamp(&mut view, network.created_at, network.updated_at, network.revision, &network.description);
    view
}
