//! Plans: how fast they go, what holds a server back, and what stops a plan.

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

use cloud::{Cloud, admin};
use common::server_id;
use fleet::{
    arrive, change, drain, drain_of, fleet, id, mode_of, moving, pass, plan as plan_of, put_server, tick,
    why_waits,
};
use lenticular_control::{
    command::{
        compute::server as command_server,
        host::host::label,
        ops::plan::{self, NewGoal, NewPlan},
    },
    lifecycle::migration,
    plan::Prospect,
};
use lenticular_model::{
    HostId, ProjectId, ServerGroupId, ServerId, Timestamp,
    compute::{
        maintenance::MAINTENANCE,
        migration::Mode,
        server::{Condition, Fault, Server, Wanted},
        server_group::{Policy, ServerGroup},
    },
    error::Kind as ErrorKind,
    host::{
        evidence::{BRIDGE, Finding, Level},
        host::Host,
    },
    ops::{limits::Limits, plan::PlanPhase, plan_step::PlanStep},
    policy::{Caller, RoleLevel, Scope},
};
use open::open;
use std::sync::Arc;
use target::two_hosts;

fn fail(cloud: &mut Cloud, server: ServerId) {
    let record = cloud.state.servers[&server].clone();
    change(cloud, |txn| migration::fail(txn, &record, "It broke off.".to_owned()));
}

/// A server group of servers on the first host.
fn grouped(policy: Policy, members: u8) -> Cloud {
    let mut cloud = Cloud::new();
    let group_id = ServerGroupId::from_random([8; 16]);
    let group = ServerGroup {
        id: group_id,
        created_at: Timestamp(1),
        updated_at: None,
        project_id: ProjectId::from_random([1; 16]),
        user_id: admin().user_id,
        name: "db".to_owned(),
        policy,
        max_server_per_host: None,
        unknown: Default::default(),
    };
    change(&mut cloud, |txn| txn.put(group));
    (0..members).for_each(|n| put_server(&mut cloud, n, 0, |s| s.server_group = Some(group_id)));
    cloud
}

#[test]
fn one_server_goes_first_then_two_at_a_time_and_two_seconds_apart() {
    let mut cloud = fleet(3);
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud);
    assert_eq!(first.len(), 1);
    pass(&mut cloud, 60);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), first, "the others wait until the first has arrived");
    arrive(&mut cloud, first[0]);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 1, "the next one begins");
    pass(&mut cloud, 1);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 1, "two seconds have not passed");
    pass(&mut cloud, 1);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 2);
    pass(&mut cloud, 60);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 2, "the host takes part in two moves at a time");
    cloud.is_on(1, 2);
    assert!(cloud.fate_on(0).is_some(), "the source keeps the disk of the server that moved");
    let left = cloud.state.plan_steps.values().find(|step| step.is_waiting()).unwrap().id;
    assert_eq!(why_waits(&cloud, &plan_id, left), "host a takes part in 2 moves; at most 2 at a time");
}

#[test]
fn a_plan_whose_servers_are_all_skipped_does_not_run_for_ever() {
    let (mut cloud, to) = two_hosts();
    let skip = |cloud: &mut Cloud, plan_id, server| {
        cloud.run(|txn| plan::skip(txn, &admin(), (plan_id, server), Some("later".to_owned()))).unwrap();
    };
    let new = NewPlan { goal: NewGoal::Servers(vec![id(0)]), to: Some(to), ..drain_of(cloud.hosts[0]) };
    let moves = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    skip(&mut cloud, &moves, id(0));
    tick(&mut cloud, &moves);
    assert!(!cloud.state.plans.contains_key(&moves), "a move is done");
    let drains = drain(&mut cloud, 1);
    skip(&mut cloud, &drains, id(5));
    tick(&mut cloud, &drains);
    let why = plan_of(&cloud, &drains).phase.why().unwrap_or_default().to_owned();
    assert_eq!(why, "1 server is left, and an operator skipped all of them");
}

