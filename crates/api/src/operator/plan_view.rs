//! What operators see of a plan: its summary, its steps with what holds each back, its pace, or what it would do.

use super::readiness::user_name;
use crate::ctx::Ctx;
use lenticular_control::{
    lifecycle::host_step::is_now,
    plan::{Pace, Preview, PreviewStep, Prospect, UnderWay, Wait, pace, turn, wait, what_runs},
};
use lenticular_model::{
    HostId, Kind, PlanId, State, Timestamp,
    compute::{migration::Mode, server::Server},
    error::{Error, Result},
    host::{action::REBOOT, host::Host, readiness},
    ops::{
        host_step::{HostStep, HostWas, PastHostStep, Stage},
        limits::Limits,
        plan::{Goal, Plan},
        plan_step::{PastStep, PlanStep, Rest, StepOutcome, StepState},
    },
};
use lenticular_store::LIST_ROWS_MAX;
use lenticular_wire::operator::{HostStepView, PaceView, PlanStepView, PlanView};

/// How many ended plans are read at most.
const PAST_MAX: usize = 1_000;

/// The plans that ended last.
pub(super) async fn ended(ctx: &Ctx) -> Result<Vec<Plan>> {
    let docs = ctx.app.store.list(Kind::PastPlan, "", None, PAST_MAX, true).await?;
    docs.iter().map(|(_, doc)| serde_json::from_str(doc).map_err(Error::internal)).collect()
}

/// A plan with its steps, whether it is over or not. Without `all`, with its open steps alone, and without its pace.
pub(super) async fn detail(ctx: &Ctx, state: &State, name: &str, all: bool) -> Result<PlanView> {
    let id = PlanId::from(name);
    let plan = match state.plans.get(&id) {
        Some(plan) => Plan::clone(plan),
        None => find_ended(ctx, &id).await?,
    };
    let past = if all { ended_steps(ctx, &id).await? } else { Vec::new() };
    let open = || state.steps_of_plan(&id);
    let moved = past.iter().filter(|step| step.mode.is_some());
    let began = moved.filter_map(|step| Some((step.begun_at?, step.arrived_at.or(Some(step.ended_at)))));
    let moving = open().filter(|step| !step.is_waiting());
    let begins = moving.filter_map(|step| Some((step.begun_at?, step.arrived_at)));
    let pace = pace(began.chain(begins).collect()).filter(|_| all).map(|found| pace_view(&plan, found));
    let now = Now {
        at: ctx.app.now(),
        others: UnderWay::of(state),
        under_way: open().any(|step| step.is_under_way()),
    };
    let mut steps: Vec<PlanStepView> = past.iter().map(past_step).collect();
    steps.extend(open().map(|step| open_step(state, (&plan, step), &now)));
    steps.sort_by_key(|step| step.number);
    let host = match state.host_step_of_plan(&id) {
        Some(step) => Some(host_step(state, step)),
        None => ended_host_step(ctx, &plan).await?,
    };
    Ok(PlanView { host, steps, pace, claims: claims(state, &plan), ..summary(state, &plan) })
}

async fn find_ended(ctx: &Ctx, id: &PlanId) -> Result<Plan> {
    let none =
        || Error::not_found_text(format!("There is no plan {id}. `lenticular plan list --all` shows all."));
    let key = Plan::past_key(id).ok_or_else(none)?;
    let doc = ctx.app.store.get(Kind::PastPlan, &key).await?.ok_or_else(none)?;
    serde_json::from_str(&doc).map_err(Error::internal)
}

/// The steps of a plan that are over.
async fn ended_steps(ctx: &Ctx, id: &PlanId) -> Result<Vec<PastStep>> {
    let (mut steps, mut after) = (Vec::new(), None::<String>);
    loop {
        let prefix = format!("{id}/");
        let page =
            ctx.app.store.list(Kind::PastPlanStep, &prefix, after.as_deref(), LIST_ROWS_MAX, false).await?;
        let Some((last, _)) = page.last() else { return Ok(steps) };
        after = Some(last.clone());
        for (_, doc) in &page {
            steps.push(serde_json::from_str(doc).map_err(Error::internal)?);
        }
        if page.len() < LIST_ROWS_MAX {
            return Ok(steps);
        }
    }
}

