//! Properties of the rows of generated clouds: networks meet only through routers that join them, no two ports have
//! one address, and access rules permit exactly what security groups permit.

use crate::{
    packet::{Packet, passes},
    world::{World, step},
};
use lenticular_model::{
    NetworkId, PortId, RouterId, State,
    network::{
        mac::Mac,
        network::Network,
        port::{Port, PortOwner},
        security_group::{Direction, Remote, SecurityGroupRule},
    },
};
use lenticular_ovn::{
    northbound::{Row, RowId, Table, all_keys, rows_of},
    ovsdb::Datum,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

fn rows(state: &State) -> Vec<Row> {
    all_keys(state).into_iter().flat_map(|key| rows_of(state, key)).collect()
}

fn text<'r>(row: &'r Row, column: &str) -> Option<&'r str> {
    row.columns.get(column)?.text()
}

/// The switches that packets can reach from each switch, by the rows.
fn joined_by_rows(rows: &[Row]) -> BTreeSet<(RowId, RowId)> {
    let place =
        |row: &Row, column: &str| row.member_of.iter().find(|m| m.column == column).map(|m| m.of.clone());
    let legs: BTreeMap<&str, RowId> = rows
        .iter()
        .filter(|row| row.id.table == Table::LogicalRouterPort)
        .filter_map(|row| Some((text(row, "name")?, place(row, "ports")?)))
        .collect();
    let mut of_router: BTreeMap<RowId, BTreeSet<RowId>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.id.table == Table::LogicalSwitchPort) {
        let router = row.columns.get("options").and_then(|options| options.text_of("router-port"));
        if let (Some(router), Some(switch)) = (router.and_then(|leg| legs.get(leg)), place(row, "ports")) {
            of_router.entry(router.clone()).or_default().insert(switch);
        }
    }
    let pairs = of_router
        .values()
        .flat_map(|all| all.iter().flat_map(|a| all.iter().map(|b| (a.clone(), b.clone()))));
    pairs.filter(|(a, b)| a != b).collect()
}

/// The same by the records: two networks meet if a router has a leg with an address in each.
fn joined_by_records(state: &State) -> BTreeSet<(NetworkId, NetworkId)> {
    let mut of_router: BTreeMap<&str, BTreeSet<NetworkId>> = BTreeMap::new();
    for port in state.all::<Port>() {
        let is_leg = matches!(port.owner(), PortOwner::RouterInterface | PortOwner::RouterGateway);
        let known = port.device_id.parse().is_ok_and(|router: RouterId| state.routers.contains_key(&router));
        let placed = port.fixed_ips.iter().any(|ip| state.subnets.contains_key(&ip.subnet_id));
        if is_leg && known && placed && state.networks.contains_key(&port.network_id) {
            of_router.entry(&port.device_id).or_default().insert(port.network_id);
        }
    }
    let pairs = of_router.values().flat_map(|all| all.iter().flat_map(|a| all.iter().map(|b| (*a, *b))));
    pairs.filter(|(a, b)| a != b).collect()
}

fn world(steps: &[crate::world::Step]) -> World {
    let mut world = World::new();
    for step in steps {
        world.step(step);
    }
    world
}

/// Whether a packet to or from another may pass by the security groups of a port: the oracle.
fn may_pass(state: &State, port: &Port, direction: Direction, packet: &Packet) -> bool {
    if !port.port_security_enabled {
        return true;
    }
    let groups: BTreeSet<_> = port.security_groups.iter().collect();
    state.all::<SecurityGroupRule>().any(|rule| {
        groups.contains(&rule.security_group_id)
            && state.security_groups.contains_key(&rule.security_group_id)
            && rule.direction == direction
            && rule_matches(state, rule, packet)
    })
}

fn rule_matches(state: &State, rule: &SecurityGroupRule, packet: &Packet) -> bool {
    let v4 = rule.ip_version == 4;
    let remote = match rule.direction {
        Direction::Ingress => packet.from,
        Direction::Egress => packet.to,
    };
    let far = match &rule.remote {
        Remote::Any => true,
        Remote::Range(range) => range.contains(&remote),
        Remote::AddressGroup(id) => state
            .address_groups
            .get(id)
            .is_some_and(|group| group.addresses.iter().any(|r| r.contains(&remote))),
        Remote::Group(id) => {
            state.security_groups.contains_key(id)
                && state.all::<Port>().any(|port| {
                    port.security_groups.contains(id) && is_guests(state, port) && has_address(port, remote)
                })
        }
    };
    let within = |number: Option<u32>, low: Option<u32>, high: Option<u32>| {
        number.is_some_and(|n| low.is_none_or(|low| n >= low) && high.is_none_or(|high| n <= high))
    };
    let (low, high) = (rule.port_range_min, rule.port_range_max);
    let kind = match rule.protocol.as_deref() {
        None | Some("ip") => true,
        Some("tcp") => packet.protocol == 6 && within(packet.port, low, high),
        Some("udp") => packet.protocol == 17 && within(packet.port, low, high),
        // Type and code, not a range.
        Some("icmp") => {
            let number = if v4 { 1 } else { 58 };
            packet.protocol == number && packet.port == low && packet.code == high
        }
        Some("icmpv6") => !v4 && packet.protocol == 58 && packet.port == low && packet.code == high,
        Some("47") => packet.protocol == 47,
        Some(_) => false,
    };
    remote.is_ipv4() == v4 && far && kind
}

fn is_guests(state: &State, port: &Port) -> bool {
    let guests = matches!(
        port.owner(),
        PortOwner::Server | PortOwner::Nobody | PortOwner::Other | PortOwner::TrunkSubport
    );
    guests && state.networks.contains_key(&port.network_id)
}

