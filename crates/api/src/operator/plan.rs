//! Plans, for operators: previews, starts, pauses and ends of plans; and the freeze.

use super::{find, readiness::user_name};
use crate::{body::Message, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::{
    command::ops::plan::{self as command, NewGoal, NewPlan},
    plan::{InFlight, Pace, Preview, PreviewStep, Prospect, Wait, pace, turn, wait},
};
use lenticular_model::{
    AggregateId, HostId, Kind, PlanId, ProjectId, ServerId, State, Timestamp, Txn,
    compute::{migration::Mode, server::Server},
    error::{Error, Result},
    ops::{
        limits::Limits,
        plan::Plan,
        plan_step::{PastStep, PlanStep, StepOutcome, StepState},
    },
    policy::{self, Action, Caller},
};
use lenticular_wire::operator::{
    LimitsAsk, Nothing, PaceView, PlanAsk, PlanStepView, PlanView, ReasonAsk, ResumeAsk, SkipAsk,
};

/// How many ended plans are read at most.
const PAST_MAX: usize = 1_000;
/// How many ended steps of one plan are read at most.
const PAST_STEPS_MAX: usize = 100_000;
/// How many servers a refusal names at most.
const NAMED_MAX: usize = 3;

/// `GET /operator/v1/plans`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let mut views: Vec<PlanView> = ctx.state.plans.values().map(|plan| summary(&ctx.state, plan)).collect();
    if ctx.query.get("all").is_some_and(|all| all == "true") {
        views.extend(past(&ctx).await?.iter().map(|plan| summary(&ctx.state, plan)));
    }
    views.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| b.name.cmp(&a.name)));
    json(200, &views)
}

/// `GET /operator/v1/plans/{plan}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    json(200, &detail(&ctx, &ctx.state, &name).await?)
}

/// `POST /operator/v1/plans`
pub async fn start(ctx: Ctx, Message(ask): Message<PlanAsk>) -> Handled {
    policy::check(&ctx.caller, Action::PlanWrite, None)?;
    let new = read(&ctx, &ask)?;
    let preview = command::preview(&ctx.state, &ctx.caller, &new, ctx.app.now())?;
    if ask.dry_run {
        return json(200, &previewed(&ctx.state, &preview));
    }
    if !ask.anyway {
        need_hosts(&preview)?;
    }
    let why = format!("{}: {}", preview.plan.goal_text(), ask.reason);
    let id =
        ctx.commit(why.trim_end_matches(": "), move |txn, caller| command::start(txn, caller, &new)).await?;
    json(201, &detail(&ctx, &ctx.app.store.state(), id.as_str()).await?)
}

/// `POST /operator/v1/plans/{plan}/pause`
pub async fn pause(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<ReasonAsk>) -> Handled {
    let why = format!("pause plan {name}: {}", ask.reason);
    change(&ctx, &name, &why, move |txn, caller, id| command::pause(txn, caller, id, &ask.reason)).await
}

/// `POST /operator/v1/plans/{plan}/resume`
pub async fn resume(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<ResumeAsk>) -> Handled {
    let why = format!("resume plan {name}");
    let ResumeAsk { deadline_s, hard_limit } = ask;
    change(&ctx, &name, &why, move |txn, caller, id| {
        command::resume(txn, caller, id, (deadline_s, hard_limit))
    })
    .await
}

/// `POST /operator/v1/plans/{plan}/skip`
pub async fn skip(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<SkipAsk>) -> Handled {
    let server = find(&ctx, &ask.server)?.id;
    let why = match &ask.reason {
        Some(reason) => format!("plan {name} skips server {server}: {reason}"),
        None => format!("plan {name} skips server {server} no more"),
    };
    change(&ctx, &name, &why, move |txn, caller, id| command::skip(txn, caller, (id, server), ask.reason))
        .await
}

/// `POST /operator/v1/plans/{plan}/abort`
pub async fn abort(ctx: Ctx, Path(name): Path<String>) -> Handled {
    let why = format!("abort plan {name}");
    change(&ctx, &name, &why, command::abort).await
}

/// `POST /operator/v1/freeze`
pub async fn freeze(ctx: Ctx, Message(ask): Message<ReasonAsk>) -> Handled {
    let why = format!("freeze all plans: {}", ask.reason);
    ctx.commit(&why, move |txn, caller| command::freeze(txn, caller, &ask.reason)).await?;
    json(200, &Nothing {})
}

