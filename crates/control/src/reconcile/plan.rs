//! The plan controller: notes which steps are over, halts a plan that does harm, and begins the next move when the limits
//! permit it.
//!
//! One server goes first. The others wait until it runs on its target. Then one host goes first, and then the others.

use crate::{
    lifecycle::{
        migration::{self, Move},
        plan as lifecycle, rest,
    },
    plan::{Deed, UnderWay, choose, in_order, purpose, turn, wait},
    reconcile::host_step,
    schedule::Verdict,
};
use lenticular_model::{
    HostId, Kind, MigrationId, PlanId, ServerId, Timestamp, Txn,
    compute::{
        migration::Mode,
        operation::OperationKind,
        server::{Condition, Server, Wanted},
    },
    error::Result,
    host::{host::Host, readiness},
    ops::{
        host_step::{Guests, Stage},
        plan::{Goal, Plan, PlanPhase},
        plan_step::{PlanStep, Rest, StepOutcome, StepState},
    },
};
use std::sync::Arc;

/// So many failed moves in a row, or of one server, halt a plan.
const FAILURES_MAX: u32 = 3;
/// After a server found no host, it waits so long for the next try, in seconds.
const NO_HOST_RETRY_S: i64 = 60;
/// So many servers without a host are noted in one commit.
const NO_HOST_AT_ONCE: usize = 50;

/// One step for one plan.
pub fn reconcile(id: PlanId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    settle(txn, &id);
    let plan = txn.plans.get(&id)?.clone();
    if !plan.is_running() || txn.freeze().is_some() {
        return None;
    }
    adopt(txn, &plan);
    let of_host = match plan.goal {
        Goal::Recover { .. } => {
            host_step::wake(txn, &plan);
            None
        }
        _ => host_step::advance(txn, &plan),
    };
    let plan = txn.plans.get(&id)?.clone();
    if !plan.is_running() {
        return None;
    }
    if is_done(txn, &plan) {
        lifecycle::end(txn, &id, PlanPhase::Done);
        return None;
    }
    if let Some(phase) = stop(txn, &plan) {
        lifecycle::set_phase(txn, &id, phase);
        return None;
    }
    let retries = txn.steps_of_plan(&id).filter(|step| !step.is_waiting()).filter_map(|step| step.retry_at);
    let retry = retries.filter(|at| *at > txn.now).min();
    [begin_next(txn, &plan), of_host, retry, plan.deadline].into_iter().flatten().min()
}

/// Notes how far each step has come.
fn settle(txn: &mut Txn<'_>, id: &PlanId) {
    let steps: Vec<Arc<PlanStep>> = txn.steps_of_plan(id).cloned().collect();
    for step in steps {
        let server = txn.servers.get(&step.id).filter(|server| server.wanted != Wanted::Absent).cloned();
        let Some(server) = server else {
            lifecycle::end_step(txn, step.id, StepOutcome::Gone { why: "the server was deleted".to_owned() });
            continue;
        };
        match step.state {
            StepState::Waiting => settle_waiting(txn, &step, &server),
            StepState::Moving { to, mode, migration_id } => {
                let moves = server.ticket.as_ref().is_some_and(|ticket| ticket.migration_id == migration_id);
                if !moves {
                    let state = match server.host_id == Some(to) {
                        true => StepState::Landed { to, mode },
                        false => StepState::Waiting,
                    };
                    txn.update::<PlanStep>(&step.id, |step| step.state = state);
                }
            }
            StepState::Landed { .. } => settle_landed(txn, &step, &server),
            StepState::Resting { how } => settle_resting(txn, &step, &server, how),
            StepState::Rested { .. } => settle_rested(txn, &step, &server),
            StepState::Waking { how } => settle_waking(txn, &step, &server, how),
        }
    }
}

