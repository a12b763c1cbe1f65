//! Plans: what becomes of a plan and of its steps after any command or report.

use crate::lifecycle::{host_step, rest};
use lenticular_model::{
    HostId, Kind, PlanId, ServerId, SingletonId, Txn,
    compute::migration::{Migration, Phase},
    host::host::{Host, Intent},
    ops::{
        pace::{PACE, PlanPace},
        plan::{Plan, PlanPhase},
        plan_step::{PastStep, PlanStep, StepOutcome, StepState},
    },
    policy::{Caller, RoleLevel, Scope},
};

/// After a failed move a server waits so long for the next one, times the number of its failures, in seconds.
const RETRY_S: i64 = 60;
/// After a client aborted the move of a server, the server waits so long, in seconds.
const RETRY_ABORTED_S: i64 = 600;

/// The operator of a plan, for what the plan does to servers.
pub fn caller(plan: &Plan) -> Caller {
    Caller {
        user_id: plan.user_id,
        scope: Scope::System,
        level: RoleLevel::Admin,
        request_id: plan.request_id.clone(),
    }
}

/// Adds steps at the end of a plan.
pub fn add_steps(txn: &mut Txn<'_>, id: &PlanId, servers: Vec<(HostId, ServerId)>) {
    let Some(plan) = txn.plans.get(id) else { return };
    let (before, now) = (plan.steps, txn.now);
    let after = before + servers.len() as u64;
    for ((from, server), number) in servers.into_iter().zip(before + 1..) {
        txn.put(PlanStep {
            id: server,
            created_at: now,
            updated_at: None,
            plan_id: id.clone(),
            number,
            from,
            state: StepState::Waiting,
            failures: 0,
            trouble: None,
            skipped: None,
            arrived_at: None,
            retry_at: None,
            begun_at: None,
            unknown: Default::default(),
        });
    }
    txn.update::<Plan>(id, |plan| plan.steps = after);
}

/// A migration ended. If it was a plan's, its step goes on.
pub fn on_move_ended(txn: &mut Txn<'_>, migration: &Migration) {
    let Some(plan_id) = &migration.plan_id else { return };
    let step = txn.plan_steps.get(&migration.server_id);
    let Some(step) = step.filter(|step| step.migration() == Some(migration.id)).cloned() else { return };
    let (to, mode, now) = (migration.to, migration.mode, txn.now);
    match &migration.phase {
        Phase::Confirmed | Phase::Moved => {
            txn.update::<PlanStep>(&step.id, |step| {
                (step.state, step.arrived_at) = (StepState::Landed { to, mode }, Some(now));
            });
        }
        Phase::Failed { why } => {
            let failures = step.failures + 1;
            txn.update::<PlanStep>(&step.id, |step| {
                step.state = StepState::Waiting;
                step.failures = failures;
                step.trouble = Some(format!("its move to {} failed: {why}", migration.to_name));
                step.retry_at = Some(now.plus_s(RETRY_S * i64::from(failures)));
            });
            txn.update::<Plan>(plan_id, |plan| plan.failures_in_row += 1);
        }
        Phase::Cancelled | Phase::Reverted => {
            txn.update::<PlanStep>(&step.id, |step| {
                step.state = StepState::Waiting;
                step.trouble = Some("a client aborted its move".to_owned());
                step.retry_at = Some(now.plus_s(RETRY_ABORTED_S));
            });
        }
        Phase::Preparing | Phase::Moving | Phase::Withdrawing { .. } => {}
    }
}