/// `POST /operator/v1/thaw`
pub async fn thaw(ctx: Ctx) -> Handled {
    ctx.commit("thaw all plans", command::thaw).await?;
    json(200, &Nothing {})
}

/// Runs a command on a plan, and answers with the plan as it is then.
async fn change(
    ctx: &Ctx,
    name: &str,
    why: &str,
    command: impl FnOnce(&mut Txn<'_>, &Caller, &PlanId) -> Result<()> + Send + 'static,
) -> Handled {
    let id = PlanId::from(name);
    ctx.commit(why, move |txn, caller| command(txn, caller, &id)).await?;
    json(200, &detail(ctx, &ctx.app.store.state(), name).await?)
}

fn read(ctx: &Ctx, ask: &PlanAsk) -> Result<NewPlan> {
    let state = &ctx.state;
    let said = [ask.drain.is_some(), ask.project.is_some(), ask.aggregate.is_some(), !ask.servers.is_empty()];
    if said.iter().filter(|said| **said).count() != 1 {
        return Err(Error::invalid(
            "Say in one way which servers move: drain, project, aggregate or servers.",
        ));
    }
    let goal = match (&ask.drain, &ask.project, &ask.aggregate) {
        (Some(host), ..) => {
            NewGoal::Drain(state.host_named(host).ok_or_else(|| Error::not_found("Host", host))?.id)
        }
        (_, Some(project), _) => NewGoal::Project(find_project(state, project)?),
        (.., Some(name)) => NewGoal::Aggregate(find_aggregate(state, name)?),
        _ => {
            let servers = ask.servers.iter().map(|server| Ok(find(ctx, server)?.id));
            NewGoal::Servers(servers.collect::<Result<Vec<ServerId>>>()?)
        }
    };
    Ok(NewPlan {
        goal,
        to: ask.to.as_ref().map(|name| find_aggregate(state, name)).transpose()?,
        reason: ask.reason.clone(),
        limits: limits(&ask.limits),
        loosened: ask.loosen.clone(),
        deadline_s: ask.deadline_s,
    })
}

fn find_aggregate(state: &State, name: &str) -> Result<AggregateId> {
    let aggregate = state.aggregate_named(name).ok_or_else(|| Error::not_found("Aggregate", name))?;
    Ok(aggregate.id)
}

/// Finds a project by its id, or by a name that only one project has.
fn find_project(state: &State, text: &str) -> Result<ProjectId> {
    if let Some(id) = text.parse().ok().filter(|id| state.projects.contains_key(id)) {
        return Ok(id);
    }
    let mut named = state.projects.values().filter(|project| project.name == text);
    match (named.next(), named.next()) {
        (Some(project), None) => Ok(project.id),
        (None, _) => Err(Error::not_found("Project", text)),
        _ => Err(Error::conflict(format!("Several projects are called {text}; name one by its id."))),
    }
}

fn limits(ask: &LimitsAsk) -> Limits {
    let default = Limits::default();
    Limits {
        per_host: ask.per_host.unwrap_or(default.per_host),
        per_rack: ask.per_rack.unwrap_or(default.per_rack),
        per_zone: ask.per_zone.unwrap_or(default.per_zone),
        between_servers_s: ask.between_servers_s.unwrap_or(default.between_servers_s),
        between_hosts_s: ask.between_hosts_s.unwrap_or(default.between_hosts_s),
        hard_limit: ask.hard_limit,
    }
}

/// Refuses a plan whose servers do not all find a host.
fn need_hosts(preview: &Preview) -> Result<()> {
    let without: Vec<(&PreviewStep, &String)> = preview
        .steps
        .iter()
        .filter_map(|step| match &step.prospect {
            Prospect::NoHost(why) => Some((step, why)),
            Prospect::Moves { .. } | Prospect::Waits(_) => None,
        })
        .collect();
    let Some((_, why)) = without.first() else { return Ok(()) };
    let named = without.iter().take(NAMED_MAX).map(|(step, _)| step.server.name.clone());
    let names = named.collect::<Vec<_>>().join(", ");
    let more = without.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    Err(Error::conflict(format!(
        "{} of {} servers find no host: {names}{more}. The first: {why} Nothing was changed. See all with --plan; with \
         --anyway the plan starts, and these servers wait for room.",
        without.len(),
        preview.steps.len()
    )))
}

async fn past(ctx: &Ctx) -> Result<Vec<Plan>> {
    let docs = ctx.app.store.list(Kind::PastPlan, "", None, PAST_MAX, true).await?;
    docs.iter().map(|(_, doc)| serde_json::from_str(doc).map_err(Error::internal)).collect()
}

/// A plan with its steps, whether it is over or not.
async fn detail(ctx: &Ctx, state: &State, name: &str) -> Result<PlanView> {
    let id = PlanId::from(name);
    let over =
        || Error::not_found_text(format!("There is no plan {name}. `lenticular plan list --all` shows all."));
    let plan = match state.plans.get(&id) {
        Some(plan) => Plan::clone(plan),
        None => past(ctx).await?.into_iter().find(|plan| plan.id == id).ok_or_else(over)?,
    };
    let docs = ctx.app.store.list(Kind::PastPlanStep, &format!("{id}/"), None, PAST_STEPS_MAX, false).await?;
    let past = docs.iter().map(|(_, doc)| serde_json::from_str(doc).map_err(Error::internal));
    let past: Vec<PastStep> = past.collect::<Result<_>>()?;
    let open = || state.steps_of_plan(&id);
    let moved = past.iter().filter(|step| step.mode.is_some());
    let began = moved.filter_map(|step| Some((step.begun_at?, step.arrived_at.or(Some(step.ended_at)))));
    let moving = open().filter(|step| !step.is_waiting());
    let begins = moving.filter_map(|step| Some((step.begun_at?, step.arrived_at)));
    let pace = pace(began.chain(begins).collect()).map(|found| pace_view(&plan, found));
    let now = Now {
        at: ctx.app.now(),
        flight: InFlight::of(state),
        under_way: open().any(|step| !step.is_waiting()),
    };
    let mut steps: Vec<PlanStepView> = past.iter().map(past_step).collect();
    steps.extend(open().map(|step| open_step(state, (&plan, step), &now)));
    steps.sort_by_key(|step| step.number);
    Ok(PlanView { steps, pace, claims: claims(state, &plan), ..summary(state, &plan) })
}

/// What is read once for all steps of a plan.
struct Now {
    at: Timestamp,
    flight: InFlight,
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
        most_in_flight: pace.most_in_flight,
    }
}