fn settle_waiting(txn: &mut Txn<'_>, step: &PlanStep, server: &Server) {
    if server.host_id == Some(step.from) {
        let of_host = txn.host_step_of_plan(&step.plan_id);
        let rests = of_host.is_some_and(|step| step.act.guests.rest().is_some());
        if rests && !rest::is_on(server) && server.task.is_none() {
            let why = "its guest does not run".to_owned();
            lifecycle::end_step(txn, step.id, StepOutcome::Gone { why });
        }
        return;
    }
    let Some(plan) = txn.plans.get(&step.plan_id) else { return };
    let Some(host) = server.host_id.and_then(|host| txn.hosts.get(&host)) else {
        let why = "the server is on no host".to_owned();
        return lifecycle::end_step(txn, step.id, StepOutcome::Gone { why });
    };
    let is_target = |to| txn.aggregate_ids_of_host(host.id).any(|id| id == to);
    match plan.drained().is_some() || plan.to.is_none_or(is_target) {
        true => {
            let why = format!("the server is on {} already", host.name);
            lifecycle::end_step(txn, step.id, StepOutcome::Gone { why });
        }
        // Somebody moved it, and not to where the plan moves it.
        false => {
            let from = host.id;
            txn.update::<PlanStep>(&step.id, |step| step.from = from);
        }
    }
}

fn settle_landed(txn: &mut Txn<'_>, step: &PlanStep, server: &Server) {
    use OperationKind::{LiveMigrate, Migrate};
    if server.task.as_ref().is_some_and(|task| matches!(task.action, Migrate | LiveMigrate)) {
        return;
    }
    let fault = server.fault.as_ref().map_or("its guest does not run", |fault| &fault.message);
    let outcome = match server.condition {
        Condition::Error => StepOutcome::Harmed { why: fault.to_owned() },
        _ => StepOutcome::Moved,
    };
    let harm = matches!(outcome, StepOutcome::Harmed { .. }).then(|| {
        let host = step.target().and_then(|host| txn.hosts.get(&host));
        let host = host.map_or("its new host", |host| &host.name);
        format!("server {} ({}) is in ERROR on {host} after its move: {fault}", server.name, server.id)
    });
    lifecycle::end_step(txn, step.id, outcome);
    if let Some(why) = harm {
        lifecycle::set_phase(txn, &step.plan_id, PlanPhase::Halted { why });
    }
}

fn settle_resting(txn: &mut Txn<'_>, step: &PlanStep, server: &Server, how: Rest) {
    if rest::has_come_to(server, how) {
        txn.update::<PlanStep>(&step.id, |step| step.state = StepState::Rested { how });
    } else if server.task.is_none() {
        let what = match how {
            Rest::Suspend => "it could not be suspended",
            Rest::Stop => "it could not be stopped",
        };
        fail_try(txn, step, StepState::Waiting, format!("{what}; the server's actions say why"));
    }
}

/// A step has failed, and is tried again later.
fn fail_try(txn: &mut Txn<'_>, step: &PlanStep, state: StepState, why: String) {
    let (failures, now) = (step.failures + 1, txn.now);
    txn.update::<PlanStep>(&step.id, |step| {
        (step.state, step.failures, step.trouble) = (state, failures, Some(why));
        step.retry_at = Some(now.plus_s(NO_HOST_RETRY_S * i64::from(failures)));
    });
    txn.update::<Plan>(&step.plan_id, |plan| plan.failures_in_row += 1);
}

/// The owner of a server may act on it while it rests.
fn settle_rested(txn: &mut Txn<'_>, step: &PlanStep, server: &Server) {
    let goes_on = matches!(server.wanted, Wanted::Running | Wanted::Paused) && !rest::is_down(server);
    if !goes_on {
        return;
    }
    let empties = txn.host_step_of_plan(&step.plan_id).is_some_and(|step| step.stage == Stage::Emptying);
    match empties {
        true => drop(txn.update::<PlanStep>(&step.id, |step| step.state = StepState::Waiting)),
        false => {
            let why = "it was started meanwhile".to_owned();
            lifecycle::end_step(txn, step.id, StepOutcome::Gone { why });
        }
    }
}

fn settle_waking(txn: &mut Txn<'_>, step: &PlanStep, server: &Server, how: Rest) {
    if server.task.is_some() {
        return;
    }
    match (server.condition, server.wanted) {
        (Condition::Active | Condition::Paused, _) => {
            lifecycle::end_step(txn, step.id, StepOutcome::Woken { how });
        }
        // Its host starts it by itself.
        (Condition::Building | Condition::Stopped, Wanted::Running) => {}
        (Condition::Stopped, _) => {
            let why = "it was stopped meanwhile".to_owned();
            lifecycle::end_step(txn, step.id, StepOutcome::Gone { why });
        }
        (Condition::Suspended | Condition::Error | Condition::Building, _) => {
            let fault = server.fault.as_ref().map(|fault| fault.message.clone());
            let why = fault.unwrap_or_else(|| "it did not go on; the server's actions say why".to_owned());
            if step.failures + 1 < FAILURES_MAX {
                return fail_try(txn, step, StepState::Rested { how }, why);
            }
            let first = txn.plans.get(&step.plan_id).is_some_and(|plan| plan.woken == 0);
            let (name, id) = (&server.name, server.id);
            let halts = format!("the first server to go on, {name} ({id}), does not: {why}");
            lifecycle::end_step(txn, step.id, StepOutcome::Harmed { why });
            if first {
                lifecycle::set_phase(txn, &step.plan_id, PlanPhase::Halted { why: halts });
            }
        }
    }
}

