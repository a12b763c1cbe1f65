//! A port: a logical switch port with its filters, its DHCP options, and its binding to a host.

use super::{
    Key, RowId, filter,
    network::switch,
    qos_policy,
    router::{self, leg_name},
    row::{Membership, Row},
    schema::Table,
    security_group, subnet,
};
use crate::ovsdb::Datum;
use lenticular_model::{
    PortId, QosPolicyId, State,
    compute::migration::Mode,
    network::{
        dhcp_option::for_ovn,
        mac::Mac,
        port::{DhcpOption, Port, PortOwner, dns_name},
        subnet::Subnet,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The name of no chassis: a port without a host must not be claimed by any chassis.
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
        // Other rows answer for these addresses: those of routers and of networks.
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

/// The QoS rows for all traffic of the port.
pub(super) fn qos(state: &State, port: &Port, policy: Option<QosPolicyId>) -> Vec<Row> {
    let packets = |port_side: &str, _: &str| format!("{port_side} == \"{}\"", port.id);
    let (key, network) = (Key::Port(port.id), port.network_id);
    let of = qos_policy::Subject { key, network, policy, priority: qos_policy::OF_PORT, packets };
    qos_policy::rows(state, &of)
}

/// The addresses of packets for the port: its own, its address pairs', and `unknown` for an unfiltered port.
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

/// The source addresses that the port may use: an Ethernet address, with its IP addresses. For IPv6 the link-local
/// address is included. OVN adds it itself, but OVN 23.03 then permits neighbour advertisements only with a hop
/// limit of 225, while RFC 4861 requires 255. So no neighbour would find the guest.
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

/// The chassis that may claim the port, the first of them first. During a move both hosts are named, and the target
/// may send once the guest announces itself from there. After the move the source may stay as the second chassis.
/// If it were forbidden at the moment of the handover, it would release the port before the target has claimed it.
/// Soon the source has no tap for the port, and then has nothing to claim.
fn binding(state: &State, port: &Port) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    if port.owner() == PortOwner::TrunkSubport {
        // A subport is on its parent's host.
        return options;
    }
    let name = |id| state.hosts.get(&id).map(|host| host.name.clone());
    let mut chassis: Vec<String> = port.host_id.and_then(name).into_iter().collect();
    if let Some(server) = port.server_id.and_then(|server| state.servers.get(&server)) {
        let ticket = server.ticket.as_ref().filter(|ticket| ticket.mode == Mode::Live);
        let left = state.left_disks_of_server(server.id).filter_map(|disk| disk.host_id);
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

/// The parent port and the VLAN tag of a trunk's subport.
fn trunk_place(state: &State, port: &Port) -> Option<(PortId, u16)> {
    let trunk = state.trunk_of_subport(port.id)?;
    let sub = trunk.sub_ports.iter().find(|sub| sub.port_id == port.id)?;
    Some((trunk.port_id, sub.segmentation_id))
}

/// The subnet whose DHCP answers the port: the first subnet of the port's addresses with DHCP. A subnet of another
/// network, which a damaged store may name, is ignored.
fn dhcp_subnet<'s>(state: &'s State, port: &Port, v4: bool) -> Option<&'s Arc<Subnet>> {
    let subnets = port.fixed_ips.iter().filter_map(|ip| state.subnets.get(&ip.subnet_id));
    let here =
        |subnet: &&Arc<Subnet>| subnet.network_id == port.network_id && subnet.cidr.addr().is_ipv4() == v4;
    subnets.filter(here).find(|subnet| subnet.enable_dhcp)
}

/// The subnet's options, overridden by the port's own. Options without a name in OVN are left out.
fn own_options(state: &State, port: &Port, of: &Subnet, own: &[&DhcpOption]) -> Row {
    let mut options = subnet::options(state, of);
    // Options in old records that are no longer valid are left out.
    options.extend(own.iter().filter_map(|option| {
        let (name, value) = for_ovn(&option.name, &option.value, option.ip_version).ok()??;
        Some((name.to_owned(), value))
    }));
    let part = if of.cidr.addr().is_ipv4() { "dhcp4" } else { "dhcp6" };
    Row::new(RowId::part(Table::DhcpOptions, Key::Port(port.id), part))
        .with_one("cidr", of.cidr.to_string())
        .with("options", Datum::map(options))
}

/// The port's DNS name, for guests of its network.
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

/// The switch's side of a router's leg.
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
