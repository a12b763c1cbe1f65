//! The total and the used addresses of a network, as Neutron shows them.

use lenticular_model::{
    State,
    network::{
        network::Network,
        subnet::{Pool, Subnet},
    },
};
use serde_json::{Value, json};

/// A number that may need more than 64 bits: then a float shows its magnitude.
fn number(value: u128) -> Value {
    match u64::try_from(value) {
        Ok(small) => json!(small),
        Err(_) => json!(value as f64),
    }
}

fn total(subnet: &Subnet) -> u128 {
    subnet.pools.iter().map(Pool::size).fold(0, u128::saturating_add)
}

fn used(state: &State, subnet: &Subnet) -> u128 {
    let (low, high) = (subnet.cidr.network(), subnet.cidr.broadcast());
    state.addresses_between(subnet.id, low, high).count() as u128
}

/// A network's addresses.
pub fn view(state: &State, network: &Network) -> Value {
    let (mut all, mut taken, mut lines) = (0_u128, 0_u128, Vec::new());
    for subnet in state.subnets_of_network(network.id) {
        let (total, used) = (total(subnet), used(state, subnet));
        all = all.saturating_add(total);
        taken = taken.saturating_add(used);
        lines.push(json!({
            "subnet_id": subnet.id,
            "subnet_name": subnet.name,
            "cidr": subnet.cidr,
            "ip_version": if subnet.cidr.addr().is_ipv4() { 4 } else { 6 },
            "total_ips": number(total),
            "used_ips": number(used),
        }));
    }
    json!({
        "network_id": network.id,
        "network_name": network.name,
        "tenant_id": network.project_id,
        "project_id": network.project_id,
        "subnet_ip_availability": lines,
        "total_ips": number(all),
        "used_ips": number(taken),
    })
}
