//! Drains and moves to other hosts: what a drained host takes, where servers go, and what becomes of the host.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "common/cloud.rs"]
mod cloud;
mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/open.rs"]
mod open;
#[path = "common/target.rs"]
mod target;

use cloud::{Cloud, admin, seen};
use common::server_id;
use fleet::{
    arrive, change, drain, drain_of, fleet, id, mode_of, moving, pass, plan as plan_of, put_server, tick,
    why_waits,
};
use lenticular_control::{
    command::{
        compute::{migrate, server as command_server},
        host::host::set_intent,
        ops::plan::{self, NewGoal, NewPlan},
    },
    observe::guest::observe,
    reconcile::{Key, reconcile, woken},
};
use lenticular_model::{
    Kind,
    compute::{
        aggregate::Aggregate,
        disk::Fate,
        migration::Mode,
        server::{Condition, Wanted},
    },
    error::Kind as ErrorKind,
    host::{
        host::Intent,
        observation::{Observation, ObservedState, StopReason},
    },
};
use open::open;
use std::{collections::BTreeSet, num::NonZeroU32};
use target::two_hosts;

#[test]
fn a_drain_ends_when_the_host_is_empty_and_an_undrain_opens_it() {
    let mut cloud = fleet(1);
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    let plan_id = drain(&mut cloud, 0);
    assert_eq!(open(&cloud.state), ["b", "c"], "from the first commit on");
    let host = cloud.hosts[0];
    let refused = cloud.run(|txn| set_intent(txn, &admin(), host, Intent::Enabled)).unwrap_err();
    assert!(refused.to_string().contains("host undrain a"), "{refused}");
    for _ in 0..2 {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        arrive(&mut cloud, next);
        pass(&mut cloud, 2);
    }
    tick(&mut cloud, &plan_id);
    assert!(cloud.state.plans.is_empty() && cloud.state.plan_steps.is_empty(), "it is over");
    assert_eq!(cloud.state.taken_of_host(host).servers, 0);
    let drained = Intent::Drained { plan_id, aborted: false, before: Box::new(Intent::Enabled) };
    assert_eq!(cloud.state.hosts[&host].intent, drained);
    assert_eq!(cloud.server().condition, Condition::Active);
    cloud.is_on(if cloud.server().host_id == Some(cloud.hosts[1]) { 1 } else { 2 }, 2);
    assert!(matches!(cloud.fate_on(0), Some(Fate::Kept { .. })), "its former disk is kept for a while");
    cloud.run(|txn| plan::undrain(txn, &admin(), host)).unwrap();
    assert_eq!(open(&cloud.state), ["a", "b", "c"]);
    assert_eq!(cloud.state.servers_on_host(host).count(), 0, "nothing is dragged back");
}

#[test]
fn an_undrain_ends_the_plan_and_moves_that_are_under_way_go_on() {
    let mut cloud = fleet(1);
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    let host = cloud.hosts[0];
    cloud.run(|txn| plan::undrain(txn, &admin(), host)).unwrap();
    assert!(cloud.state.plans.is_empty() && cloud.state.plan_steps.is_empty());
    assert!(cloud.state.servers[&first].ticket.is_some());
    arrive(&mut cloud, first);
}

#[test]
fn a_host_that_was_disabled_before_its_drain_is_disabled_after_it() {
    let mut cloud = fleet(0);
    let host = cloud.hosts[0];
    let disabled = Intent::Disabled { reason: Some("its fan is broken".to_owned()) };
    cloud.run(|txn| set_intent(txn, &admin(), host, disabled.clone())).unwrap();
    // An operator who may drain may not open what an administrator disabled.
    let refused = cloud.run(|txn| plan::undrain(txn, &admin(), host)).unwrap_err();
    assert!(refused.to_string().contains("host uncordon"), "{refused}");
    for _ in 0..2 {
        let plan_id = drain(&mut cloud, 0);
        let shown = cloud.state.hosts[&host].intent.reason();
        let why = format!("being drained by plan {plan_id}; disabled before: its fan is broken");
        assert_eq!(shown, Some(why));
        cloud.run(|txn| plan::abort(txn, &admin(), &plan_id)).unwrap();
    }
    cloud.run(|txn| plan::undrain(txn, &admin(), host)).unwrap();
    assert_eq!(cloud.state.hosts[&host].intent, disabled);
}

#[test]
fn a_drain_takes_over_what_another_plan_does_not_move_any_more() {
    let (mut cloud, to) = two_hosts();
    let new = NewPlan { goal: NewGoal::Servers(vec![id(0)]), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let other = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    arrive(&mut cloud, server_id());
    tick(&mut cloud, &plan_id);
    assert_eq!(cloud.state.steps_of_plan(&plan_id).count(), 0, "the other plan's server is left to it");
    let before = cloud.state.clone();
    cloud.run(|txn| plan::abort(txn, &admin(), &other)).unwrap();
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::PlanStep, &id(0).to_string(), &mut keys);
    assert!(keys.contains(&Key::Plan(plan_id.clone())), "{keys:?}");
    pass(&mut cloud, 2);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), [id(0)]);
}

