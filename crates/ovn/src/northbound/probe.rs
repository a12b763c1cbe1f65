//! The network of the hosts' probe ports: a logical switch, a router on it that each host's switch answers for, and a
//! port for each host.

use super::{Key, RowId, router::options, row::Row, schema::Table};
use crate::ovsdb::Datum;
use lenticular_model::{
    HostId, State,
    host::probe::{PREFIX, ROUTER, port_name, router_mac},
};

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
    ]
}

/// A host's port; none if the host is not on OVN.
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
    vec![row]
}