#[test]
fn many_small_plans_are_no_faster_than_a_large_one() {
    let (mut cloud, to) = two_hosts();
    let plans: Vec<_> = [server_id(), id(0)]
        .map(|server| {
            let new =
                NewPlan { goal: NewGoal::Servers(vec![server]), to: Some(to), ..drain_of(cloud.hosts[0]) };
            cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap()
        })
        .into();
    plans.iter().for_each(|plan| tick(&mut cloud, plan));
    assert_eq!(moving(&cloud).len(), 1);
    pass(&mut cloud, 2);
    plans.iter().for_each(|plan| tick(&mut cloud, plan));
    assert_eq!(moving(&cloud).len(), 2);
}

#[test]
fn a_group_with_affinity_waits_and_says_why() {
    let mut cloud = grouped(Policy::Affinity, 2);
    let plan_id = drain(&mut cloud, 0);
    assert_eq!(
        why_waits(&cloud, &plan_id, id(0)),
        "its group db keeps its 2 servers on one host (policy affinity), so none of them can move alone"
    );
}

#[test]
fn nothing_is_stopped_or_moved_that_its_owner_did_not_allow() {
    let said =
        |word: &'static str| move |s: &mut Server| drop(s.metadata.insert(MAINTENANCE.into(), word.into()));
    let mut cloud = Cloud::new();
    put_server(&mut cloud, 0, 0, said("none"));
    put_server(&mut cloud, 1, 0, said("cold"));
    put_server(&mut cloud, 2, 0, said("live"));
    put_server(&mut cloud, 3, 0, |s| {
        (s.condition, s.wanted, s.powered) = (Condition::Stopped, Wanted::Stopped, false);
    });
    let plan_id = drain(&mut cloud, 0);
    let mut modes = Vec::new();
    for _ in 0..4 {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        modes.push((next, mode_of(&cloud, next).unwrap()));
        arrive(&mut cloud, next);
        pass(&mut cloud, 2);
    }
    modes.sort_by_key(|(id, _)| *id);
    let mut wanted =
        [(server_id(), Mode::Live), (id(1), Mode::Cold), (id(2), Mode::Live), (id(3), Mode::Cold)];
    wanted.sort_by_key(|(id, _)| *id);
    assert_eq!(modes, wanted);
    tick(&mut cloud, &plan_id);
    assert_eq!(
        why_waits(&cloud, &plan_id, id(0)),
        "its owner does not allow it (lenticular:maintenance=none in its metadata)"
    );
    assert!(plan_of(&cloud, &plan_id).is_running(), "it waits for the owner");
    cloud.run(|txn| Ok(txn.update::<Server>(&id(0), |s| s.metadata.clear()))).unwrap();
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), [id(0)]);
}

#[test]
fn only_the_servers_project_says_what_its_owner_allows() {
    let mut cloud = fleet(0);
    let mut set = |caller: &Caller, word: &str| {
        let word = word.to_owned();
        cloud.run(|txn| {
            command_server::edit_metadata(txn, caller, server_id(), |metadata| {
                metadata.insert(MAINTENANCE.to_owned(), word);
                Ok(())
            })
        })
    };
    let elsewhere = Caller { scope: Scope::Project(ProjectId::from_random([9; 16])), ..admin() };
    assert_eq!(set(&elsewhere, "cold").unwrap_err().kind, ErrorKind::Forbidden);
    assert_eq!(set(&admin(), "sometimes").unwrap_err().kind, ErrorKind::Invalid);
    set(&admin(), "cold").unwrap();
}

