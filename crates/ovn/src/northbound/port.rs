//! A port: a logical switch port with what filters it, tells its guest, and binds it to its host.

use super::{
    filter,
    network::switch,
    qos_policy,
    router::{self, leg_name},
    row::{Membership, Row},
    schema::Table,
    security_group, subnet, Key, RowId,
};
use crate::ovsdb::Datum;
use lenticular_model::{
    compute::migration::Mode,
    network::{
        dhcp_option::for_ovn,
        port::{dns_name, DhcpOption, Mac, Port, PortOwner},
        subnet::Subnet,
    },
    PortId, QosPolicyId, State,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A chassis that is none: a port that is to be nowhere is claimed by nobody.
const NOWHERE: &str = "-";

/// The port's row.
pub(super) fn row_id(id: PortId) -> RowId {
    RowId::of(Table::LogicalSwitchPort, Key::Port(id))
}

/// The rows.
pub(super) fn rows(state: &State, id: PortId) -> Vec<Row> {
    let Some(port) = state.ports.get(&id) else { return Vec::new() };
    if !state.networks.contains_key(&port.network_id) {
        return Vec::new();
    }
    match port.owner() {
        // Addresses that are answered by other rows: those of routers and of networks.
        PortOwner::FloatingIp | PortOwner::Metadata | PortOwner::Dhcp => Vec::new(),
        PortOwner::RouterInterface | PortOwner::RouterGateway => router::leg(state, port),
        _ => guest_port(state, port),
    }
}

/// Whether traffic may flow.
pub(super) fn is_enabled(state: &State, port: &Port) -> bool {
    port.admin_state_up && state.networks.get(&port.network_id).is_some_and(|n| n.admin_state_up)
}

fn guest_port(state: &State, port: &Port) -> Vec<Row> {
    let mut row = Row::new(row_id(port.id))
        .with_one("name", port.id.to_string())
        .with_one("enabled", is_enabled(state, port))
        .with("addresses", Datum::set(addresses(port)))
        .with("options", Datum::map(binding(state, port)))
        .inside(switch(port.network_id), "ports");
    if port.port_security_enabled {
        row = row.with("port_security", Datum::set(may_send(port)));
        row.member_of.insert(Membership { of: filter::group(), column: "ports" });
    }
    let groups = port.security_groups.iter().filter(|id| state.security_groups.contains_key(*id));
    row.member_of.extend(groups.map(|id| Membership { of: security_group::group(*id), column: "ports" }));
    if let Some((parent, tag)) = trunk_place(state, port) {
        row = row.with_one("parent_name", parent.to_string()).with_one("tag_request", i64::from(tag));
    }
    let mut rows = Vec::new();
    for v4 in [true, false] {
        let Some(of) = dhcp_subnet(state, port, v4) else { continue };
        let own: Vec<&DhcpOption> =
            port.extra_dhcp_opts.iter().filter(|option| (option.ip_version == 4) == v4).collect();
        let column = if v4 { "dhcpv4_options" } else { "dhcpv6_options" };
        if own.is_empty() {
            row = row.with_ref(column, subnet::options_row(of.id));
        } else {
            let options = own_options(state, port, of, &own);
            row = row.with_ref(column, options.id.clone());
            rows.push(options);
        }
    }
    rows.extend(dns(state, port));
    rows.extend(qos(state, port, port.qos_policy_id));
    rows.push(row);
    rows
}

/// What a policy says of all that it sends and gets.
pub(super) fn qos(state: &State, port: &Port, policy: Option<QosPolicyId>) -> Vec<Row> {
    let packets = |port_side: &str, _: &str| format!("{port_side} == \"{}\"", port.id);
    let (key, network) = (Key::Port(port.id), port.network_id);
    let of = qos_policy::Subject { key, network, policy, priority: qos_policy::OF_PORT, packets };
    qos_policy::rows(state, &of)
}

/// Where packets to it go: its own addresses, and those of a guest that may send under others.
fn addresses(port: &Port) -> BTreeSet<String> {
    let mut own = port.mac.to_string();
    for ip in &port.fixed_ips {
        own.push(' ');
        own.push_str(&ip.ip_address.to_string());
    }
    let others = port.allowed_address_pairs.iter().filter_map(|pair| pair.mac_address);
    let mut all: BTreeSet<String> =
        others.filter(|mac| *mac != port.mac).map(|mac| mac.to_string()).collect();
    all.insert(own);
    if !port.port_security_enabled {
        all.insert("unknown".to_owned());
    }
    all
}

/// What it may send under: an Ethernet address, with the addresses that go with it. With IPv6 that is the link's own
/// address as well: OVN adds it by itself, but 23.03 lets answers to a search for that neighbour pass with a hop limit of
/// 225 alone, where RFC 4861 has 255, so that nobody who searched ever found the guest.
fn may_send(port: &Port) -> Vec<String> {
    let mut by_mac: BTreeMap<Mac, BTreeSet<String>> = BTreeMap::new();
    let own = by_mac.entry(port.mac).or_default();
    own.extend(port.fixed_ips.iter().map(|ip| ip.ip_address.to_string()));
    for pair in &port.allowed_address_pairs {
        let mac = pair.mac_address.unwrap_or(port.mac);
        by_mac.entry(mac).or_default().insert(pair.ip_address.clone());
    }
    for (mac, ips) in &mut by_mac {
        if ips.iter().any(|ip| ip.contains(':')) {
            ips.insert(mac.link_local().to_string());
        }
    }
    let lines = by_mac
        .into_iter()
        .map(|(mac, ips)| std::iter::once(mac.to_string()).chain(ips).collect::<Vec<_>>().join(" "));
    lines.collect()
}

/// The chassis that may claim it, the first of them first. While a guest travels both hosts have it, and the target is let
/// send once the guest announces itself from there. The host that it came from may still have it as a second: were it
/// forbidden in the moment in which the guest is the other's, it would give the port up before the other has taken it.
/// It has no tap for it any more, soon, and then it has nothing to claim.
fn binding(state: &State, port: &Port) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if port.owner() == PortOwner::TrunkSubport {
        // It is where its parent is.
        return options;
    }
    let name = |id| state.hosts.get(&id).map(|host| host.name.clone());
    let mut chassis: Vec<String> = port.host_id.and_then(name).into_iter().collect();
    if let Some(server) = port.server_id.and_then(|server| state.servers.get(&server)) {
        let ticket = server.ticket.as_ref().filter(|ticket| ticket.mode == Mode::Live);
        let left = state.disk_copies_of_server(server.id).map(|copy| copy.host_id);
        for host in ticket.map(|ticket| ticket.to).into_iter().chain(left).filter_map(name) {
            if !chassis.is_empty() && !chassis.contains(&host) {
                chassis.push(host);
            }
        }
    }
    if chassis.is_empty() && !port.binding_host.is_empty() {
        chassis.push(port.binding_host.clone());
    }
    if chassis.len() > 1 {
        options.insert("activation-strategy".to_owned(), "rarp".to_owned());
    }
    let chassis = if chassis.is_empty() { NOWHERE.to_owned() } else { chassis.join(",") };
    options.insert("requested-chassis".to_owned(), chassis);
    options
}

