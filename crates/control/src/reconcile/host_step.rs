//! The stages of a host that carries out a plan's actions: it is emptied, acts, proves itself, and its guests go on.
//!
//! `lenticular_model::ops::host_step` shows the stages. Each is left when the host is seen to be further, so a crash at any
//! point repeats nothing.

use crate::{
    lifecycle::{canary, host_step, plan as lifecycle, rest},
    plan::what_runs,
};
use lenticular_model::{
    Timestamp, Txn,
    host::{
        action::{ActionOrder, ActionState, REBOOT},
        host::{Host, PROTOCOL_WITH_HOST_ORDERS},
        readiness,
    },
    ops::{
        host_step::{BACK_WITHIN_S, BEGUN_WITHIN_S, HostStep, Stage},
        plan::{Plan, PlanPhase},
        plan_step::{PlanStep, StepState},
    },
};
use std::sync::Arc;

/// What speaks against a host after its check and its canary may go away by itself for so long, in seconds.
const SETTLED_WITHIN_S: i64 = 90;

/// Moves the host of a plan on, if it is further. Returns when to look again.
pub fn advance(txn: &mut Txn<'_>, plan: &Plan) -> Option<Timestamp> {
    let step = txn.host_step_of_plan(&plan.id)?.clone();
    let Some(host) = txn.hosts.get(&step.id).cloned() else {
        host_step::end(txn, step.id, false);
        return None;
    };
    match step.stage {
        Stage::Emptying => {
            if what_runs(txn, &step).is_none() {
                act(txn, &step, &host);
            }
            None
        }
        Stage::Acting { ref name, number, until } => {
            let order = Ordered { name, number, until };
            acting(txn, (plan, &step), &host, order)
        }
        Stage::Proving { check, canary, until } => proving(txn, (plan, &step), &host, (check, canary, until)),
        Stage::Waking => {
            wake(txn, plan);
            let left = txn.steps_of_plan(&plan.id).any(|step| step.skipped.is_none());
            if !left {
                host_step::end(txn, host.id, true);
            }
            None
        }
    }
}

/// Orders the host's next action. After the last one the host proves itself.
fn act(txn: &mut Txn<'_>, step: &HostStep, host: &Host) {
    let Some(name) = step.act.actions.get(step.acted).cloned() else { return host_step::prove(txn, host) };
    let number = txn.seq;
    let until = txn.now.plus_s(if name == REBOOT { BACK_WITHIN_S } else { BEGUN_WITHIN_S });
    let (boot_id, expect) = (host.boot_id.clone(), step.act.expect.as_ref().map(ToString::to_string));
    let order = ActionOrder { number, name: name.clone(), boot_id, expect: expect.unwrap_or_default() };
    txn.update::<Host>(&host.id, |host| host.order.action = Some(order));
    host_step::enter(txn, host.id, Stage::Acting { name, number, until });
}

fn halt(txn: &mut Txn<'_>, plan: &Plan, why: String) -> Option<Timestamp> {
    lifecycle::set_phase(txn, &plan.id, PlanPhase::Halted { why });
    None
}

/// An action that was ordered.
struct Ordered<'a> {
    name: &'a str,
    number: u64,
    until: Timestamp,
}

fn acting(
    txn: &mut Txn<'_>,
    (plan, step): (&Plan, &HostStep),
    host: &Host,
    Ordered { name, number, until }: Ordered<'_>,
) -> Option<Timestamp> {
    let ran = host.action.as_ref().filter(|action| action.number == number).map(|action| &action.state);
    let (boots, host_name) = (name == REBOOT, &host.name);
    let is_over = match boots {
        true => host_step::has_booted(host) && host.is_up(),
        false => matches!(ran, Some(ActionState::Ended { trouble: None, .. })),
    };
    if is_over {
        txn.update::<HostStep>(&step.id, |step| step.acted += 1);
        host_step::enter(txn, step.id, Stage::Emptying);
        return Some(txn.now);
    }
    if let Some(ActionState::Ended { trouble: Some(trouble), output }) = ran {
        let said = output.lines().next_back().filter(|line| !line.is_empty());
        let said = said.map(|line| format!(": {line}")).unwrap_or_default();
        return halt(txn, plan, format!("host {host_name} could not run its action {name}, {trouble}{said}"));
    }
    let allowed = host.actions.iter().any(|action| action == name);
    if host.is_up() && !allowed && ran.is_none() {
        return halt(
            txn,
            plan,
            format!("the configuration of host {host_name} allows no action {name} any more"),
        );
    }
    let is_lost = ran == Some(&ActionState::Interrupted) || ran.is_none() && host_step::has_booted(host);
    if !boots && is_lost {
        let why = format!(
            "the agent of host {host_name} ended while its action {name} ran, or the host booted; nobody knows how far it came"
        );
        return halt(txn, plan, why);
    }
    // How long another action may run is up to the host.
    let runs = !boots && ran.is_some() && host.is_up();
    if txn.now < until || runs {
        return Some(until).filter(|until| txn.now < *until);
    }
    let begun = match ran {
        None => format!("its agent has not said that it began the action {name}"),
        Some(ActionState::Running) => format!("its action {name} runs"),
        Some(ActionState::Ended { .. }) => format!("its action {name} ended well"),
        Some(ActionState::Interrupted) => format!("its agent ended during the action {name}"),
    };
    let (what, minutes) = match boots {
        true => ("booted and come back", BACK_WITHIN_S / 60),
        false => ("begun what it was ordered to do", BEGUN_WITHIN_S / 60),
    };
    halt(txn, plan, format!("host {host_name} has not {what} within {minutes} minutes; {begun}"))
}