#[test]
fn three_failed_moves_halt_a_plan_and_an_operator_lets_it_go_on() {
    let mut cloud = fleet(1);
    let plan_id = drain(&mut cloud, 0);
    let mut failing = None;
    for wait_s in [60, 120, 0] {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        failing = Some(next);
        fail(&mut cloud, next);
        tick(&mut cloud, &plan_id);
        if let Some(other) = moving(&cloud).first().copied() {
            // The other server's turn came meanwhile.
            arrive(&mut cloud, other);
        }
        pass(&mut cloud, wait_s);
    }
    tick(&mut cloud, &plan_id);
    let failing = failing.unwrap();
    let halted = plan_of(&cloud, &plan_id);
    assert!(
        matches!(&halted.phase, PlanPhase::Halted { why } if why.contains("It broke off.")),
        "{halted:?}"
    );
    pass(&mut cloud, 3_600);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), []);
    assert!(open(&cloud.state).iter().all(|host| host != "a"), "it stays closed");
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), [failing], "it is tried again");
    let skip = |cloud: &mut Cloud| {
        let reason = Some("its disk is broken".to_owned());
        cloud.run(|txn| plan::skip(txn, &admin(), (&plan_id, failing), reason))
    };
    let refused = skip(&mut cloud).unwrap_err();
    assert!(refused.kind == ErrorKind::Conflict && refused.message.contains("now"), "{refused:?}");
    fail(&mut cloud, failing);
    tick(&mut cloud, &plan_id);
    skip(&mut cloud).unwrap();
    pass(&mut cloud, 3_600);
    tick(&mut cloud, &plan_id);
    assert_eq!(why_waits(&cloud, &plan_id, failing), "an operator skipped it: its disk is broken");
    assert!(plan_of(&cloud, &plan_id).is_running());
}

#[test]
fn a_deleted_server_is_no_failure_of_the_plan() {
    let mut cloud = fleet(3);
    let plan_id = drain(&mut cloud, 0);
    for _ in 0..3 {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        cloud.run(|txn| command_server::delete(txn, &admin(), next)).unwrap();
        tick(&mut cloud, &plan_id);
        pass(&mut cloud, 2);
    }
    let plan = plan_of(&cloud, &plan_id);
    assert_eq!((plan.gone, plan.failures_in_row, plan.is_running()), (3, 0, true));
}

#[test]
fn a_server_in_error_after_its_move_halts_the_plan() {
    let mut cloud = fleet(1);
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    arrive(&mut cloud, first);
    let fault = Fault { code: 500, message: "No disk.".to_owned(), details: None, at: Timestamp(cloud.at) };
    let change = |s: &mut Server| (s.condition, s.fault) = (Condition::Error, Some(fault));
    cloud.run(|txn| Ok(txn.update::<Server>(&first, change))).unwrap();
    tick(&mut cloud, &plan_id);
    let phase = plan_of(&cloud, &plan_id).phase.clone();
    assert!(
        matches!(&phase, PlanPhase::Halted { why } if why.contains("is in ERROR on") && why.contains("No disk."))
    );
}

#[test]
fn a_dark_target_halts_the_plan() {
    let mut cloud = fleet(1);
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    let target = cloud.state.plan_steps.values().find_map(|step| step.target()).unwrap();
    let found = Finding { trouble: Some("no answer".to_owned()), level: Level::Fail, since: Timestamp(0) };
    cloud
        .run(|txn| Ok(txn.update::<Host>(&target, |h| drop(h.evidence.insert(BRIDGE.to_owned(), found)))))
        .unwrap();
    tick(&mut cloud, &plan_id);
    let phase = plan_of(&cloud, &plan_id).phase.clone();
    assert!(matches!(&phase, PlanPhase::Halted { why } if why.ends_with("is dark")), "{phase:?}");
}

#[test]
fn at_most_half_of_a_server_group_moves_at_a_time() {
    let mut cloud = grouped(Policy::SoftAntiAffinity, 3);
    let plan_id = drain(&mut cloud, 0);
    // The canary is out of the way first: it is the oldest of the servers.
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    arrive(&mut cloud, first);
    for _ in 0..3 {
        pass(&mut cloud, 2);
        tick(&mut cloud, &plan_id);
    }
    let grouped = |id: &ServerId| cloud.state.servers[id].server_group.is_some();
    assert_eq!(moving(&cloud).iter().filter(|id| grouped(id)).count(), 1);
    let waits = cloud.state.plan_steps.values().find(|step| step.is_waiting() && grouped(&step.id));
    let why = why_waits(&cloud, &plan_id, waits.unwrap().id);
    assert_eq!(why, "1 of the 3 servers of its group db move or rest; at most 1 at a time");
}

