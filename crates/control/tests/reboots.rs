//! Reboots and recoveries of hosts by plans: what becomes of the guests, when the host boots, and what stops the plan.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "reboots/actions.rs"]
mod actions;
#[path = "common/boots.rs"]
mod boots;
#[path = "common/cloud.rs"]
mod cloud;
mod common;
#[path = "common/fleet.rs"]
mod fleet;
#[path = "common/open.rs"]
mod open;

use boots::{RUNS, boot, bootable, new, phase, prove, reboot, rest_all, say, say_action, stage};
use cloud::{Cloud, admin};
use common::server_id;
use fleet::{
    arrive, change, drain, fleet, id, mode_of, moving, pass, plan as plan_of, put_server, tick, why_waits,
};
use lenticular_control::{
    command::{
        host::rule::{self, NewRule},
        ops::plan::{self, NewGoal, NewPlan},
    },
    plan::Prospect,
    reconcile::{Key, woken},
};
use lenticular_model::{
    HostId, Kind, PlanId, ServerId, State, Timestamp,
    compute::{
        maintenance::MAINTENANCE,
        server::{BootStyle, Condition, Server, Wanted},
    },
    error::Kind as ErrorKind,
    host::{
        action::{ActionState, REBOOT},
        host::{Host, Intent},
        observation::{ObservedState, StopReason},
        rule::{Effect, Scope, Subject},
    },
    ops::{
        host_step::{Act, BACK_WITHIN_S, Expect, Guests, Stage},
        plan::PlanPhase,
        plan_step::{Rest, StepState},
    },
};

#[test]
fn guests_are_suspended_one_first_and_go_on_one_first() {
    let mut cloud = bootable(2);
    let plan_id = reboot(&mut cloud, Guests::Suspend);
    let first = moving(&cloud);
    assert_eq!(first.len(), 1, "one first");
    assert_eq!(cloud.state.servers[&first[0]].wanted, Wanted::Suspended);
    pass(&mut cloud, 60);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud), first, "the others wait for it");
    assert!(matches!(stage(&cloud), Stage::Emptying));
    rest_all(&mut cloud, &plan_id, &ObservedState::Suspended);
    // No guest runs, so the host is told to boot: once, in this boot.
    let order = cloud.state.hosts[&cloud.hosts[0]].order.action.clone().unwrap();
    assert!(matches!(stage(&cloud), Stage::Acting { number, .. } if number == order.number));
    assert_eq!((order.name.as_str(), &order.boot_id), (REBOOT, &cloud.state.hosts[&cloud.hosts[0]].boot_id));
    assert!(
        cloud.state.plan_steps.values().all(|step| step.state == StepState::Rested { how: Rest::Suspend })
    );
    boot(&mut cloud, &plan_id);
    assert!(matches!(stage(&cloud), Stage::Proving { .. }));
    let waiting = cloud.state.servers.values().filter(|server| server.wanted == Wanted::Suspended);
    assert_eq!(waiting.count(), 3, "a host that has not proved itself runs nothing");
    prove(&mut cloud, &plan_id);
    let waking = moving(&cloud);
    assert_eq!(waking.len(), 1, "one first");
    let server = cloud.state.servers[&waking[0]].clone();
    assert_eq!((server.wanted, server.boot_style), (Wanted::Running, BootStyle::Resume));
    say(&mut cloud, waking[0], RUNS);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 2, "then the others together");
    for server in moving(&cloud) {
        say(&mut cloud, server, RUNS);
    }
    assert_eq!(plan_of(&cloud, &plan_id).woken, 1);
    tick(&mut cloud, &plan_id);
    assert!(!cloud.state.plans.contains_key(&plan_id) && cloud.state.host_steps.is_empty(), "it is done");
    assert_eq!(cloud.state.hosts[&cloud.hosts[0]].intent, Intent::Enabled);
    assert!(cloud.state.servers.values().all(|server| server.status() == "ACTIVE"));
}

