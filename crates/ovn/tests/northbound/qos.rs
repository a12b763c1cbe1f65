//! The rows of a QoS policy: for ports, for floating IPs where they are translated, and for routers' gateways.

use crate::world::{FLOATING, PORT, PortShape, Step, World, host, id, subnet};
use lenticular_model::{FloatingIpId, PortId};
use lenticular_ovn::{
    northbound::{Key, Row, Table, rows_of},
    ovsdb::Datum,
};

const SERVER: u8 = 0;
const GATEWAY: u8 = 1;
const HOLDER: u8 = 9;

fn port(network: u8, subnet: u8, owner: u8) -> PortShape {
    PortShape {
        network,
        subnet,
        host: Some(0),
        groups: Vec::new(),
        secure: false,
        up: true,
        owner,
        device: 0,
        pair: false,
        option: false,
        policy: None,
    }
}

/// A server behind a router with a floating IP that has a policy of 1000 kbit/s out and 9 in, which is marked.
fn world(distributed: bool) -> World {
    let mut world = World::new();
    world.change(|txn| {
        txn.put(host(0, true, false));
        txn.put(subnet(0, 0, false, false, true));
        txn.put(subnet(1, 1, false, true, true));
    });
    let network = |n, external| Step::Network {
        n,
        tenant: 0,
        external,
        up: true,
        mtu: 1442,
        vlan: external,
        policy: None,
    };
    let router =
        Step::Router { n: 0, gateway: Some(GATEWAY), snat: true, distributed, route: false, policy: None };
    for step in [
        network(0, true),
        network(1, false),
        Step::Policy { n: 0, kbps: 1_000 },
        Step::Policy { n: 1, kbps: 7 },
        Step::Port { n: SERVER, port: port(1, 1, 0) },
        Step::Port { n: GATEWAY, port: port(0, 0, 6) },
        Step::Port { n: HOLDER, port: port(0, 0, 7) },
        router,
        Step::Floating { n: 0, router: Some(0), port: Some(SERVER), policy: Some(0) },
    ] {
        world.step(&step);
    }
    world
}

/// The QoS rows of a key: direction, priority and match, then the action.
fn lines(world: &World, key: Key) -> Vec<String> {
    let rows = rows_of(&world.state, key).into_iter().filter(|row| row.id.table == Table::Qos);
    let shown = |row: &Row| {
        let text = |column| row.columns[column].text().unwrap().to_owned();
        let numbers = |column| match row.columns.get(column) {
            Some(Datum::Map(map)) => {
                map.iter().map(|(key, n)| format!(" {}={n:?}", key.as_str().unwrap())).collect()
            }
            _ => String::new(),
        };
        assert!(row.member_of.iter().all(|of| of.column == "qos_rules"));
        let priority = row.columns["priority"].atoms().map(|n| format!("{n:?}")).collect::<String>();
        let (direction, packets) = (text("direction"), text("match"));
        format!("{direction} {priority} {packets}:{}{}", numbers("bandwidth"), numbers("action"))
            .replace("Integer", "")
    };
    rows.map(|row| shown(&row)).collect()
}

fn floating() -> Key {
    Key::FloatingIp(FloatingIpId(id(FLOATING, 0)))
}

fn port_key(n: u8) -> Key {
    Key::Port(PortId(id(PORT, n)))
}

#[test]
fn a_floating_ip_is_limited_where_it_is_translated() {
    let gateway = id(PORT, GATEWAY);
    for (distributed, resident) in
        [(true, id(PORT, SERVER).to_string()), (false, format!("cr-leg-{gateway}"))]
    {
        let world = world(distributed);
        let there = format!("is_chassis_resident(\"{resident}\")");
        assert_eq!(
            lines(&world, floating()),
            [
                format!(
                    "from-lport (2003) inport == \"{gateway}\" && ip4.src == 203.0.113.10 && {there}: rate=(1000) dscp=(10)"
                ),
                format!(
                    "to-lport (2003) outport == \"{gateway}\" && ip4.dst == 203.0.113.10 && {there}: burst=(500) rate=(9)"
                ),
            ]
        );
        assert!(lines(&world, port_key(SERVER)).is_empty(), "its guest's other packets are free");
    }
}

#[test]
fn a_floating_ip_without_a_policy_has_its_networks_policy_and_an_unassociated_one_has_none() {
    let mut world = world(true);
    world.step(&Step::Floating { n: 0, router: Some(0), port: Some(SERVER), policy: None });
    assert!(lines(&world, floating()).is_empty());
    world.step(&Step::Network {
        n: 0,
        tenant: 0,
        external: true,
        up: true,
        mtu: 1442,
        vlan: true,
        policy: Some(1),
    });
    assert!(lines(&world, floating())[0].ends_with(" rate=(7) dscp=(10)"));
    world.step(&Step::Floating { n: 0, router: Some(0), port: Some(SERVER), policy: Some(0) });
    assert!(lines(&world, floating())[0].ends_with(" rate=(1000) dscp=(10)"), "its own goes first");
    world.step(&Step::Floating { n: 0, router: None, port: None, policy: Some(0) });
    assert!(lines(&world, floating()).is_empty());
}

#[test]
fn a_routers_gateway_has_its_own_policy_or_its_networks_policy() {
    let mut world = world(true);
    assert!(lines(&world, port_key(GATEWAY)).is_empty());
    let gateway = |policy| Step::Router {
        n: 0,
        gateway: Some(GATEWAY),
        snat: true,
        distributed: true,
        route: false,
        policy,
    };
    world.step(&gateway(Some(0)));
    let own = format!("from-lport (2002) inport == \"{}\": rate=(1000) dscp=(10)", id(PORT, GATEWAY));
    assert_eq!(lines(&world, port_key(GATEWAY))[0], own);
    world.step(&Step::Network {
        n: 0,
        tenant: 0,
        external: true,
        up: true,
        mtu: 1442,
        vlan: true,
        policy: Some(1),
    });
    assert_eq!(lines(&world, port_key(GATEWAY))[0], own);
    world.step(&gateway(None));
    assert!(lines(&world, port_key(GATEWAY))[0].ends_with(" rate=(7) dscp=(10)"));
}

#[test]
fn a_port_has_one_row_for_each_direction() {
    let mut world = world(true);
    world.step(&Step::Port { n: SERVER, port: PortShape { policy: Some(0), ..port(1, 1, 0) } });
    let name = id(PORT, SERVER);
    assert_eq!(
        lines(&world, port_key(SERVER)),
        [
            format!("from-lport (2002) inport == \"{name}\": rate=(1000) dscp=(10)"),
            format!("to-lport (2002) outport == \"{name}\": burst=(500) rate=(9)"),
        ]
    );
}