/// Adds the servers that came to a draining host since the plan was made: moves that were under way ended there.
fn adopt(txn: &mut Txn<'_>, plan: &Plan) {
    let Some(host) = plan.host() else { return };
    let step = txn.host_step_of_plan(&plan.id);
    if step.is_some_and(|step| step.stage != Stage::Emptying || step.act.guests == Guests::Stay) {
        return;
    }
    let rests = step.is_some_and(|step| step.act.guests.rest().is_some());
    let new = |server: &&Arc<Server>| {
        let is_here = server.wanted != Wanted::Absent && (!rests || rest::is_on(server));
        is_here && !txn.plan_steps.contains_key(&server.id)
    };
    let new: Vec<ServerId> = txn.servers_on_host(host).filter(new).map(|server| server.id).collect();
    if !new.is_empty() {
        let ordered = in_order(txn, new.into_iter());
        lifecycle::add_steps(txn, &plan.id, ordered);
    }
}

/// Done means: no step is left but skipped ones, a host that boots went through its stages, and nothing takes room on a host
/// that is drained.
fn is_done(txn: &Txn<'_>, plan: &Plan) -> bool {
    if matches!(plan.goal, Goal::Act { .. }) {
        return txn.host_step_of_plan(&plan.id).is_none();
    }
    txn.steps_of_plan(&plan.id).all(|step| step.skipped.is_some() && step.is_waiting())
        && plan.drained().is_none_or(|host| txn.taken_of_host(host).servers == 0)
}

/// Why a plan has to stop now; `None` if it goes on.
fn stop(txn: &Txn<'_>, plan: &Plan) -> Option<PlanPhase> {
    if let Some(why) = harm(txn, plan) {
        return Some(PlanPhase::Halted { why });
    }
    let left = servers(txn.steps_of_plan(&plan.id).count() as u64);
    let mut steps = txn.steps_of_plan(&plan.id).peekable();
    if steps.peek().is_some() && steps.all(|step| step.skipped.is_some()) {
        let why = format!("{left} left, and an operator skipped all of them");
        return Some(PlanPhase::Paused { why });
    }
    if let Some(deadline) = plan.deadline.filter(|deadline| *deadline <= txn.now) {
        let why = format!("its deadline {} has passed; {left} left", deadline.iso());
        return Some(PlanPhase::Paused { why });
    }
    let most = plan.limits.hard_limit.filter(|most| plan.begun >= *most)?;
    let waits = txn.steps_of_plan(&plan.id).any(|step| step.is_waiting());
    waits.then(|| PlanPhase::Paused { why: format!("it reached its hard limit ({most}); {left} left") })
}

/// A number of servers, with its verb.
fn servers(n: u64) -> String {
    if n == 1 { "1 server is".to_owned() } else { format!("{n} servers are") }
}

fn harm(txn: &Txn<'_>, plan: &Plan) -> Option<String> {
    if let Some(to) = plan.to.filter(|to| !txn.aggregates.contains_key(to)) {
        let name = plan.to_name.clone().unwrap_or_else(|| to.to_string());
        return Some(format!(
            "aggregate {name}, to which it moves servers, was deleted; abort the plan and start another"
        ));
    }
    let trouble = |step: &PlanStep| {
        let name = txn.servers.get(&step.id).map(|server| server.name.clone()).unwrap_or_default();
        format!("{name} ({}): {}", step.id, step.trouble.as_deref().unwrap_or("no reason is known"))
    };
    let failed = || txn.steps_of_plan(&plan.id).filter(|step| step.failures > 0 && step.skipped.is_none());
    if let Some(step) = failed().find(|step| step.failures >= FAILURES_MAX) {
        return Some(format!("{} tries with one server failed, {}", step.failures, trouble(step)));
    }
    if plan.failures_in_row >= FAILURES_MAX {
        let last = failed().max_by_key(|step| step.begun_at).map(|step| trouble(step));
        let last = last.unwrap_or_else(|| "and the servers are gone".to_owned());
        return Some(format!("{} tries in a row failed; the last was with {last}", plan.failures_in_row));
    }
    let dark =
        |host: &Arc<Host>| readiness::of_host(txn, host).into_iter().any(|line| line.name == readiness::DARK);
    let targets = txn.steps_of_plan(&plan.id).filter_map(|step| step.target());
    let dark = targets.filter_map(|host| txn.hosts.get(&host)).find(|host| dark(host))?;
    Some(format!("host {}, to which the plan moves servers, is dark", dark.name))
}