#[test]
fn a_server_that_somebody_moved_elsewhere_is_still_moved_to_its_aggregate() {
    let (mut cloud, to) = two_hosts();
    let new = NewPlan { goal: NewGoal::Servers(vec![id(0)]), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    cloud.run(|txn| migrate::live_migrate(txn, &admin(), id(0), Some("b"))).unwrap();
    tick(&mut cloud, &plan_id);
    arrive(&mut cloud, id(0));
    tick(&mut cloud, &plan_id);
    let step = cloud.state.plan_steps[&id(0)].clone();
    assert_eq!((step.from, step.target()), (cloud.hosts[1], Some(cloud.hosts[2])));
}

#[test]
fn a_plan_halts_when_its_target_aggregate_is_deleted() {
    let (mut cloud, to) = two_hosts();
    let new = NewPlan { goal: NewGoal::Servers(vec![id(0)]), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    let before = cloud.state.clone();
    change(&mut cloud, |txn| drop(txn.delete::<Aggregate>(&to)));
    let mut keys = BTreeSet::new();
    woken(&before, &cloud.state, Kind::Aggregate, &to.to_string(), &mut keys);
    assert!(keys.contains(&Key::Plan(plan_id.clone())), "{keys:?}");
    tick(&mut cloud, &plan_id);
    let why = plan_of(&cloud, &plan_id).phase.why().unwrap_or_default().to_owned();
    assert!(why.starts_with("aggregate group3, to which it moves servers, was deleted"), "{why}");
}

#[test]
fn a_soft_deleted_server_moves_and_is_restored_where_it_came_to() {
    let mut cloud = fleet(0);
    cloud.run(|txn| command_server::soft_delete(txn, &admin(), server_id(), NonZeroU32::MAX)).unwrap();
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    assert_eq!(why_waits(&cloud, &plan_id, server_id()), "its guest shuts down");
    cloud.hear(0, seen(1, ObservedState::Stopped { why: StopReason::Ordered }));
    tick(&mut cloud, &plan_id);
    assert_eq!(mode_of(&cloud, server_id()), Some(Mode::Cold));
    let early = cloud.run(|txn| command_server::restore(txn, &admin(), server_id())).unwrap_err();
    assert_eq!(early.kind, ErrorKind::Conflict, "{early}");
    arrive(&mut cloud, server_id());
    tick(&mut cloud, &plan_id);
    assert!(cloud.state.plans.is_empty());
    cloud.run(|txn| command_server::restore(txn, &admin(), server_id())).unwrap();
    assert_eq!(cloud.server().wanted, Wanted::Running);
}

#[test]
fn moves_to_a_draining_host_are_withdrawn_and_those_that_arrive_are_moved_on() {
    let mut cloud = Cloud::new();
    put_server(&mut cloud, 0, 1, |_| {});
    put_server(&mut cloud, 1, 1, |_| {});
    for n in [0, 1] {
        cloud.run(|txn| migrate::live_migrate(txn, &admin(), id(n), Some("a"))).unwrap();
    }
    let sent = cloud.state.servers[&id(1)].ticket.as_ref().unwrap().generation;
    let ready = Observation { server_id: id(1), ..seen(sent, ObservedState::Ready) };
    let target = cloud.hosts[0];
    change(&mut cloud, |txn| observe(txn, target, &[ready]));
    let plan_id = drain(&mut cloud, 0);
    let early = cloud.state.servers[&id(0)].ticket.as_ref().unwrap().migration_id;
    cloud.run(|txn| Ok(reconcile(Key::Migration(early), txn))).unwrap();
    assert!(cloud.state.servers[&id(0)].ticket.is_none(), "its target is no target any more");
    // The other one was released before its source heard of it.
    let runs = ObservedState::Running { ssh_forward: None, paused: false };
    let there = Observation { server_id: id(1), ..seen(sent, runs) };
    change(&mut cloud, |txn| observe(txn, target, &[there]));
    assert_eq!(cloud.state.servers[&id(1)].host_id, Some(target));
    tick(&mut cloud, &plan_id);
    assert!(cloud.state.plan_steps.contains_key(&id(1)));
    assert_eq!(plan_of(&cloud, &plan_id).steps, 2);
}

#[test]
fn servers_move_to_the_aggregate_that_is_named_host_after_host() {
    let (mut cloud, to) = two_hosts();
    let servers = vec![server_id(), id(0), id(5)];
    let new = NewPlan { goal: NewGoal::Servers(servers), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    for _ in 0..2 {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        assert_ne!(next, id(5), "the first host is done before the second begins");
        assert_eq!(cloud.state.plan_steps[&next].target(), Some(cloud.hosts[2]));
        arrive(&mut cloud, next);
        pass(&mut cloud, 2);
    }
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), [], "three minutes from host to host");
    pass(&mut cloud, 180);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), [id(5)]);
    arrive(&mut cloud, id(5));
    tick(&mut cloud, &plan_id);
    assert!(cloud.state.plans.is_empty());
}

#[test]
fn an_aggregate_that_takes_no_servers_is_refused_before_the_first_move() {
    let (mut cloud, to) = two_hosts();
    let new = NewPlan { goal: NewGoal::Servers(vec![id(0)]), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let host = cloud.hosts[2];
    let disabled = Intent::Disabled { reason: Some("not activated".to_owned()) };
    cloud.run(|txn| set_intent(txn, &admin(), host, disabled)).unwrap();
    let refused = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "No host of aggregate group3 takes servers. Host c is disabled. Nothing was changed."
    );
    assert!(cloud.state.plans.is_empty());
}