/// What a plan did to the host that it booted.
async fn ended_host_step(ctx: &Ctx, plan: &Plan) -> Result<Option<HostStepView>> {
    let Goal::Act { host_id, .. } = plan.goal else { return Ok(None) };
    let key = PastHostStep::key(&plan.id, host_id);
    let doc = ctx.app.store.get(Kind::PastHostStep, &key).await?;
    let past = doc.map(|doc| serde_json::from_str::<PastHostStep>(&doc).map_err(Error::internal));
    Ok(past.transpose()?.map(|past| HostStepView {
        host: past.host_name,
        stage: if past.done { "done".to_owned() } else { format!("ended while {}", past.stage.text()) },
        since: past.ended_at.iso(),
        why: None,
        before: was(&past.before),
        after: was(&past.after),
    }))
}

fn was(was: &HostWas) -> String {
    let expected = was.version.as_ref().filter(|(name, _)| name != "kernel");
    let expected = expected.map(|(name, version)| format!("{name} {version}, ")).unwrap_or_default();
    format!("{expected}kernel {}, boot {}", was.kernel, was.boot_id)
}

fn host_step(state: &State, step: &HostStep) -> HostStepView {
    let host = state.hosts.get(&step.id);
    let until = |at: &Timestamp| format!("until {}", at.iso());
    let why = match &step.stage {
        Stage::Emptying => what_runs(state, step),
        Stage::Acting { name, until: at, .. } if name == REBOOT => {
            Some(format!("it should be back {}", until(at)))
        }
        Stage::Acting { until: at, .. } => match host.is_some_and(|host| runs(host, &step.stage)) {
            true => None,
            false => Some(format!("it should begin {}", until(at))),
        },
        Stage::Proving { until: at, .. } => {
            let lines = host.map(|host| readiness::of_host(state, host)).unwrap_or_default();
            let line = lines.into_iter().find(|line| !line.overruled).map(|line| line.text);
            let what = line.unwrap_or_else(|| "its check and its canary".to_owned());
            Some(format!("{what}; it has {}", until(at)))
        }
        Stage::Waking => None,
    };
    HostStepView {
        host: host_name(state, step.id),
        stage: step.stage.text(),
        since: step.since.iso(),
        why,
        before: was(&step.before),
        after: host.map(|host| was(&is_now(host, step.act.expect.as_ref()))).unwrap_or_default(),
    }
}

/// True if the action of this stage has begun.
fn runs(host: &Host, stage: &Stage) -> bool {
    let Stage::Acting { number, .. } = stage else { return false };
    host.action.as_ref().is_some_and(|action| action.number == *number)
}

/// What is read once for all steps of a plan.
struct Now {
    at: Timestamp,
    others: UnderWay,
    under_way: bool,
}

fn pace_view(plan: &Plan, pace: Pace) -> PaceView {
    let s = |ms: i64| ms as f64 / 1_000.0;
    let minutes = s(pace.span_ms) / 60.0;
    PaceView {
        asked_gap_s: plan.limits.between_servers_s,
        shortest_gap_s: s(pace.shortest_gap_ms),
        longest_gap_s: s(pace.longest_gap_ms),
        per_minute: if minutes > 0.0 { (pace.moves - 1) as f64 / minutes } else { 0.0 },
        most_under_way: pace.most_under_way,
    }
}