/// The host runs a canary, as soon as few others of its zone run one.
fn order_canary(txn: &mut Txn<'_>, host: &Host, (check, until): (u64, Timestamp)) {
    let number = match &host.order.canary {
        Some(order) if host.runs_canary(txn.now) => Some(order.number),
        _ => canary::order_if_room(txn, host),
    };
    if number.is_some() {
        let stage = Stage::Proving { check, canary: number, until };
        txn.update::<HostStep>(&host.id, |step| step.stage = stage);
    }
}

fn proving(
    txn: &mut Txn<'_>,
    (plan, step): (&Plan, &HostStep),
    host: &Host,
    (check, canary, until): (u64, Option<u64>, Timestamp),
) -> Option<Timestamp> {
    let name = &host.name;
    // An agent of an older release makes no checks on orders, and has told everything with its registration.
    let checked = host.checked >= check || host.protocol < PROTOCOL_WITH_HOST_ORDERS;
    let can_run = host.protocol >= PROTOCOL_WITH_HOST_ORDERS && host.probe_addresses().is_some();
    if canary.is_none() && can_run && host.answers_probes() {
        order_canary(txn, host, (check, until));
    }
    let has_run = canary.map_or(!can_run, |number| host.canaries.ended >= number);
    let passed = canary.is_none_or(|number| host.canaries.passed >= number);
    let ended = checked && has_run;
    if ended && !passed {
        return halt(txn, plan, format!("the canary of host {name} failed{}", said_of(host)));
    }
    // What is expected is said with the check at the latest.
    if let Some(expect) = step.act.expect.as_ref().filter(|expect| checked && !expect.is_met(host)) {
        let is = host.versions.get(&expect.name).map_or("not known", String::as_str);
        let what = &expect.name;
        return halt(txn, plan, format!("{what} of host {name} is {is}; {} was expected", expect.versions));
    }
    let against = readiness::of_host(txn, host).into_iter().find(|line| !line.overruled);
    if ended && against.is_none() && host.is_up() {
        host_step::enter(txn, step.id, Stage::Waking);
        return Some(txn.now);
    }
    // A rule is not kept by waiting.
    let broken = against.as_ref().filter(|line| line.name.starts_with(readiness::RULE));
    if let Some(line) = broken.filter(|_| checked) {
        return halt(txn, plan, format!("host {name} is not ready: {}", line.text));
    }
    let until = if ended { until.min(step.since.plus_s(SETTLED_WITHIN_S)) } else { until };
    if txn.now < until {
        return Some(until);
    }
    let why = match against {
        _ if !checked => "it has not made the check that it was ordered to make".to_owned(),
        _ if !ended => "it has not said how its canary ended".to_owned(),
        Some(line) => line.text,
        None => "it does not answer".to_owned(),
    };
    halt(txn, plan, format!("host {name} has not proved itself: {why}"))
}

fn said_of(host: &Host) -> String {
    let trouble = host.trouble(lenticular_model::host::evidence::CANARY);
    trouble.map(|trouble| format!(": {trouble}")).unwrap_or_default()
}

/// Has guests go on: one first, then the others.
pub fn wake(txn: &mut Txn<'_>, plan: &Plan) {
    let now = txn.now;
    let steps: Vec<Arc<PlanStep>> = txn.steps_of_plan(&plan.id).cloned().collect();
    if plan.woken == 0 && steps.iter().any(|step| matches!(step.state, StepState::Waking { .. })) {
        return;
    }
    let by = lifecycle::caller(plan);
    let resting = |step: &&Arc<PlanStep>| match step.state {
        StepState::Rested { how } if step.skipped.is_none() => Some((step.id, how, step.retry_at)),
        _ => None,
    };
    let mut ready: Vec<_> = steps.iter().filter_map(|step| resting(&step)).collect();
    ready.sort_by_key(|(id, ..)| txn.servers.get(id).map(|server| rest::start_place(server)));
    for (id, how, retry_at) in ready.into_iter().take(if plan.woken == 0 { 1 } else { usize::MAX }) {
        if retry_at.is_some_and(|at| at > now) {
            continue;
        }
        let Some(server) = txn.servers.get(&id).filter(|server| server.task.is_none()).cloned() else {
            continue;
        };
        rest::wake(txn, &server, &by);
        txn.update::<PlanStep>(&id, |step| {
            (step.state, step.begun_at, step.retry_at) = (StepState::Waking { how }, Some(now), None);
        });
    }
}
