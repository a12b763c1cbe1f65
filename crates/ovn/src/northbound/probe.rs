//! The network of the hosts' probe ports: a logical switch, a router on it that each host's switch answers for, and two
//! ports for each host: its own and its canary's.

use super::{Key, RowId, router::options, row::Row, schema::Table};
use crate::ovsdb::Datum;
use lenticular_model::{
    HostId, State,
    host::{
        canary::{self, METADATA, SCRIPT, network_id},
        probe::{PREFIX, ROUTER, port_name, router_mac},
    },
    network::{
        mtu::TUNNELED,
        network::{METADATA_V4, metadata_mac, metadata_port},
    },
};
use std::net::Ipv4Addr;

const ROUTER_PORT: &str = "probe-router-port";

fn switch() -> RowId {
    RowId::of(Table::LogicalSwitch, Key::ProbeNetwork)
}

/// The rows that all hosts share.
pub(super) fn network_rows() -> Vec<Row> {
    let config = [("mcast_snoop", "false"), ("vlan-passthru", "false")];
    let router = RowId::part(Table::LogicalRouter, Key::ProbeNetwork, "router");
    vec![
        Row::new(switch()).with_one("name", "probes").with("other_config", Datum::map(config)),
        Row::new(router.clone())
            .with_one("name", "probe-router")
            .with_one("enabled", true)
            .with("options", options()),
        Row::new(RowId::part(Table::LogicalRouterPort, Key::ProbeNetwork, "leg"))
            .with_one("name", ROUTER_PORT)
            .with_one("mac", router_mac().to_string())
            .with("networks", Datum::set([format!("{ROUTER}/{PREFIX}")]))
            .with_one("enabled", true)
            .inside(router, "ports"),
        Row::new(RowId::part(Table::LogicalSwitchPort, Key::ProbeNetwork, "leg"))
            .with_one("name", format!("{ROUTER_PORT}-leg"))
            .with_one("type", "router")
            .with_one("enabled", true)
            .with("addresses", Datum::one("router"))
            .with("options", Datum::map([("router-port", ROUTER_PORT)]))
            .inside(switch(), "ports"),
        // Each host answers here for the metadata of its canary. Its address in the network is the way there.
        Row::new(RowId::part(Table::LogicalSwitchPort, Key::ProbeNetwork, "metadata"))
            .with_one("name", metadata_port(network_id()))
            .with_one("type", "localport")
            .with("addresses", Datum::one(format!("{} {METADATA} {METADATA_V4}", metadata_mac(network_id()))))
            .inside(switch(), "ports"),
        Row::new(dhcp_row())
            .with_one(
                "cidr",
                format!("{}/{PREFIX}", Ipv4Addr::from_bits(ROUTER.to_bits() & !(u32::MAX >> PREFIX))),
            )
            .with("options", Datum::map(dhcp_options())),
    ]
}

fn dhcp_row() -> RowId {
    RowId::part(Table::DhcpOptions, Key::ProbeNetwork, "dhcp")
}

/// The options for canaries: their firmware starts what the boot file's name leads to.
fn dhcp_options() -> [(&'static str, String); 6] {
    [
        ("server_id", ROUTER.to_string()),
        ("server_mac", router_mac().to_string()),
        ("lease_time", "3600".to_owned()),
        ("mtu", TUNNELED.to_string()),
        ("router", METADATA.to_string()),
        ("bootfile_name", format!("\"http://{METADATA_V4}{SCRIPT}\"")),
    ]
}

/// The ports of a host and of its canary; none if the host is not on OVN.
pub(super) fn host_rows(state: &State, id: HostId) -> Vec<Row> {
    let Some(host) = state.hosts.get(&id).filter(|host| host.hypervisor.wiring.is_ovn()) else {
        return Vec::new();
    };
    let Some((mac, address)) = host.probe_addresses() else { return Vec::new() };
    let own = format!("{mac} {address}");
    let row = Row::new(RowId::of(Table::LogicalSwitchPort, Key::Probe(id)))
        .with_one("name", port_name(id))
        .with_one("enabled", true)
        .with("addresses", Datum::set([own.clone()]))
        .with("port_security", Datum::set([own]))
        .with("options", Datum::map([("requested-chassis", host.name.as_str())]))
        .inside(switch(), "ports");
    let canary = canary::addresses(host.number).map(|(mac, address)| {
        let own = format!("{mac} {address}");
        Row::new(RowId::part(Table::LogicalSwitchPort, Key::Probe(id), "canary"))
            .with_one("name", canary::port_id(id).to_string())
            .with_one("enabled", true)
            .with("addresses", Datum::set([own.clone()]))
            .with("port_security", Datum::set([own]))
            .with("options", Datum::map([("requested-chassis", host.name.as_str())]))
            .with_ref("dhcpv4_options", dhcp_row())
            .inside(switch(), "ports")
    });
    std::iter::once(row).chain(canary).collect()
}