#[test]
fn racks_and_gateways_have_a_limit_of_their_own() {
    let mut cloud = fleet(3);
    for host in cloud.hosts.clone() {
        let labels = [("rack".to_owned(), "r1".to_owned())].into();
        cloud.run(|txn| label(txn, &admin(), host, labels)).unwrap();
    }
    let limits = Limits { per_rack: 1, ..Limits::default() };
    let new = NewPlan { limits, ..drain_of(cloud.hosts[0]) };
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    arrive(&mut cloud, first);
    for _ in 0..2 {
        pass(&mut cloud, 2);
        tick(&mut cloud, &plan_id);
    }
    assert_eq!(moving(&cloud).len(), 1);
    let waits = cloud.state.plan_steps.values().find(|step| step.is_waiting()).unwrap().id;
    assert_eq!(why_waits(&cloud, &plan_id, waits), "rack r1 takes part in 1 moves; at most 1 at a time");
}

#[test]
fn a_preview_shows_targets_and_servers_without_room_and_changes_nothing() {
    let mut cloud = fleet(0);
    // Each of the other hosts has room for two of these, and three do not fit on one.
    (0..5).for_each(|n| put_server(&mut cloud, n, 0, |s| s.size.ram_mb = 1_800));
    let new = drain_of(cloud.hosts[0]);
    let before = cloud.state.seq;
    let preview = plan::preview(&cloud.state, &admin(), &new, Timestamp(cloud.at)).unwrap();
    assert_eq!((cloud.state.seq, cloud.state.plans.len()), (before, 0));
    let moves = preview.steps.iter().filter(|step| matches!(step.prospect, Prospect::Moves { .. })).count();
    let stays: Vec<&Prospect> = preview
        .steps
        .iter()
        .map(|step| &step.prospect)
        .filter(|prospect| !matches!(prospect, Prospect::Moves { .. }))
        .collect();
    assert_eq!(moves, 5, "{stays:?}");
    assert!(matches!(stays[..], [Prospect::NoHost(why)] if why.contains("MEMORY_MB left, 1800 needed")));
    assert_eq!(preview.steps[0].server.id, server_id(), "the smallest server goes first");
}

#[test]
fn a_server_without_a_host_waits_and_holds_nobody_up() {
    let mut cloud = fleet(1);
    put_server(&mut cloud, 5, 0, |s| s.size.ram_mb = 100_000);
    let plan_id = drain(&mut cloud, 0);
    for _ in 0..2 {
        tick(&mut cloud, &plan_id);
        let next = moving(&cloud)[0];
        arrive(&mut cloud, next);
        pass(&mut cloud, 2);
    }
    tick(&mut cloud, &plan_id);
    let why = why_waits(&cloud, &plan_id, id(5));
    assert!(why.starts_with("No valid host was found."), "{why}");
    let step: Arc<PlanStep> = cloud.state.plan_steps[&id(5)].clone();
    assert!(step.retry_at.is_some_and(|at| at > Timestamp(cloud.at)));
}

#[test]
fn a_plan_pauses_at_its_hard_limit_and_at_its_deadline() {
    let mut cloud = fleet(2);
    let limits = Limits { hard_limit: Some(1), ..Limits::default() };
    let new = NewPlan { limits, deadline_s: Some(600), ..drain_of(cloud.hosts[0]) };
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    arrive(&mut cloud, first);
    pass(&mut cloud, 2);
    tick(&mut cloud, &plan_id);
    let phase = plan_of(&cloud, &plan_id).phase.clone();
    assert_eq!(phase.why(), Some("it reached its hard limit (1); 3 servers are left"));
    let resume = |cloud: &mut Cloud, more| cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, more));
    assert_eq!(resume(&mut cloud, (None, None)).unwrap_err().kind, ErrorKind::Conflict);
    resume(&mut cloud, (None, Some(10))).unwrap();
    pass(&mut cloud, 600);
    tick(&mut cloud, &plan_id);
    let why = plan_of(&cloud, &plan_id).phase.why().unwrap_or_default().to_owned();
    assert!(why.contains("has passed; 2 servers are left"), "{why}");
    assert_eq!(resume(&mut cloud, (None, None)).unwrap_err().kind, ErrorKind::Conflict);
    resume(&mut cloud, (Some(600), None)).unwrap();
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 1);
}

