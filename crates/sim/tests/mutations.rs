//! Rules broken on purpose: the invariants notice, so their silence means that the rules hold.

use lenticular_sim::{Config, Fault, Mutation, drill::drill_all, run, storms};
use std::collections::BTreeSet;

/// How many seeds are tried; at least one in thirty notices a broken rule.
const SEEDS: u64 = 300;

/// Some seed with this mutation violates one of these invariants.
fn assert_noticed(mutation: Mutation, invariants: &[u8]) {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let config = Config { mutation: Some(mutation), ..Config::storm(seed) };
        found.extend(run(config).violation.map(|v| v.invariant));
        if invariants.iter().any(|n| found.contains(n)) {
            return;
        }
    }
    panic!("{} violates {found:?} and should violate one of {invariants:?}", mutation.name());
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

/// Requests for servers that exist: what creates servers is a scheduler that places anywhere.
#[test]
fn moves_that_ignore_rules_are_noticed() {
    assert_noticed(Mutation::IgnoresRules, &[4]);
}

#[test]
fn moves_to_dark_hosts_are_noticed() {
    assert_noticed(Mutation::IgnoresDark, &[4]);
}

#[test]
fn a_scheduler_that_ignores_groups_is_noticed() {
    assert_noticed(Mutation::IgnoresGroups, &[5]);
}

#[test]
fn a_tombstone_that_goes_early_is_noticed() {
    assert_noticed(Mutation::BuriesEarly, &[1, 6]);
}

#[test]
fn lost_observations_are_noticed() {
    assert_noticed(Mutation::BlindToStops, &[6]);
}

/// Among all faults, a late report mostly does harm only briefly, because the host soon says hello again. So
/// there are few faults here.
#[test]
fn belief_in_late_reports_is_noticed() {
    let config = |seed| Config {
        faults: [Fault::MessageLate, Fault::MessageLost, Fault::GuestShutdown].into(),
        mutation: Some(Mutation::BelievesLateReports),
        ..Config::storm(seed)
    };
    let failures = storms(0..30, config).failures;
    let (_, text) = failures.first().expect("some seed ends with a wrong record");
    assert!(text.contains("says that its guest runs"), "{text}");
    let flags =
        "--only message-lost --only message-late --only guest-shutdown --mutation believes-late-reports";
    assert!(text.contains(flags), "it says how to replay it: {text}");
}

#[test]
fn steps_that_lie_are_noticed() {
    assert_noticed(Mutation::LyingSteps, &[1, 3, 6]);
}

#[test]
fn a_target_that_runs_before_the_release_is_noticed() {
    assert_noticed(Mutation::RunsBeforeRelease, &[1, 3]);
}

#[test]
fn a_source_that_resumes_after_the_release_is_noticed() {
    assert_noticed(Mutation::ResumesAfterRelease, &[1]);
}

#[test]
fn a_grant_that_moves_when_the_target_is_ready_is_noticed() {
    assert_noticed(Mutation::GrantsOnReady, &[1]);
}

#[test]
fn a_generation_that_is_not_raised_is_noticed() {
    assert_noticed(Mutation::SameGeneration, &[1]);
}

#[test]
fn a_backup_that_passes_for_the_present_is_noticed() {
    assert_noticed(Mutation::RestoresBlindly, &[1, 3]);
}

/// It takes a full disk, a release, the loss of the session and a crash, in exactly this order.
#[test]
fn a_registration_before_the_state_is_saved_is_noticed() {
    let noticed = drill_all(Some(Mutation::TellsUnsaved)).expect_err("some drill fails");
    assert!(["invariant 1 is", "invariant 3 is"].iter().any(|text| noticed.contains(text)), "{noticed}");
}

#[test]
fn facts_that_are_forgotten_are_noticed() {
    assert_noticed(Mutation::ForgetsFacts, &[6]);
}

#[test]
fn hosts_that_boot_under_their_guests_are_noticed() {
    let noticed = drill_all(Some(Mutation::BootsEarly)).unwrap_err();
    assert!(noticed.contains("a plan boots host-2"), "{noticed}");
}

#[test]
fn plans_without_limits_are_noticed() {
    assert_noticed(Mutation::PlansHurry, &[7]);
}