/// The parent port and the tag of a trunk's subport.
fn trunk_place(state: &State, port: &Port) -> Option<(PortId, u16)> {
    let trunk = state.trunk_of_subport(port.id)?;
    let sub = trunk.sub_ports.iter().find(|sub| sub.port_id == port.id)?;
    Some((trunk.port_id, sub.segmentation_id))
}

/// The subnet whose DHCP answers the port: the first of its addresses' that has it. One of another network, which a damaged
/// store may name, answers nobody here.
fn dhcp_subnet<'s>(state: &'s State, port: &Port, v4: bool) -> Option<&'s Arc<Subnet>> {
    let subnets = port.fixed_ips.iter().filter_map(|ip| state.subnets.get(&ip.subnet_id));
    let here =
        |subnet: &&Arc<Subnet>| subnet.network_id == port.network_id && subnet.cidr.addr().is_ipv4() == v4;
    subnets.filter(here).find(|subnet| subnet.enable_dhcp)
}

/// The subnet's options with the port's own over them. What OVN has no name for is left out.
fn own_options(state: &State, port: &Port, of: &Subnet, own: &[&DhcpOption]) -> Row {
    let mut options = subnet::options(state, of);
    // What a record says from a time when more was taken is left out.
    options.extend(own.iter().filter_map(|option| {
        let (name, value) = for_ovn(&option.name, &option.value, option.ip_version).ok()??;
        Some((name.to_owned(), value))
    }));
    let part = if of.cidr.addr().is_ipv4() { "dhcp4" } else { "dhcp6" };
    Row::new(RowId::part(Table::DhcpOptions, Key::Port(port.id), part))
        .with_one("cidr", of.cidr.to_string())
        .with("options", Datum::map(options))
}

/// Its name, for guests of its network that ask.
fn dns(state: &State, port: &Port) -> Option<Row> {
    let name = dns_name(state, port).to_ascii_lowercase();
    if name.is_empty() || port.fixed_ips.is_empty() {
        return None;
    }
    let of_network =
        || state.networks.get(&port.network_id).map(|n| n.dns_domain.clone()).unwrap_or_default();
    let domain = if port.dns_domain.is_empty() { of_network() } else { port.dns_domain.clone() };
    let domain = domain.trim_end_matches('.');
    let addresses: Vec<String> = port.fixed_ips.iter().map(|ip| ip.ip_address.to_string()).collect();
    let mut records = vec![(name.clone(), addresses.join(" "))];
    if !domain.is_empty() {
        records.push((format!("{name}.{domain}").to_ascii_lowercase(), addresses.join(" ")));
    }
    let row = Row::new(RowId::part(Table::Dns, Key::Port(port.id), "dns"))
        .with("records", Datum::map(records))
        .inside(switch(port.network_id), "dns_records");
    Some(row)
}

/// What a router's leg is called, as seen from its switch's port.
pub(super) fn leg_port(state: &State, port: &Port, more: BTreeMap<String, String>) -> Row {
    let mut options = more;
    options.insert("router-port".to_owned(), leg_name(port.id));
    Row::new(row_id(port.id))
        .with_one("name", port.id.to_string())
        .with_one("type", "router")
        .with_one("enabled", is_enabled(state, port))
        .with("addresses", Datum::one("router"))
        .with("options", Datum::map(options))
        .inside(switch(port.network_id), "ports")
}
