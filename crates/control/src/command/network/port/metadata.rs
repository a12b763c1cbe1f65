//! The port by which a network's guests reach the metadata service: one for each network that has a subnet with DHCP,
//! with an address in each of those. It is the cloud's own, and counts against nobody's quota.

use lenticular_model::{
    network::{
        network::Network,
        port::{next_address, FixedIp, Port, PortOwner},
        subnet::Subnet,
    },
    NetworkId, ProjectId, SubnetId, Txn,
};
use std::sync::Arc;

/// Gives the metadata port the addresses that a subnet's network now needs.
pub(crate) fn settle(txn: &mut Txn<'_>, subnet: SubnetId) {
    if let Some(network) = txn.subnets.get(&subnet).map(|s| s.network_id) {
        settle_network(txn, network);
    }
}

/// Gives a network's metadata port an address in every subnet that has metadata, and makes or removes the port.
///
/// A subnet whose pool is exhausted goes without: its guests read their config drive.
pub(crate) fn settle_network(txn: &mut Txn<'_>, id: NetworkId) {
    let Some(network) = txn.networks.get(&id).cloned() else { return };
    let subnets: Vec<Arc<Subnet>> =
        txn.subnets_of_network(id).filter(|s| s.has_metadata()).cloned().collect();
    let port = txn.metadata_port(id).cloned();
    let mut addresses: Vec<FixedIp> = port.iter().flat_map(|p| p.fixed_ips.iter().copied()).collect();
    addresses.retain(|ip| subnets.iter().any(|s| s.id == ip.subnet_id));
    for subnet in &subnets {
        if addresses.iter().all(|ip| ip.subnet_id != subnet.id) {
            let found = next_address(txn, subnet);
            addresses.extend(found.map(|ip_address| FixedIp { subnet_id: subnet.id, ip_address }));
        }
    }
    match port {
        Some(port) if addresses.is_empty() => crate::command::network::port::remove(txn, port.id),
        Some(port) if port.fixed_ips == addresses => {}
        Some(port) => {
            txn.update::<Port>(&port.id, |p| {
                p.fixed_ips = addresses;
                p.revision += 1;
            });
        }
        None if addresses.is_empty() => {}
        None => put(txn, &network, addresses),
    }
}

/// Gives the networks of a store that was written before there were metadata ports theirs.
pub(crate) fn settle_all(txn: &mut Txn<'_>) {
    let without = |id: &NetworkId| {
        txn.subnets_of_network(*id).any(|s| s.has_metadata()) && txn.metadata_port(*id).is_none()
    };
    let networks: Vec<NetworkId> = txn.networks.keys().copied().filter(without).collect();
    networks.into_iter().for_each(|id| settle_network(txn, id));
}

fn put(txn: &mut Txn<'_>, network: &Network, addresses: Vec<FixedIp>) {
    let new = crate::command::network::port::NewPort {
        device_id: Port::metadata_device(network.id),
        device_owner: PortOwner::Metadata.name().unwrap_or_default().to_owned(),
        fixed_ips: Some(Vec::new()),
        port_security_enabled: Some(false),
        ..crate::command::network::port::NewPort::on(network.id, ProjectId::CLOUD)
    };
    // Without an Ethernet address left the network has no room for guests either.
    if let Ok(port) = crate::command::network::port::build(txn, &new) {
        txn.put(Port { fixed_ips: addresses, ..port });
    }
}
