//! The northbound rows of a small cloud with one of each resource, as reviewed.

use crate::world::{PortShape, Step, World};
use lenticular_ovn::northbound::{Row, all_keys, rows_of};
use std::fmt::Write as _;

fn port(owner: u8, network: u8) -> PortShape {
    PortShape {
        network,
        subnet: network,
        host: Some(0),
        groups: vec![0],
        secure: owner == 0,
        up: true,
        owner,
        device: 0,
        pair: false,
        option: owner == 0,
        policy: None,
    }
}

/// An external network, a tenant's network with a server's port, and the router between them.
fn cloud() -> World {
    let mut world = World::new();
    let steps = [
        Step::Host { n: 0, physical: true, fenced: false },
        Step::Policy { n: 0, kbps: 1_000 },
        Step::Network { n: 0, tenant: 0, external: true, up: true, mtu: 1_500, vlan: true, policy: None },
        Step::Network {
            n: 1,
            tenant: 0,
            external: false,
            up: true,
            mtu: 1_442,
            vlan: false,
            policy: Some(0),
        },
        Step::Subnet { n: 0, network: 0, v6: false, dhcp: false, gateway: true },
        Step::Subnet { n: 1, network: 1, v6: false, dhcp: true, gateway: true },
        Step::Group { n: 0, stateful: true },
        Step::Rule { n: 0, group: 0, ingress: true, v6: false, remote: 0, protocol: 1 },
        Step::Addresses { n: 0, ranges: 2 },
        Step::Router { n: 0, gateway: Some(0), snat: true, distributed: true, route: false, policy: None },
        Step::Port { n: 0, port: port(0, 1) },
        Step::Port { n: 1, port: port(5, 1) },
        Step::Port { n: 2, port: port(6, 0) },
        Step::Floating { n: 0, router: Some(0), port: Some(0), policy: None },
        Step::Floating { n: 1, router: Some(0), port: None, policy: None },
        Step::Forwarding { n: 0, floating: 1, port: 0, outer: 0 },
    ];
    for step in &steps {
        world.step(step);
    }
    world
}

/// A row in a few lines: its table and id, its columns, and where it belongs.
fn text(row: &Row) -> String {
    let mut text = format!("{:?} {}\n", row.id.table, row.id.id);
    for (column, value) in &row.columns {
        let _ = writeln!(text, "    {column}: {}", value.to_json());
    }
    for (column, id) in &row.refs {
        let _ = writeln!(text, "    {column} → {:?} {}", id.table, id.id);
    }
    for place in &row.member_of {
        let _ = writeln!(text, "    in {} of {:?} {}", place.column, place.of.table, place.of.id);
    }
    text
}

#[test]
fn the_rows_of_a_small_cloud_are_as_reviewed() {
    let world = cloud();
    let rows = all_keys(&world.state).into_iter().flat_map(|key| rows_of(&world.state, key));
    insta::assert_snapshot!(rows.map(|row| text(&row)).collect::<String>());
}
