//! A network: a logical switch, its metadata port, and the bridge to its physical network.

use super::{Key, RowId, row::Row, schema::Table};
use crate::ovsdb::Datum;
use lenticular_model::{
    NetworkId, State, SubnetId,
    network::network::{METADATA_V4, METADATA_V6, metadata_mac, metadata_port, physical_port},
};
use std::net::IpAddr;

/// The switch's row.
pub(super) fn switch(id: NetworkId) -> RowId {
    RowId::of(Table::LogicalSwitch, Key::Network(id))
}

/// The rows.
pub(super) fn rows(state: &State, id: NetworkId) -> Vec<Row> {
    let Some(network) = state.networks.get(&id) else { return Vec::new() };
    let config = [("mcast_snoop", "false"), ("vlan-passthru", "false")];
    let mut rows = vec![
        Row::new(switch(id))
            .noted("name", &network.name)
            .with_one("name", format!("network-{id}"))
            .with("other_config", Datum::map(config)),
    ];
    if state.subnets_of_network(id).any(|subnet| subnet.enable_dhcp) {
        rows.push(metadata(state, id));
    }
    if let Some((physical, vlan)) = network.physical() {
        let mut row = Row::new(RowId::part(Table::LogicalSwitchPort, Key::Network(id), "physical"))
            .with_one("name", physical_port(id))
            .with_one("type", "localnet")
            .with("addresses", Datum::one("unknown"))
            .with("options", Datum::map([("network_name", physical)]))
            .inside(switch(id), "ports");
        if let Some(vlan) = vlan {
            row = row.with_one("tag_request", i64::from(vlan));
        }
        rows.push(row);
    }
    rows
}

/// Each host answers on this port itself: packets to it never leave the host.
fn metadata(state: &State, id: NetworkId) -> Row {
    let mut addresses = vec![metadata_mac(id).to_string()];
    addresses.extend(metadata_addresses(state, id).map(|(_, address)| address.to_string()));
    addresses.extend([METADATA_V4.to_string(), METADATA_V6.to_string()]);
    Row::new(RowId::part(Table::LogicalSwitchPort, Key::Network(id), "metadata"))
        .with_one("name", metadata_port(id))
        .with_one("type", "localport")
        .with("addresses", Datum::one(addresses.join(" ")))
        .inside(switch(id), "ports")
}

/// The addresses of the metadata service in the network's own subnets, for the routes of guests.
pub(super) fn metadata_addresses(
    state: &State,
    id: NetworkId,
) -> impl Iterator<Item = (SubnetId, IpAddr)> + '_ {
    state
        .metadata_port(id)
        .into_iter()
        .flat_map(|port| port.fixed_ips.iter().map(|ip| (ip.subnet_id, ip.ip_address)))
}
