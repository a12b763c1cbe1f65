//! A change dirties every key whose rows differ afterwards.

use crate::world::{PortShape, Step, World, step};
use lenticular_ovn::northbound::{Key, all_keys, dirty::dirty, rows_of};
use proptest::prelude::*;
use std::collections::BTreeSet;

/// After each step, keys that are not dirty have the rows that they had.
fn check(steps: &[Step]) -> Result<(), TestCaseError> {
    let mut world = World::new();
    for step in steps {
        let before = world.state.clone();
        let update = world.step(step);
        let mut keys = BTreeSet::new();
        for (kind, id) in &update.changes {
            dirty(&before, &update.state, *kind, id, &mut keys);
        }
        let all: BTreeSet<Key> = all_keys(&before).into_iter().chain(all_keys(&update.state)).collect();
        for key in all.difference(&keys) {
            prop_assert_eq!(rows_of(&before, *key), rows_of(&update.state, *key), "{} after {:?}", key, step);
        }
    }
    Ok(())
}

/// The switch of a network whose router forwards ports gets the load balancer, also if the network comes last.
#[test]
fn a_network_that_comes_after_its_leg_forwards_ports() {
    let port = |network, owner, device| PortShape {
        network,
        subnet: 0,
        host: None,
        groups: Vec::new(),
        secure: false,
        up: false,
        owner,
        device,
        pair: false,
        option: false,
        policy: None,
    };
    let (snat, distributed, route, policy) = (false, false, false, None);
    let steps = [
        Step::Port { n: 6, port: port(0, 0, 0) },
        Step::Floating { n: 1, router: Some(1), port: None, policy },
        Step::Forwarding { n: 0, floating: 1, port: 0, outer: 1 },
        Step::Router { n: 1, gateway: Some(6), snat, distributed, route, policy },
        Step::Port { n: 0, port: port(2, 5, 1) },
        Step::Network { n: 2, tenant: 0, external: false, up: false, mtu: 1442, vlan: false, policy },
    ];
    check(&steps).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn keys_that_are_not_dirty_have_the_rows_they_had(steps in prop::collection::vec(step(), 1..60)) {
        check(&steps)?;
    }

    #[test]
    fn rows_have_ids_of_their_key_and_no_two_the_same(steps in prop::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        let mut seen = BTreeSet::new();
        for key in all_keys(&world.state) {
            for row in rows_of(&world.state, key) {
                prop_assert_eq!(Key::of_row(&row.id.id), Ok(key));
                prop_assert!(seen.insert(row.id.clone()), "{:?} is there twice", row.id);
                let own: BTreeSet<&str> = row.id.table.columns().iter().copied().collect();
                for column in row.columns.keys().chain(row.refs.keys()) {
                    prop_assert!(own.contains(column), "{column} of {:?} is not compared", row.id.table);
                }
                prop_assert!(row.id.table.is_root() || !row.member_of.is_empty(), "{:?} hangs on nothing", row.id);
                for place in &row.member_of {
                    prop_assert!(place.of.table.sets().contains(&place.column));
                }
            }
        }
    }
}