pub(super) fn summary(state: &State, plan: &Plan) -> PlanView {
    let (mut waiting, mut under_way) = (0, 0);
    for step in state.steps_of_plan(&plan.id) {
        *(if step.is_under_way() { &mut under_way } else { &mut waiting }) += 1;
    }
    let frozen = state.freeze().filter(|_| plan.is_running());
    let frozen = frozen.map(|freeze| {
        let by = user_name(state, freeze.user_id);
        format!("all plans are frozen since {} by {by}: {}", freeze.created_at.iso(), freeze.reason)
    });
    let phase = if frozen.is_some() { "frozen" } else { plan.phase.name() };
    let is_over = !state.plans.contains_key(&plan.id);
    PlanView {
        name: plan.id.to_string(),
        goal: plan.goal_text(),
        to: plan.to_name.clone(),
        phase: phase.to_owned(),
        why: frozen.or_else(|| plan.phase.why().map(str::to_owned)),
        reason: plan.reason.clone(),
        by: user_name(state, plan.user_id),
        since: Some(plan.created_at.iso()),
        ended: plan.updated_at.filter(|_| is_over).map(Timestamp::iso),
        deadline: plan.deadline.map(Timestamp::iso),
        limits: limit_texts(&plan.limits),
        loosened: plan.loosened.clone(),
        moved: plan.moved,
        woken: plan.woken,
        under_way,
        waiting,
        gone: plan.gone,
        ..PlanView::default()
    }
}

fn limit_texts(limits: &Limits) -> Vec<String> {
    let Limits { per_host, per_rack, per_zone, between_servers_s, between_hosts_s, hard_limit } = limits;
    let mut texts = vec![
        format!("{per_host} moves at a time per host, {per_rack} per rack and gateway, {per_zone} per zone"),
        format!("{between_servers_s} s between servers, {between_hosts_s} s between hosts"),
    ];
    texts.extend(hard_limit.map(|most| format!("{most} moves at most")));
    texts
}

/// What keeps a drained host from being empty, besides the servers on it.
fn claims(state: &State, plan: &Plan) -> Vec<String> {
    let Some(host) = plan.drained() else { return Vec::new() };
    let of_others = state.servers_on_host(host).filter_map(|server| {
        let other = state.plan_steps.get(&server.id).filter(|step| step.plan_id != plan.id)?;
        Some(format!("server {} ({}) is moved by plan {}", server.name, server.id, other.plan_id))
    });
    let here = state.migrations.values().filter(|migration| migration.from == host || migration.to == host);
    let claims = here.filter_map(|migration| {
        let server = state.servers.get(&migration.server_id)?;
        if server.host_id == Some(host) {
            return None;
        }
        let text = format!("server {} ({})", server.name, server.id);
        if server.ticket.as_ref().is_some_and(|ticket| ticket.to == host) {
            return Some(format!("{text} moves here"));
        }
        let last = server.unconfirmed.as_ref().filter(|last| last.from == host)?;
        let until = last.confirm_at.map(|at| format!(" until {}", at.iso())).unwrap_or_default();
        Some(format!("{text} may come back{until}: its owner has not confirmed or reverted its last move"))
    });
    of_others.chain(claims).collect()
}

fn host_name(state: &State, id: HostId) -> String {
    state.hosts.get(&id).map_or_else(|| id.to_string(), |host| host.name.clone())
}

fn mode_name(mode: Mode) -> String {
    match mode {
        Mode::Live => "live".to_owned(),
        Mode::Cold => "cold".to_owned(),
    }
}

fn open_step(state: &State, (plan, step): (&Plan, &PlanStep), now: &Now) -> PlanStepView {
    let server = state.servers.get(&step.id);
    let word = match (&step.state, &plan.goal) {
        (StepState::Waiting, _) => "waiting",
        (StepState::Moving { .. }, _) => "moving",
        (StepState::Landed { .. }, _) => "landed",
        (StepState::Resting { how: Rest::Suspend }, _) => "suspending",
        (StepState::Resting { how: Rest::Stop }, _) => "stopping",
        (StepState::Rested { .. }, Goal::Recover { .. }) => "down",
        (StepState::Rested { how: Rest::Suspend }, _) => "suspended",
        (StepState::Rested { how: Rest::Stop }, _) => "stopped",
        (StepState::Waking { how: Rest::Suspend }, _) => "resuming",
        (StepState::Waking { how: Rest::Stop }, _) => "starting",
    };
    let failed = step.trouble.clone().filter(|_| matches!(step.state, StepState::Rested { .. }));
    let held = server.filter(|_| step.is_waiting());
    let held = held.map(|server| held_back(state, (plan, step), server, now));
    PlanStepView {
        number: step.number,
        server: step.id.to_string(),
        name: server.map(|server| server.name.clone()).unwrap_or_default(),
        from: host_name(state, step.from),
        to: step.target().map(|host| host_name(state, host)),
        mode: step.mode().map(mode_name),
        state: word.to_owned(),
        next_try: held.as_ref().map_or(step.retry_at, |held| held.until).map(Timestamp::iso),
        why: held.map(|held| held.why).or(failed),
        begun: step.begun_at.map(Timestamp::iso),
        ended: None,
    }
}

