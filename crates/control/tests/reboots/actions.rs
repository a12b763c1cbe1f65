//! Actions that a plan has a host run: in which order, when again, and what has to come of them.

use super::{
    boots::{boot, bootable, new, phase, prove, rest_all, say_action, stage},
    cloud::{Cloud, admin},
    fleet::{change, pass, tick},
};
use lenticular_control::{
    command::ops::plan::{self, NewGoal},
    lifecycle::restore,
};
use lenticular_model::{
    PlanId,
    error::Kind as ErrorKind,
    host::{action::ActionState, host::Host, observation::ObservedState},
    ops::{
        host_step::{Act, Guests, Stage},
        plan::PlanPhase,
    },
};

const ENDED_WELL: ActionState = ActionState::Ended { trouble: None, output: String::new() };

/// A host that allows an upgrade, and the plan that upgrades it.
fn upgrade(guests: Guests, actions: &[&str], expect: &str) -> (Cloud, PlanId) {
    let mut cloud = bootable(1);
    let host = cloud.hosts[0];
    change(&mut cloud, |txn| {
        txn.update::<Host>(&host, |host| {
            host.actions.push("upgrade".to_owned());
            host.versions.insert("agent".to_owned(), "0.1.0".to_owned());
        });
    });
    let actions = actions.iter().map(|action| (*action).to_owned()).collect();
    let act = Act { guests, actions, expect: Some(expect.parse().unwrap()) };
    let new = new(&cloud, NewGoal::Act(host, act));
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    tick(&mut cloud, &plan_id);
    (cloud, plan_id)
}

#[test]
fn a_host_runs_an_action_under_its_guests_and_has_to_be_what_is_expected() {
    let (mut cloud, plan_id) = upgrade(Guests::Stay, &["upgrade"], "agent=>=0.2.0");
    let host = cloud.hosts[0];
    let order = cloud.state.hosts[&host].order.action.clone().unwrap();
    assert_eq!((order.name.as_str(), order.expect.as_str()), ("upgrade", "agent=>=0.2.0"));
    assert!(cloud.state.plan_steps.is_empty(), "its guests run on");
    // How long it runs is up to the host.
    say_action(&mut cloud, &plan_id, ActionState::Running);
    pass(&mut cloud, 7_200);
    tick(&mut cloud, &plan_id);
    assert_eq!(phase(&cloud, &plan_id), PlanPhase::Running);
    say_action(&mut cloud, &plan_id, ENDED_WELL);
    tick(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    let why = "agent of host a is 0.1.0; >=0.2.0 was expected";
    assert_eq!(phase(&cloud, &plan_id), PlanPhase::Halted { why: why.to_owned() });
    // An operator brings the host there by hand.
    change(&mut cloud, |txn| {
        txn.update::<Host>(&host, |host| {
            host.versions.insert("agent".to_owned(), "0.2.1".to_owned());
        });
    });
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    tick(&mut cloud, &plan_id);
    assert!(!cloud.state.plans.contains_key(&plan_id), "it is done");
    assert!(cloud.state.hosts[&host].is_enabled());
    // What is there already is not done again.
    let act =
        Act { guests: Guests::Stay, actions: order_names(), expect: Some("agent=>=0.2.0".parse().unwrap()) };
    let again = new(&cloud, NewGoal::Act(host, act));
    let refused = cloud.run(|txn| plan::start(txn, &admin(), &again)).unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict);
    assert!(refused.message.contains("Host a has agent 0.2.1 already"), "{}", refused.message);
}

fn order_names() -> Vec<String> {
    vec!["upgrade".to_owned()]
}

#[test]
fn actions_run_one_after_another_while_no_guest_runs() {
    let (mut cloud, plan_id) = upgrade(Guests::Suspend, &["upgrade", "reboot"], "agent=0.2.0");
    let host = cloud.hosts[0];
    rest_all(&mut cloud, &plan_id, &ObservedState::Suspended);
    let order = |cloud: &Cloud| cloud.state.hosts[&host].order.action.clone().unwrap();
    let first = order(&cloud);
    assert_eq!(first.name, "upgrade");
    say_action(&mut cloud, &plan_id, ENDED_WELL);
    tick(&mut cloud, &plan_id);
    assert_eq!((order(&cloud).name.as_str(), order(&cloud).number > first.number), ("reboot", true));
    // The agent that was upgraded says so when the host is back.
    change(&mut cloud, |txn| {
        txn.update::<Host>(&host, |host| {
            host.versions.insert("agent".to_owned(), "0.2.0".to_owned());
        });
    });
    boot(&mut cloud, &plan_id);
    tick(&mut cloud, &plan_id);
    prove(&mut cloud, &plan_id);
    assert!(matches!(stage(&cloud), Stage::Waking), "{:?}", phase(&cloud, &plan_id));
}

#[test]
fn an_action_that_was_interrupted_is_run_again_on_an_operators_word_alone() {
    let (mut cloud, plan_id) = upgrade(Guests::Stay, &["upgrade"], "agent=0.2.0");
    let host = cloud.hosts[0];
    let number = |cloud: &Cloud| cloud.state.hosts[&host].order.action.as_ref().map(|order| order.number);
    let first = number(&cloud);
    say_action(&mut cloud, &plan_id, ActionState::Interrupted);
    let PlanPhase::Halted { why } = phase(&cloud, &plan_id) else { panic!("it goes on") };
    assert!(why.contains("nobody knows how far it came"), "{why}");
    tick(&mut cloud, &plan_id);
    assert_eq!(number(&cloud), first);
    cloud.run(|txn| plan::resume(txn, &admin(), &plan_id, (None, None))).unwrap();
    tick(&mut cloud, &plan_id);
    assert!(number(&cloud) > first);
    // A restored store does not know whether it ran since.
    change(&mut cloud, restore::begin);
    let PlanPhase::Halted { why } = phase(&cloud, &plan_id) else { panic!("it goes on") };
    assert!(why.contains("restored from a backup while host a was running upgrade"), "{why}");
    assert_eq!(number(&cloud), None);
}
