//! A router: a logical router with its routes and source NAT; and its legs, which are ports.

use super::{
    Key, RowId,
    port::{leg_port, qos},
    row::Row,
    schema::Table,
};
use crate::ovsdb::Datum;
use lenticular_model::{
    PortId, RouterId, State,
    host::host::Host,
    network::{
        port::{FixedIp, Port, PortOwner},
        router::Router,
        subnet::Subnet,
    },
};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The most hosts for a router's gateway, standbys included.
const GATEWAYS_MAX: usize = 5;

/// The router's row.
pub(super) fn row_id(id: RouterId) -> RowId {
    RowId::of(Table::LogicalRouter, Key::Router(id))
}

/// The name of a leg's port.
pub(super) fn leg_name(id: PortId) -> String {
    format!("leg-{id}")
}

/// The row of a router's hosts.
fn gateways_row(id: RouterId) -> RowId {
    RowId::part(Table::HaChassisGroup, Key::Router(id), "gateways")
}

/// The router that a leg belongs to.
pub(super) fn router_of<'s>(state: &'s State, port: &Port) -> Option<&'s Arc<Router>> {
    let is_leg = matches!(port.owner(), PortOwner::RouterInterface | PortOwner::RouterGateway);
    state.routers.get(&port.device_id.parse::<RouterId>().ok().filter(|_| is_leg)?)
}

fn subnet_of<'s>(state: &'s State, ip: &FixedIp) -> Option<&'s Arc<Subnet>> {
    state.subnets.get(&ip.subnet_id)
}

/// The rows.
pub(super) fn rows(state: &State, id: RouterId) -> Vec<Row> {
    let Some(router) = state.routers.get(&id) else { return Vec::new() };
    let mut rows = vec![
        Row::new(row_id(id))
            .noted("name", &router.name)
            .with_one("name", format!("router-{id}"))
            .with_one("enabled", router.admin_state_up)
            .with("options", options()),
    ];
    for route in &router.routes {
        rows.push(self::route(id, &route.destination.trunc().to_string(), route.nexthop, None));
    }
    let Some(gateway) = router.gateway else { return rows };
    let own = |port: &&Arc<Port>| router_of(state, port).is_some_and(|of| of.id == id);
    let Some(port) = state.ports.get(&gateway.port_id).filter(own) else { return rows };
    for ip in &port.fixed_ips {
        let nexthop = subnet_of(state, ip).and_then(|subnet| subnet.gateway);
        let Some(nexthop) = nexthop else { continue };
        let all = if nexthop.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
        rows.push(route(id, all, nexthop, Some(port.id)));
    }
    rows.extend(gateways(state, router, port));
    let outer = port.fixed_ips.iter().map(|ip| ip.ip_address).find(IpAddr::is_ipv4);
    if let Some(outer) = outer.filter(|_| gateway.enable_snat) {
        rows.extend(snat(state, id, outer));
    }
    rows
}

/// The options of every router.
pub(super) fn options() -> Datum {
    Datum::map([("always_learn_from_arp_request", "false"), ("dynamic_neigh_routers", "true")])
}

fn route(id: RouterId, to: &str, by: IpAddr, out: Option<PortId>) -> Row {
    let row = Row::new(RowId::part(Table::StaticRoute, Key::Router(id), format!("route/{to}/{by}")))
        .with_one("ip_prefix", to)
        .with_one("nexthop", by.to_string())
        .inside(row_id(id), "static_routes");
    match out {
        Some(port) => row.with_one("output_port", leg_name(port)),
        None => row,
    }
}

/// Packets from the router's own networks leave under its own address.
fn snat(state: &State, id: RouterId, outer: IpAddr) -> Vec<Row> {
    let inner = state.ports_of_router(id).filter(|leg| leg.owner() == PortOwner::RouterInterface);
    let ranges = inner.flat_map(|leg| &leg.fixed_ips).filter_map(|ip| subnet_of(state, ip));
    let ranges: BTreeMap<String, String> = ranges
        .filter(|subnet| subnet.cidr.addr().is_ipv4())
        .map(|subnet| (subnet.id.to_string(), subnet.cidr.trunc().to_string()))
        .collect();
    let rows = ranges.into_iter().map(|(subnet, range)| {
        Row::new(RowId::part(Table::Nat, Key::Router(id), format!("snat/{subnet}")))
            .with_one("type", "snat")
            .with_one("external_ip", outer.to_string())
            .with_one("logical_ip", range)
            .inside(row_id(id), "nat")
    });
    rows.collect()
}