/// What holds a step back that waits. If nothing does, its turn comes.
fn held_back(state: &State, (plan, step): (&Plan, &PlanStep), server: &Server, now: &Now) -> Wait {
    let held = wait(state, (plan, step), server, &now.others, now.at).err();
    let stopped = !plan.is_running() || state.freeze().is_some();
    let stopped = stopped.then(|| "the plan does not go on now".to_owned());
    let later = || turn(state, (plan, step), now.under_way, now.at).err();
    held.or(stopped.map(|why| Wait { why, until: None })).or_else(later).unwrap_or_else(|| {
        let why = "it waits for its turn, or for a host that may take part in one more move".to_owned();
        Wait { why, until: None }
    })
}

fn past_step(step: &PastStep) -> PlanStepView {
    let (word, why) = match &step.outcome {
        StepOutcome::Moved => ("moved", None),
        StepOutcome::Woken { how: Rest::Suspend } => ("resumed", None),
        StepOutcome::Woken { how: Rest::Stop } => ("started", None),
        StepOutcome::Harmed { .. } => ("harmed", Some(step.outcome.to_string())),
        StepOutcome::Gone { .. } => ("gone", Some(step.outcome.to_string())),
        StepOutcome::Skipped { .. } => ("skipped", Some(step.outcome.to_string())),
        StepOutcome::Dropped => ("dropped", Some(step.outcome.to_string())),
    };
    PlanStepView {
        number: step.number,
        server: step.server_id.to_string(),
        name: step.server_name.clone(),
        from: step.from_name.clone(),
        to: step.to_name.clone().filter(|_| step.mode.is_some()),
        mode: step.mode.map(mode_name),
        state: word.to_owned(),
        why,
        next_try: None,
        begun: step.begun_at.map(Timestamp::iso),
        ended: Some(step.ended_at.iso()),
    }
}

/// A plan that was not started.
pub(super) fn previewed(state: &State, preview: &Preview) -> PlanView {
    let steps: Vec<PlanStepView> = preview.steps.iter().map(|step| preview_step(state, step)).collect();
    let waiting = steps.len() as u64;
    let plan = summary(state, &preview.plan);
    let (name, phase, since) = (String::new(), "preview".to_owned(), None);
    PlanView { name, phase, since, ended: None, waiting, claims: claims(state, &preview.plan), steps, ..plan }
}

fn preview_step(state: &State, step: &PreviewStep) -> PlanStepView {
    let (word, to, mode, why) = match &step.prospect {
        Prospect::Moves { to, mode } => ("moves", Some(*to), Some(*mode), None),
        Prospect::Rests(Rest::Suspend) => ("suspends", None, None, None),
        Prospect::Rests(Rest::Stop) => ("stops", None, None, None),
        Prospect::Starts => ("starts", None, None, None),
        Prospect::Waits(why) => ("waits", None, None, Some(why.clone())),
        Prospect::NoHost(why) => ("finds no host", None, None, Some(why.clone())),
    };
    PlanStepView {
        number: step.step.number,
        server: step.server.id.to_string(),
        name: step.server.name.clone(),
        from: host_name(state, step.step.from),
        to: to.map(|host| host_name(state, host)),
        mode: mode.map(mode_name),
        state: word.to_owned(),
        why,
        ..PlanStepView::default()
    }
}
