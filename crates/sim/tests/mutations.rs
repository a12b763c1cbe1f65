//! Rules broken on purpose: the invariants notice, so that their silence means something.

use lenticular_sim::{run, Config, Mutation};
use std::collections::BTreeSet;

/// The invariants that runs of some seeds with this mutation violate.
fn violated(mutation: Mutation) -> BTreeSet<u8> {
    let config = |seed| Config { mutation: Some(mutation), ..Config::storm(seed) };
    (0..60).filter_map(|seed| run(config(seed)).violation).map(|v| v.invariant).collect()
}

fn assert_noticed(mutation: Mutation, invariants: &[u8]) {
    let found = violated(mutation);
    assert!(
        invariants.iter().any(|n| found.contains(n)),
        "{} violates {found:?} and should violate one of {invariants:?}",
        mutation.name()
    );
}

#[test]
fn an_agent_that_acts_on_stale_orders_is_noticed() {
    assert_noticed(Mutation::StaleOrders, &[1, 3, 4, 6]);
}

#[test]
fn a_control_plane_that_forgets_commits_is_noticed() {
    assert_noticed(Mutation::ForgetsCommits, &[2]);
}

#[test]
fn a_fresh_disk_in_place_of_a_lost_one_is_noticed() {
    assert_noticed(Mutation::FreshDisk, &[3]);
}

#[test]
fn absence_as_an_order_is_noticed() {
    assert_noticed(Mutation::AbsenceIsAnOrder, &[4]);
}

#[test]
fn a_scheduler_that_places_anywhere_is_noticed() {
    assert_noticed(Mutation::PlacesAnywhere, &[4]);
}

#[test]
fn a_tombstone_that_goes_early_is_noticed() {
    assert_noticed(Mutation::BuriesEarly, &[1, 6]);
}

#[test]
fn lost_observations_are_noticed() {
    assert_noticed(Mutation::BlindToStops, &[6]);
}

#[test]
fn steps_that_lie_are_noticed() {
    assert_noticed(Mutation::LyingSteps, &[1, 3, 6]);
}