/// Ends a step: it leaves State and stays in the store.
pub fn end_step(txn: &mut Txn<'_>, id: ServerId, outcome: StepOutcome) {
    let Some(step) = txn.delete::<PlanStep>(&id) else { return };
    let server = txn.servers.get(&id).cloned();
    let name = |host: HostId| txn.hosts.get(&host).map_or_else(|| host.to_string(), |host| host.name.clone());
    let has_moved = step.mode().is_some();
    let past = PastStep {
        plan_id: step.plan_id.clone(),
        number: step.number,
        server_id: id,
        server_name: server.as_ref().map(|server| server.name.clone()).unwrap_or_default(),
        project_id: server.as_ref().map(|server| server.project_id),
        from_name: name(step.from),
        to_name: server.as_ref().and_then(|server| server.host_id).map(name),
        mode: step.mode(),
        failures: step.failures,
        begun_at: step.begun_at,
        arrived_at: step.arrived_at,
        ended_at: txn.now,
        outcome: outcome.clone(),
    };
    txn.put_cold(Kind::PastPlanStep, past.past_key(), past);
    txn.update::<Plan>(&step.plan_id, |plan| match outcome {
        StepOutcome::Moved => {
            plan.moved += 1;
            plan.failures_in_row = 0;
        }
        StepOutcome::Woken { .. } => {
            plan.woken += 1;
            plan.failures_in_row = 0;
        }
        StepOutcome::Harmed { .. } => plan.moved += u64::from(has_moved),
        StepOutcome::Gone { .. } => {
            plan.gone += 1;
            // The move of a server that was deleted is no failure of the plan's.
            plan.failures_in_row = plan.failures_in_row.saturating_sub(step.failures.min(1));
        }
        StepOutcome::Dropped | StepOutcome::Skipped { .. } => {}
    });
}

/// Notes that a plan begins a move.
pub fn note_pace(txn: &mut Txn<'_>) {
    let (id, last_begin) = (SingletonId::from(PACE), txn.now);
    let (created_at, updated_at, unknown) = (last_begin, None, Default::default());
    txn.put(PlanPace { id, created_at, updated_at, last_begin, unknown });
}

/// Sets the phase of a plan that goes on, or can.
pub fn set_phase(txn: &mut Txn<'_>, id: &PlanId, phase: PlanPhase) {
    txn.update::<Plan>(id, |plan| plan.phase = phase);
}

/// Ends a plan, and what it had still to do. Moves that are under way end as they would, and guests that rest go on.
pub fn end(txn: &mut Txn<'_>, id: &PlanId, phase: PlanPhase) {
    wake_all(txn, id);
    if let Some(host) = txn.host_step_of_plan(id).map(|step| step.id) {
        host_step::end(txn, host, false);
    }
    let left: Vec<_> = txn.steps_of_plan(id).map(|step| (step.id, step.skipped.clone())).collect();
    for (server, skipped) in left {
        let outcome = skipped.map_or(StepOutcome::Dropped, |why| StepOutcome::Skipped { why });
        end_step(txn, server, outcome);
    }
    let Some(plan) = txn.delete::<Plan>(id) else { return };
    if let Some(host) = plan.host() {
        txn.update::<Host>(&host, |host| {
            if let Intent::Draining { plan_id, before } = &host.intent
                && plan_id == id
            {
                let aborted = phase == PlanPhase::Aborted;
                host.intent = Intent::Drained { plan_id: id.clone(), aborted, before: before.clone() };
            }
        });
    }
    let plan = Plan { phase, updated_at: Some(txn.now), ..Plan::clone(&plan) };
    if let Some(key) = Plan::past_key(id) {
        txn.put_cold(Kind::PastPlan, key, plan);
    }
}

/// Nobody has to wait for the end of a plan that does not come.
fn wake_all(txn: &mut Txn<'_>, id: &PlanId) {
    let Some(by) = txn.plans.get(id).map(|plan| caller(plan)) else { return };
    // A recovery has brought nobody to rest.
    if txn.host_step_of_plan(id).is_none() {
        return;
    }
    let rested = txn.steps_of_plan(id).filter(|step| matches!(step.state, StepState::Rested { .. }));
    for server in rested.map(|step| step.id).collect::<Vec<_>>() {
        if let Some(server) = txn.servers.get(&server).filter(|server| server.task.is_none()).cloned() {
            rest::wake(txn, &server, &by);
        }
    }
}