/// Begins the next move, if the limits permit one. Returns when to look again, if time alone has to pass.
fn begin_next(txn: &mut Txn<'_>, plan: &Plan) -> Option<Timestamp> {
    let now = txn.now;
    let others = UnderWay::of(txn);
    let under_way = txn.steps_of_plan(&plan.id).any(|step| step.is_under_way());
    let steps: Vec<Arc<PlanStep>> =
        txn.steps_of_plan(&plan.id).filter(|step| step.is_waiting()).cloned().collect();
    let (mut wake, mut without_host) = (None::<Timestamp>, 0);
    for step in steps {
        if let Err(held) = turn(txn, (plan, &step), under_way, now) {
            return wake.into_iter().chain(held.until).min();
        }
        let Some(server) = txn.servers.get(&step.id).cloned() else { continue };
        let mode = match wait(txn, (plan, &step), &server, &others, now) {
            Ok(Deed::Move(mode)) => mode,
            Ok(Deed::Rest(how)) => {
                rest::begin(txn, &server, how, &lifecycle::caller(plan));
                note_begin(txn, plan, &step, StepState::Resting { how });
                return Some(now.plus_s(plan.limits.between_servers_s));
            }
            Err(held) => {
                wake = wake.into_iter().chain(held.until).min();
                continue;
            }
        };
        match choose(txn, plan, &server, mode, &others) {
            (Some(to), verdict) => {
                let Ok(migration_id) = begin(txn, plan, &server, (to, mode), verdict) else { continue };
                note_begin(txn, plan, &step, StepState::Moving { migration_id, to, mode });
                return Some(now.plus_s(plan.limits.between_servers_s));
            }
            // A host would take it, and takes part in other moves now.
            (None, verdict) if verdict.counts().contains_key("ConcurrentMovesFilter") => {
                without_host += 1;
                if without_host == NO_HOST_AT_ONCE {
                    return wake;
                }
            }
            (None, verdict) => {
                let at = now.plus_s(NO_HOST_RETRY_S);
                txn.update::<PlanStep>(&step.id, |step| {
                    step.trouble = Some(verdict.explain());
                    step.retry_at = Some(at);
                });
                wake = Some(wake.map_or(at, |wake| wake.min(at)));
                without_host += 1;
                if without_host == NO_HOST_AT_ONCE {
                    return Some(now);
                }
            }
        }
    }
    wake
}

/// Begins the move of a server.
///
/// # Errors
/// One of the hosts is gone.
fn begin(
    txn: &mut Txn<'_>,
    plan: &Plan,
    server: &Server,
    (to, mode): (HostId, Mode),
    verdict: Verdict,
) -> Result<MigrationId> {
    let by = lifecycle::caller(plan);
    let (purpose, snapshot, plan_id) = (purpose(mode), server.flavor_snapshot(), Some(plan.id.clone()));
    let id = migration::open(txn, Some(&by), server, Move { to, mode, purpose, snapshot, plan_id })?;
    txn.put_cold(Kind::Verdict, server.id.to_string(), verdict);
    Ok(id)
}

fn note_begin(txn: &mut Txn<'_>, plan: &Plan, step: &PlanStep, state: StepState) {
    let now = txn.now;
    txn.update::<PlanStep>(&step.id, |step| {
        (step.state, step.begun_at) = (state, Some(now));
        (step.retry_at, step.trouble) = (None, None);
    });
    lifecycle::note_pace(txn);
    txn.update::<Plan>(&plan.id, |plan| {
        plan.begun += 1;
        plan.last_begin = Some(now);
        if !plan.begun_hosts.contains(&step.from) {
            plan.begun_hosts.push(step.from);
            plan.last_host_begin = Some(now);
        }
    });
}