#[test]
fn a_freeze_holds_every_plan_and_lets_moves_end() {
    let mut cloud = fleet(1);
    cloud.run(|txn| plan::freeze(txn, &admin(), "the network is worked on")).unwrap();
    let plan_id = drain(&mut cloud, 0);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), []);
    let twice = cloud.run(|txn| plan::freeze(txn, &admin(), "lunch")).unwrap_err();
    assert!(twice.to_string().contains("the network is worked on"), "{twice}");
    cloud.run(|txn| plan::thaw(txn, &admin())).unwrap();
    tick(&mut cloud, &plan_id);
    let first = moving(&cloud)[0];
    cloud.run(|txn| plan::freeze(txn, &admin(), "again")).unwrap();
    arrive(&mut cloud, first);
    pass(&mut cloud, 10);
    tick(&mut cloud, &plan_id);
    assert_eq!((plan_of(&cloud, &plan_id).moved, moving(&cloud)), (1, vec![]));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let (mut cloud, to) = two_hosts();
    let host = cloud.hosts[0];
    let mut start = |caller: &Caller, new: NewPlan| cloud.run(|txn| plan::start(txn, caller, &new));
    let mut kind = |new: NewPlan| start(&admin(), new).unwrap_err().kind;
    let with = |limits: Limits| NewPlan { limits, ..drain_of(host) };
    let base = Limits::default();
    assert_eq!(kind(with(Limits { per_host: 0, ..base })), ErrorKind::Invalid);
    assert_eq!(kind(with(Limits { hard_limit: Some(0), ..base })), ErrorKind::Invalid);
    assert_eq!(kind(with(Limits { between_servers_s: -1, ..base })), ErrorKind::Invalid);
    assert_eq!(kind(with(Limits { per_zone: 21, ..base })), ErrorKind::Invalid, "looser, and no reason");
    assert_eq!(kind(NewPlan { deadline_s: Some(0), ..drain_of(host) }), ErrorKind::Invalid);
    assert_eq!(kind(drain_of(HostId::from_random([77; 16]))), ErrorKind::NotFound);
    let servers = |ids: Vec<ServerId>, to| NewPlan { goal: NewGoal::Servers(ids), to, ..drain_of(host) };
    assert_eq!(kind(servers(vec![id(0)], None)), ErrorKind::Invalid, "where to?");
    assert_eq!(kind(servers(vec![id(9)], Some(to))), ErrorKind::NotFound);
    let loose = NewPlan { loosened: Some("an emergency".to_owned()), ..with(Limits { per_host: 9, ..base }) };
    let operator = Caller { scope: Scope::System, level: RoleLevel::Operator, ..admin() };
    assert_eq!(start(&operator, loose.clone()).unwrap_err().kind, ErrorKind::Forbidden);
    let reader = Caller { scope: Scope::System, level: RoleLevel::Reader, ..admin() };
    assert_eq!(start(&reader, drain_of(host)).unwrap_err().kind, ErrorKind::Forbidden);
    let plan_id = start(&operator, drain_of(host)).unwrap();
    let twice = start(&admin(), drain_of(host)).unwrap_err();
    assert!(twice.to_string().contains(plan_id.as_str()), "{twice}");
    let in_two = start(&admin(), servers(vec![id(0)], Some(to))).unwrap_err();
    assert!(in_two.to_string().contains(plan_id.as_str()), "{in_two}");
    cloud.run(|txn| plan::abort(txn, &operator, &plan_id)).unwrap();
    let loose = NewPlan { goal: NewGoal::Drain(cloud.hosts[1]), ..loose };
    cloud.run(|txn| plan::start(txn, &admin(), &loose)).unwrap();
}