fn summary(state: &State, plan: &Plan) -> PlanView {
    let (mut waiting, mut under_way) = (0, 0);
    for step in state.steps_of_plan(&plan.id) {
        *(if step.is_waiting() { &mut waiting } else { &mut under_way }) += 1;
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
    let (word, mode) = match step.state {
        StepState::Waiting => ("waiting", None),
        StepState::Moving { mode, .. } => ("moving", Some(mode)),
        StepState::Landed { mode, .. } => ("landed", Some(mode)),
    };
    let held = server.filter(|_| step.is_waiting());
    let held = held.map(|server| held_back(state, (plan, step), server, now));
    PlanStepView {
        number: step.number,
        server: step.id.to_string(),
        name: server.map(|server| server.name.clone()).unwrap_or_default(),
        from: host_name(state, step.from),
        to: step.target().map(|host| host_name(state, host)),
        mode: mode.map(mode_name),
        state: word.to_owned(),
        next_try: held.as_ref().and_then(|held| held.until).map(Timestamp::iso),
        why: held.map(|held| held.why),
        begun: step.begun_at.map(Timestamp::iso),
        ended: None,
    }
}

/// What holds a step back that waits. If nothing does, its turn comes.
fn held_back(state: &State, (plan, step): (&Plan, &PlanStep), server: &Server, now: &Now) -> Wait {
    let held = wait(state, (plan, step), server, &now.flight, now.at).err();
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
fn previewed(state: &State, preview: &Preview) -> PlanView {
    let steps: Vec<PlanStepView> = preview.steps.iter().map(|step| preview_step(state, step)).collect();
    let waiting = steps.len() as u64;
    let plan = summary(state, &preview.plan);
    let (name, phase, since) = (String::new(), "preview".to_owned(), None);
    PlanView { name, phase, since, ended: None, waiting, claims: claims(state, &preview.plan), steps, ..plan }
}

fn preview_step(state: &State, step: &PreviewStep) -> PlanStepView {
    let (word, to, mode, why) = match &step.prospect {
        Prospect::Moves { to, mode } => ("moves", Some(*to), Some(*mode), None),
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