#[test]
fn guests_move_away_before_their_host_boots() {
    let mut cloud = bootable(0);
    let plan_id = reboot(&mut cloud, Guests::Move);
    assert!(mode_of(&cloud, server_id()).is_some());
    assert!(open::open(&cloud.state).iter().all(|host| host != "a"), "it takes nothing");
    arrive(&mut cloud, server_id());
    tick(&mut cloud, &plan_id);
    assert!(matches!(stage(&cloud), Stage::Acting { .. }));
    boot(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    assert!(!cloud.state.plans.contains_key(&plan_id));
    cloud.is_on(1, 2);
    assert!(cloud.fate_on(0).is_some(), "nothing is dragged back");
    assert!(open::open(&cloud.state).contains(&"a".to_owned()));
}

#[test]
fn stopped_guests_are_started_and_those_that_stood_still_stay() {
    let mut cloud = bootable(1);
    put_server(&mut cloud, 7, 0, |server| {
        (server.wanted, server.condition, server.powered) = (Wanted::Stopped, Condition::Stopped, false);
    });
    let plan_id = reboot(&mut cloud, Guests::Stop);
    assert!(!cloud.state.plan_steps.contains_key(&id(7)), "it does not run");
    rest_all(&mut cloud, &plan_id, &ObservedState::Stopped { why: StopReason::Ordered });
    boot(&mut cloud, &plan_id);
    // The last one by its step is the first one by its owner's wish.
    let last = cloud.state.steps_of_plan(&plan_id).last().expect("a step").id;
    change(&mut cloud, |txn| {
        let tag = "lenticular:start-order=1".to_owned();
        txn.update::<Server>(&last, |server| server.tags = [tag].into());
    });
    prove(&mut cloud, &plan_id);
    for wave in 0..2 {
        assert!(wave > 0 || moving(&cloud) == [last]);
        for server in moving(&cloud) {
            assert_eq!(cloud.state.servers[&server].boot_style, BootStyle::Hard);
            say(&mut cloud, server, RUNS);
        }
        tick(&mut cloud, &plan_id);
    }
    assert!(!cloud.state.plans.contains_key(&plan_id));
    assert_eq!(cloud.state.servers[&id(7)].status(), "SHUTOFF");
}

#[test]
fn a_host_boots_under_no_guest_whose_owner_forbids_it() {
    for wish in ["none", "live"] {
        let mut cloud = bootable(0);
        change(&mut cloud, |txn| {
            let wish = [(MAINTENANCE.to_owned(), wish.to_owned())].into();
            txn.update::<Server>(&server_id(), |server| server.metadata = wish);
        });
        let plan_id = reboot(&mut cloud, Guests::Suspend);
        pass(&mut cloud, 3_600);
        tick(&mut cloud, &plan_id);
        let why = why_waits(&cloud, &plan_id, server_id());
        assert!(why.contains(&format!("{MAINTENANCE}={wish}")), "{why}");
        assert!(matches!(stage(&cloud), Stage::Emptying));
        // Skipped by an operator, it runs on, and so the host does not boot.
        let reason = Some("later".to_owned());
        cloud.run(|txn| plan::skip(txn, &admin(), (&plan_id, server_id()), reason)).unwrap();
        tick(&mut cloud, &plan_id);
        assert!(matches!(phase(&cloud, &plan_id), PlanPhase::Paused { .. }));
        assert_eq!(cloud.state.hosts[&cloud.hosts[0]].order.action, None);
    }
}

#[test]
fn a_failed_or_silent_action_halts_and_is_ordered_anew_on_resume() {
    let mut cloud = bootable(0);
    let plan_id = reboot(&mut cloud, Guests::Stop);
    rest_all(&mut cloud, &plan_id, &ObservedState::Stopped { why: StopReason::Ordered });
    let host = cloud.hosts[0];
    let order = |cloud: &Cloud| cloud.state.hosts[&host].order.action.as_ref().unwrap().number;
    let first = order(&cloud);
    let ended = |cloud: &mut Cloud, trouble: Option<&str>| {
        let (trouble, output) = (trouble.map(str::to_owned), "a line\nno power\n".to_owned());
        say_action(cloud, &plan_id, ActionState::Ended { trouble, output });
    };
    ended(&mut cloud, Some("'ipmitool' failed (exit status: 1)"));
    let halted = phase(&cloud, &plan_id);
    let why = "host a could not run its action reboot, 'ipmitool' failed (exit status: 1): no power";
    assert_eq!(halted, PlanPhase::Halted { why: why.to_owned() });
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    assert!(order(&cloud) > first, "another order");
    // It says that it succeeded, and the host does not boot.
    ended(&mut cloud, None);
    assert_eq!(phase(&cloud, &plan_id), PlanPhase::Running);
    pass(&mut cloud, BACK_WITHIN_S);
    tick(&mut cloud, &plan_id);
    let why = "host a has not booted and come back within 15 minutes; its action reboot ended well";
    assert_eq!(phase(&cloud, &plan_id), PlanPhase::Halted { why: why.to_owned() });
    // Somebody boots it by hand: that counts, and nothing is ordered again.
    let last = order(&cloud);
    boot(&mut cloud, &plan_id);
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    assert!(matches!(stage(&cloud), Stage::Proving { .. }) && order(&cloud) == last);
}

#[test]
fn a_host_that_comes_back_on_a_denied_kernel_wakes_nobody() {
    let mut cloud = bootable(0);
    let deny = NewRule {
        name: "bad-kernel".to_owned(),
        effect: Effect::Deny,
        subject: Subject::Version("kernel".to_owned()),
        range: "<3.13.0-46".parse().unwrap(),
        scope: Scope::All,
        reason: "guests lose time".to_owned(),
        link: None,
        draft: false,
    };
    let plan_id = reboot(&mut cloud, Guests::Suspend);
    rest_all(&mut cloud, &plan_id, &ObservedState::Suspended);
    let host = cloud.hosts[0];
    cloud.run(|txn| rule::add(txn, &admin(), &deny, true)).unwrap();
    let kernel = |cloud: &mut Cloud, version: &str| {
        let versions = [("kernel".to_owned(), version.to_owned())].into();
        change(cloud, |txn| {
            txn.update::<Host>(&host, |host| host.versions = versions);
        });
    };
    kernel(&mut cloud, "3.13.0-24.46");
    boot(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    let PlanPhase::Halted { why } = phase(&cloud, &plan_id) else { panic!("it is halted") };
    assert!(why.contains("kernel 3.13.0-24.46 is denied by rule bad-kernel"), "{why}");
    assert_eq!(cloud.server().status(), "SUSPENDED");
    // Its operator updates the kernel and boots it by hand, and the plan goes on.
    kernel(&mut cloud, "3.13.0-46.77");
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    say(&mut cloud, server_id(), RUNS);
    tick(&mut cloud, &plan_id);
    assert!(!cloud.state.plans.contains_key(&plan_id));
    assert_eq!(cloud.server().status(), "ACTIVE");
}

#[test]
fn guests_that_rest_go_on_when_an_operator_ends_the_plan() {
    let mut cloud = bootable(0);
    let plan_id = reboot(&mut cloud, Guests::Suspend);
    let refused = cloud.run(|txn| plan::abort(txn, &admin(), &plan_id)).unwrap_err();
    assert!(refused.kind == ErrorKind::Conflict && refused.message.contains("at this moment"), "{refused:?}");
    let refused = cloud.run(|txn| plan::undrain(txn, &admin(), cloud_host(txn))).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    rest_all(&mut cloud, &plan_id, &ObservedState::Suspended);
    assert!(matches!(stage(&cloud), Stage::Acting { .. }));
    cloud.run(|txn| plan::abort(txn, &admin(), &plan_id)).unwrap();
    let (server, host) = (cloud.server(), cloud.state.hosts[&cloud.hosts[0]].clone());
    assert_eq!((server.wanted, server.boot_style), (Wanted::Running, BootStyle::Resume));
    assert_eq!(host.order.action, None, "an action that has not begun is withdrawn");
    assert!(matches!(host.intent, Intent::Drained { .. }) && cloud.state.host_steps.is_empty());
    cloud.run(|txn| plan::undrain(txn, &admin(), host.id)).unwrap();
    assert_eq!(cloud.state.hosts[&host.id].intent, Intent::Enabled);
}

/// The id of the first host.
fn cloud_host(state: &State) -> HostId {
    state.host_named("a").unwrap().id
}

#[test]
fn a_host_that_was_drained_before_stays_drained() {
    let mut cloud = bootable(0);
    let drained = drain(&mut cloud, 0);
    tick(&mut cloud, &drained);
    arrive(&mut cloud, server_id());
    tick(&mut cloud, &drained);
    let before = cloud.state.hosts[&cloud.hosts[0]].intent.clone();
    assert!(matches!(before, Intent::Drained { .. }));
    let plan_id = reboot(&mut cloud, Guests::Move);
    boot(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    assert_eq!(cloud.state.hosts[&cloud.hosts[0]].intent, before);
}

#[test]
fn what_cannot_be_booted_is_refused_and_changes_nothing() {
    let mut cloud = bootable(0);
    let (first, second) = (cloud.hosts[0], cloud.hosts[1]);
    let refused = |cloud: &mut Cloud, new: NewPlan| {
        let before = cloud.state.seq;
        let error = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap_err();
        assert_eq!(cloud.state.seq, before);
        error.message
    };
    let other = new(&cloud, NewGoal::Act(second, Act::reboot(Guests::Move)));
    assert!(refused(&mut cloud, other).contains("allows no action 'reboot'"));
    let nothing = new(&cloud, NewGoal::Recover(first));
    assert!(refused(&mut cloud, nothing).contains("nothing to start"));
    reboot(&mut cloud, Guests::Suspend);
    let again = new(&cloud, NewGoal::Act(first, Act::reboot(Guests::Move)));
    assert!(refused(&mut cloud, again).contains("drains or boots host a already"));
    let mut cloud = bootable(0);
    change(&mut cloud, |txn| {
        txn.update::<Host>(&first, |host| host.silent_since = Some(Timestamp(1)));
    });
    for (guests, actions) in
        [(Guests::Stay, vec!["reboot"]), (Guests::Move, vec![]), (Guests::Move, vec!["a b"])]
    {
        let actions = actions.into_iter().map(str::to_owned).collect();
        let wrong = new(&cloud, NewGoal::Act(first, Act { guests, actions, expect: None }));
        assert!(!refused(&mut cloud, wrong).is_empty());
    }
    for wrong in ["kernel", "=1", "kernel=", "kernel=a b", "ker nel=1"] {
        assert!(wrong.parse::<Expect>().is_err(), "{wrong}");
    }
    let silent = new(&cloud, NewGoal::Act(first, Act::reboot(Guests::Move)));
    assert!(refused(&mut cloud, silent).contains("does not answer"));
}

#[test]
fn a_preview_says_what_becomes_of_each_server() {
    let mut cloud = bootable(1);
    change(&mut cloud, |txn| {
        let wish = [(MAINTENANCE.to_owned(), "none".to_owned())].into();
        txn.update::<Server>(&id(0), |server| server.metadata = wish);
    });
    let prospects = |goal: NewGoal| -> Vec<Prospect> {
        let preview = plan::preview(&cloud.state, &admin(), &new(&cloud, goal), Timestamp(cloud.at)).unwrap();
        preview.steps.into_iter().map(|step| step.prospect).collect()
    };
    let rests = prospects(NewGoal::Act(cloud.hosts[0], Act::reboot(Guests::Stop)));
    assert!(rests.contains(&Prospect::Rests(Rest::Stop)));
    assert!(rests.iter().any(|prospect| matches!(prospect, Prospect::Waits(why) if why.contains("=none"))));
    let moves = prospects(NewGoal::Act(cloud.hosts[0], Act::reboot(Guests::Move)));
    assert!(moves.iter().any(|prospect| matches!(prospect, Prospect::Moves { .. })));
}

/// A fleet whose servers died with their host.
fn died(servers: u8) -> Cloud {
    let mut cloud = fleet(servers);
    let all: Vec<ServerId> = cloud.state.servers.keys().copied().collect();
    for server in all {
        say(&mut cloud, server, ObservedState::Stopped { why: StopReason::Died });
        assert_eq!(cloud.state.servers[&server].status(), "ERROR");
    }
    cloud
}

fn recover(cloud: &mut Cloud) -> PlanId {
    let new = new(cloud, NewGoal::Recover(cloud.hosts[0]));
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    tick(cloud, &plan_id);
    plan_id
}

#[test]
fn servers_in_error_are_started_in_their_owners_order_one_first() {
    let mut cloud = died(2);
    change(&mut cloud, |txn| {
        let tag = "lenticular:start-order=1".to_owned();
        txn.update::<Server>(&id(1), |server| server.tags = [tag].into());
    });
    let plan_id = recover(&mut cloud);
    assert_eq!(moving(&cloud), [id(1)]);
    // A second one finds nothing left to do.
    let again = new(&cloud, NewGoal::Recover(cloud.hosts[0]));
    assert_eq!(cloud.run(|txn| plan::start(txn, &admin(), &again)).unwrap_err().kind, ErrorKind::Conflict);
    say(&mut cloud, id(1), RUNS);
    tick(&mut cloud, &plan_id);
    assert_eq!(moving(&cloud).len(), 2);
    // One of them does not come up: it is tried again, and then left with its reason.
    let fails =
        ObservedState::Failed { message: "No memory.".to_owned(), details: String::new(), disk_made: true };
    say(&mut cloud, server_id(), RUNS);
    for _ in 0..3 {
        say(&mut cloud, id(0), fails.clone());
        tick(&mut cloud, &plan_id);
        pass(&mut cloud, 300);
        tick(&mut cloud, &plan_id);
    }
    assert!(!cloud.state.plans.contains_key(&plan_id), "it is over");
    assert_eq!(cloud.state.servers[&id(0)].status(), "ERROR");
    assert_eq!(cloud.server().status(), "ACTIVE");
}

#[test]
fn a_first_server_that_does_not_come_up_halts_the_recovery() {
    let mut cloud = died(2);
    let plan_id = recover(&mut cloud);
    let first = moving(&cloud)[0];
    let fails =
        ObservedState::Failed { message: "No memory.".to_owned(), details: String::new(), disk_made: true };
    for _ in 0..3 {
        say(&mut cloud, first, fails.clone());
        tick(&mut cloud, &plan_id);
        pass(&mut cloud, 300);
        tick(&mut cloud, &plan_id);
    }
    let PlanPhase::Halted { why } = phase(&cloud, &plan_id) else { panic!("it is halted") };
    assert!(why.contains("No memory."), "{why}");
    let down = cloud.state.servers.values().filter(|server| server.status() == "ERROR").count();
    assert_eq!(down, 3, "the others were not touched");
}

#[test]
fn a_host_that_is_back_wakes_its_plan() {
    let mut cloud = bootable(0);
    let plan_id = reboot(&mut cloud, Guests::Suspend);
    rest_all(&mut cloud, &plan_id, &ObservedState::Suspended);
    let before = cloud.state.clone();
    let host = cloud.hosts[0];
    change(&mut cloud, |txn| {
        txn.update::<Host>(&host, |host| "another".clone_into(&mut host.boot_id));
    });
    let mut keys = Default::default();
    woken(&before, &cloud.state, Kind::Host, &host.to_string(), &mut keys);
    assert!(keys.contains(&Key::Plan(plan_id)), "{keys:?}");
}
