//! Aggregates: their names, their hosts, and the zones of their hosts.

use crate::world::World;
use lenticular_control::command::compute::aggregate;
use lenticular_model::{compute::aggregate::ZONE_KEY, error::Kind, host::host::Host};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn zone(value: Option<&str>) -> BTreeMap<String, Option<String>> {
    [(ZONE_KEY.to_owned(), value.map(str::to_owned))].into()
}

#[test]
fn an_aggregate_gives_its_hosts_their_zone_and_they_get_their_own_back() {
    let mut world = World::new(2);
    let east = world.aggregate("east", &[0], &[(ZONE_KEY, "east")]);
    assert_eq!([world.zone(0), world.zone(1)], ["east", "nova"]);
    let kind = |world: &mut World, host: &str, number| {
        world.run(|txn, caller| aggregate::add_host(txn, caller, number, host)).unwrap_err().kind
    };
    assert_eq!(kind(&mut world, "h0", east), Kind::Conflict, "it is there already");
    assert_eq!(kind(&mut world, "h9", east), Kind::NotFound);
    let west = world.aggregate("west", &[1], &[(ZONE_KEY, "west")]);
    assert_eq!(kind(&mut world, "h0", west), Kind::Conflict, "a host is in one zone");
    world.must(|txn, caller| aggregate::set_metadata(txn, caller, east, zone(Some("south"))));
    assert_eq!(world.zone(0), "south");
    let unset = world.run(|txn, caller| aggregate::set_metadata(txn, caller, east, zone(None)));
    assert_eq!(unset.unwrap_err().kind, Kind::Invalid, "a zone does not vanish");
    let full = world.run(|txn, caller| aggregate::delete(txn, caller, east));
    assert_eq!(full.unwrap_err().kind, Kind::Invalid, "it has a host");
    world.must(|txn, caller| aggregate::remove_host(txn, caller, east, "h0"));
    assert_eq!(world.zone(0), "nova");
    world.must(|txn, caller| aggregate::delete(txn, caller, east));
    assert!(aggregate::by_number(&world.state, east).is_err());
}

#[test]
fn hosts_with_servers_stay_in_their_zone() {
    let mut world = World::new(1);
    let (_, host) = world.place(|_| {});
    assert_eq!(host, Some(0));
    let east = world.aggregate("east", &[], &[(ZONE_KEY, "east")]);
    let refused = world.run(|txn, caller| aggregate::add_host(txn, caller, east, "h0"));
    assert_eq!(refused.unwrap_err().kind, Kind::Conflict);
    // The host may be in an aggregate without a zone, or with the host's own zone.
    let plain = world.aggregate("plain", &[0], &[("ssd", "true")]);
    let named = world.aggregate("named", &[0], &[(ZONE_KEY, "nova")]);
    let refused = world.run(|txn, caller| aggregate::set_metadata(txn, caller, plain, zone(Some("east"))));
    assert_eq!(refused.unwrap_err().kind, Kind::Invalid);
    world.must(|txn, caller| aggregate::remove_host(txn, caller, named, "h0"));
    assert_eq!(world.zone(0), "nova");
}

#[test]
fn no_two_aggregates_have_the_same_name() {
    let mut world = World::new(0);
    let (a, _) = (world.aggregate("a", &[], &[]), world.aggregate("b", &[], &[]));
    let again = world.run(|txn, caller| aggregate::create(txn, caller, "a".to_owned(), None));
    assert_eq!(again.unwrap_err().kind, Kind::Conflict);
    let renamed = |world: &mut World, name: &str| {
        world.run(|txn, caller| aggregate::update(txn, caller, a, Some(name.to_owned()), None))
    };
    assert_eq!(renamed(&mut world, "b").unwrap_err().kind, Kind::Conflict);
    assert_eq!(renamed(&mut world, "a").unwrap().name, "a");
}

#[derive(Debug, Clone)]
enum Ask {
    Add(usize, usize),
    Remove(usize, usize),
    Zone(usize, usize),
    Place,
    Forget(usize),
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        5 => (0_usize..3, 0_usize..4).prop_map(|(a, h)| Ask::Add(a, h)),
        3 => (0_usize..3, 0_usize..4).prop_map(|(a, h)| Ask::Remove(a, h)),
        3 => (0_usize..3, 0_usize..3).prop_map(|(a, z)| Ask::Zone(a, z)),
        1 => Just(Ask::Place),
        1 => (0_usize..4).prop_map(Ask::Forget),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_host_is_in_the_zone_of_its_aggregates_and_in_one_alone(asks in proptest::collection::vec(asks(), 0..40)) {
        let mut world = World::new(4);
        let all = ["a", "b", "c"].map(|name| world.aggregate(name, &[], &[]));
        for ask in asks {
            let zones: Vec<(String, bool)> = world.state.hosts.values().map(|h| {
                (h.zone.clone(), world.state.taken_of_host(h.id).servers > 0)
            }).collect();
            match ask {
                Ask::Add(a, h) => drop(world.run(|t, c| aggregate::add_host(t, c, all[a], &format!("h{h}")))),
                Ask::Remove(a, h) => drop(world.run(|t, c| aggregate::remove_host(t, c, all[a], &format!("h{h}")))),
                Ask::Zone(a, z) => {
                    let to = zone(Some(["x", "y", "nova"][z]));
                    drop(world.run(|t, c| aggregate::set_metadata(t, c, all[a], to)));
                }
                Ask::Place => drop(world.create(|_| {})),
                Ask::Forget(h) => {
                    let host = world.host(h);
                    world.must(|txn, _| { lenticular_control::lifecycle::host::leave_aggregates(txn, host); Ok(()) });
                    // The test keeps the host's record after its retirement: the host is in no aggregate's zone.
                    world.must(|txn, _| {
                        txn.update::<Host>(&host, |h| {
                            h.zone = h.own_zone.take().unwrap_or(h.zone.clone());
                        });
                        Ok(())
                    });
                    continue;
                }
            }
            for (host, (before, has_servers)) in world.state.hosts.values().zip(zones) {
                let given: Vec<&str> =
                    world.state.aggregates_of_host(host.id).filter_map(|a| a.zone()).collect();
                prop_assert!(given.iter().all(|zone| *zone == host.zone));
                prop_assert_eq!(given.is_empty(), host.own_zone.is_none());
                prop_assert!(!has_servers || before == host.zone, "a server's zone changed under it");
            }
        }
        world.check_indexes();
    }
}