/// The hosts for the router's gateway. Each router has its own order of hosts, so that the load is spread, and most
/// gateways stay in place when hosts are added or removed.
fn gateways(state: &State, router: &Router, port: &Port) -> Vec<Row> {
    let Some(network) = state.networks.get(&port.network_id) else { return Vec::new() };
    // Every host leads to an external network without a physical network.
    let reaches = |host: &Host| match network.physical() {
        Some((physical, _)) => host.hypervisor.wiring.reaches(physical),
        None => host.hypervisor.wiring.is_ovn(),
    };
    let hints = &router.availability_zone_hints;
    let fits = |host: &&Arc<Host>| {
        reaches(host) && host.fence.is_none() && (hints.is_empty() || hints.contains(&host.zone))
    };
    let mut hosts: Vec<(u64, &str)> = state
        .hosts
        .values()
        .filter(fits)
        .map(|host| (rank(router.id.0.as_bytes(), host.id.0.as_bytes()), host.name.as_str()))
        .collect();
    hosts.sort_unstable();
    let group = gateways_row(router.id);
    let mut rows = vec![Row::new(group.clone()).with_one("name", format!("gateways-{}", router.id))];
    for (n, (_, host)) in hosts.into_iter().take(if router.ha { GATEWAYS_MAX } else { 1 }).enumerate() {
        let part = format!("gateways/{host}");
        let row = Row::new(RowId::part(Table::HaChassis, Key::Router(router.id), part))
            .with_one("chassis_name", host)
            .with_one("priority", i64::try_from(GATEWAYS_MAX - n).unwrap_or(0))
            .inside(group.clone(), "ha_chassis");
        rows.push(row);
    }
    rows
}

/// A number for a pair, always the same on every machine.
fn rank(one: &[u8], other: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = one.iter().chain(other).fold(0xcbf2_9ce4_8422_2325, mix);
    (hash ^ (hash >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// A leg's rows: the router's port, and the switch's port that it is plugged into.
pub(super) fn leg(state: &State, port: &Port) -> Vec<Row> {
    let Some(router) = router_of(state, port) else { return Vec::new() };
    let networks = port.fixed_ips.iter().filter_map(|ip| {
        let prefix = subnet_of(state, ip)?.cidr.prefix_len();
        Some(format!("{}/{prefix}", ip.ip_address))
    });
    let networks: Vec<String> = networks.collect();
    if networks.is_empty() {
        return Vec::new();
    }
    let is_gateway = router.gateway.is_some_and(|gateway| gateway.port_id == port.id);
    let mut row = Row::new(RowId::part(Table::LogicalRouterPort, Key::Port(port.id), "leg"))
        .with_one("name", leg_name(port.id))
        .with_one("mac", port.mac.to_string())
        .with("networks", Datum::set(networks))
        .with_one("enabled", super::port::is_enabled(state, port))
        .inside(row_id(router.id), "ports");
    let mut more = BTreeMap::new();
    if is_gateway {
        if let Some(network) = state.networks.get(&port.network_id) {
            row = row.with("options", Datum::map([("gateway_mtu", network.mtu.to_string())]));
            row = row.with_ref("ha_chassis_group", gateways_row(router.id));
        }
        // The gateway's host announces the router's addresses to its neighbours.
        more.insert("nat-addresses".to_owned(), "router".to_owned());
    } else if let Some(advertised) = advertise(state, port) {
        row = row.with("ipv6_ra_configs", Datum::map(advertised));
    }
    let mut rows = vec![row, leg_port(state, port, more)];
    if let Some(gateway) = router.gateway.filter(|_| is_gateway) {
        rows.extend(qos(state, port, gateway.qos_policy_id));
    }
    rows
}

/// The leg's IPv6 router advertisement; `None` if the leg sends none.
fn advertise(state: &State, port: &Port) -> Option<BTreeMap<String, String>> {
    let subnets = port.fixed_ips.iter().filter_map(|ip| subnet_of(state, ip));
    let subnet = subnets.filter(|subnet| subnet.cidr.addr().is_ipv6()).find(|s| s.ipv6_ra_mode.is_some())?;
    let mode = match subnet.ipv6_ra_mode.as_deref()? {
        "dhcpv6-stateful" => "dhcpv6_stateful",
        "dhcpv6-stateless" => "dhcpv6_stateless",
        _ => "slaac",
    };
    let mtu = state.networks.get(&port.network_id).map_or(1500, |network| network.mtu);
    let mut told: BTreeMap<String, String> =
        [("address_mode", mode), ("send_periodic", "true"), ("max_interval", "30"), ("min_interval", "10")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    told.insert("mtu".to_owned(), mtu.to_string());
    let resolver = subnet.dns_nameservers.iter().find(|ip| ip.is_ipv6());
    resolver.map(|resolver| told.insert("rdnss".to_owned(), resolver.to_string()));
    Some(told)
}