fn has_address(port: &Port, address: IpAddr) -> bool {
    port.fixed_ips.iter().any(|ip| ip.ip_address == address)
}

fn packets() -> impl Strategy<Value = Vec<(u8, u8, u8, u32, u32)>> {
    prop::collection::vec((0..10_u8, 0..10_u8, 0..5_u8, 0..100_u32, 0..100_u32), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn networks_meet_only_by_routers_that_join_them(steps in prop::collection::vec(step(), 1..80)) {
        let world = world(&steps);
        let name = |id: NetworkId| RowId { id: format!("network/{id}"), table: Table::LogicalSwitch };
        let meant: BTreeSet<_> =
            joined_by_records(&world.state).into_iter().map(|(a, b)| (name(a), name(b))).collect();
        prop_assert_eq!(joined_by_rows(&rows(&world.state)), meant);
    }

    #[test]
    fn a_switch_carries_one_network_and_one_wire(steps in prop::collection::vec(step(), 1..80)) {
        let world = world(&steps);
        let rows = rows(&world.state);
        for row in rows.iter().filter(|row| row.id.table == Table::LogicalSwitchPort) {
            prop_assert_eq!(row.member_of.iter().filter(|m| m.column == "ports"
                && m.of.table == Table::LogicalSwitch).count(), 1, "{:?}", row.id);
            if let Some(port) = row.id.id.strip_prefix("port/").and_then(|id| id.parse::<PortId>().ok()) {
                let port: &Arc<Port> = &world.state.ports[&port];
                let switch = format!("network/{}", port.network_id);
                prop_assert!(row.member_of.iter().any(|m| m.of.id == switch));
            }
            if text(row, "type") == Some("localnet") {
                let switch = &row.member_of.first().unwrap().of.id;
                let network: NetworkId = switch.strip_prefix("network/").unwrap().parse().unwrap();
                let network: &Arc<Network> = &world.state.networks[&network];
                prop_assert!(network.physical().is_some());
            }
        }
        let names: Vec<&str> = rows.iter().filter(|r| r.id.table != Table::Acl).filter_map(|r| text(r, "name")).collect();
        prop_assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "a name is there twice");
    }

    #[test]
    fn a_guest_may_send_only_from_its_own_addresses(steps in prop::collection::vec(step(), 1..60)) {
        let world = world(&steps);
        for row in rows(&world.state) {
            let Some(port) = row.id.id.strip_prefix("port/").and_then(|id| id.parse::<PortId>().ok()) else { continue };
            let Some(port) = world.state.ports.get(&port).filter(|p| is_guests(&world.state, p)) else { continue };
            if row.id.table != Table::LogicalSwitchPort {
                continue;
            }
            let may_send: BTreeSet<String> = row.columns.get("port_security").into_iter().flat_map(Datum::atoms)
                .filter_map(|line| line.as_str()).flat_map(str::split_whitespace).map(str::to_owned).collect();
            prop_assert_eq!(may_send.is_empty(), !port.port_security_enabled);
            let mut own: BTreeSet<String> = port.fixed_ips.iter().map(|ip| ip.ip_address.to_string()).collect();
            own.insert(port.mac.to_string());
            for pair in &port.allowed_address_pairs {
                own.insert(pair.ip_address.clone());
                own.extend(pair.mac_address.map(|mac| mac.to_string()));
            }
            // Every IPv6 guest also uses its link-local address, and answers for it.
            for line in row.columns.get("port_security").into_iter().flat_map(Datum::atoms).filter_map(|l| l.as_str()) {
                let (mac, ips) = line.split_once(' ').unwrap_or((line, ""));
                let link = mac.parse::<Mac>().unwrap().link_local().to_string();
                prop_assert_eq!(ips.contains(':'), ips.split(' ').any(|ip| ip == link), "{}", line);
                own.insert(link);
            }
            prop_assert!(may_send.is_subset(&own), "{may_send:?}");
            prop_assert_eq!(port.port_security_enabled, row.member_of.iter().any(|m| m.of.id == "filter"));
        }
    }

    #[test]
    fn access_rules_permit_what_security_groups_permit(
        steps in prop::collection::vec(step(), 20..120),
        draws in packets(),
    ) {
        let world = world(&steps);
        let (state, rows) = (&world.state, rows(&world.state));
        let guests: Vec<&Arc<Port>> = state.all::<Port>().filter(|p| is_guests(state, p) && !p.fixed_ips.is_empty()).collect();
        if guests.is_empty() {
            return Ok(());
        }
        for (a, b, kind, port, code) in draws {
            let (from, to) = (guests[usize::from(a) % guests.len()], guests[usize::from(b) % guests.len()]);
            let (source, target) = (from.fixed_ips[0].ip_address, to.fixed_ips[0].ip_address);
            if source.is_ipv4() != target.is_ipv4() {
                continue;
            }
            let protocol = [6, 17, if source.is_ipv4() { 1 } else { 58 }, 47, 51][usize::from(kind)];
            let has_ports = matches!(protocol, 6 | 17 | 1 | 58);
            // DHCP and neighbour discovery are always permitted.
            let port = if protocol == 17 { port % 60 } else if protocol == 58 { 8 } else { port };
            let packet = Packet {
                from: source, to: target, protocol,
                port: has_ports.then_some(port), code: has_ports.then_some(if protocol == 58 { 90 } else { code }),
            };
            for (port, direction) in [(from, Direction::Egress), (to, Direction::Ingress)] {
                let meant = may_pass(state, port, direction, &packet);
                prop_assert_eq!(passes(&rows, port.id, direction, &packet), meant, "{:?} {:?} {:?}", port.id, direction, packet);
            }
        }
    }
}
