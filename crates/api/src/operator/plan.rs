//! Plans, for operators: previews, starts, pauses and ends of plans; and the freeze.

use super::{
    find,
    plan_view::{detail, ended, previewed, summary},
};
use crate::{body::Message, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::{
    command::ops::plan::{self as command, NewGoal, NewPlan},
    plan::{Preview, PreviewStep, Prospect},
};
use lenticular_model::{
    AggregateId, HostId, PlanId, ProjectId, ServerId, State, Txn,
    error::{Error, Result},
    host::action::REBOOT,
    ops::{
        host_step::{Act, Guests},
        limits::Limits,
    },
    policy::{self, Action, Caller},
};
use lenticular_wire::operator::{LimitsAsk, Nothing, PlanAsk, PlanView, ReasonAsk, ResumeAsk, SkipAsk};
use std::collections::HashMap;

/// How many servers a refusal names at most.
const NAMED_MAX: usize = 3;

/// `GET /operator/v1/plans`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let mut views: Vec<PlanView> = ctx.state.plans.values().map(|plan| summary(&ctx.state, plan)).collect();
    if ctx.query.get("all").is_some_and(|all| all == "true") {
        views.extend(ended(&ctx).await?.iter().map(|plan| summary(&ctx.state, plan)));
    }
    views.sort_by(|a, b| b.since.cmp(&a.since).then_with(|| b.name.cmp(&a.name)));
    json(200, &views)
}

/// `GET /operator/v1/plans/{plan}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let all = match ctx.query.get("steps") {
        None | Some("all") => true,
        Some("open") => false,
        Some(other) => {
            return Err(Error::invalid(format!("There are no steps {other:?}; say all or open.")).into());
        }
    };
    json(200, &detail(&ctx, &ctx.state, &name, all).await?)
}

/// `POST /operator/v1/plans`
pub async fn start(ctx: Ctx, Message(ask): Message<PlanAsk>) -> Handled {
    policy::check(&ctx.caller, Action::PlanWrite, None)?;
    let new = read(&ctx.state, &ask)?;
    let preview = preview(&ctx, new.clone()).await?;
    if ask.dry_run {
        return json(200, &previewed(&ctx.state, &preview));
    }
    if !ask.anyway {
        need_hosts(&preview)?;
    }
    let why = format!("{}: {}", preview.plan.goal_text(), ask.reason);
    let id =
        ctx.commit(why.trim_end_matches(": "), move |txn, caller| command::start(txn, caller, &new)).await?;
    json(201, &detail(&ctx, &ctx.app.store.state(), id.as_str(), true).await?)
}

/// Asks the scheduler for each server's host: seconds for thousands of servers, so other requests do not wait for this thread.
async fn preview(ctx: &Ctx, new: NewPlan) -> Result<Preview> {
    let (state, caller, now) = (ctx.state.clone(), ctx.caller.clone(), ctx.app.now());
    let work = move || command::preview(&state, &caller, &new, now);
    tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
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
    json(200, &detail(ctx, &ctx.app.store.state(), name, true).await?)
}

fn read(state: &State, ask: &PlanAsk) -> Result<NewPlan> {
    Ok(NewPlan {
        goal: goal(state, ask)?,
        to: ask.to.as_ref().map(|name| find_aggregate(state, name)).transpose()?,
        reason: ask.reason.clone(),
        limits: limits(&ask.limits),
        loosened: ask.loosen.clone(),
        deadline_s: ask.deadline_s,
    })
}

fn goal(state: &State, ask: &PlanAsk) -> Result<NewGoal> {
    let named = [&ask.drain, &ask.reboot, &ask.run, &ask.recover, &ask.project, &ask.aggregate];
    let said = named.iter().filter(|name| name.is_some()).count() + usize::from(!ask.servers.is_empty());
    if said != 1 {
        return Err(Error::invalid(
            "Say in one way what the plan does: drain, reboot, run, recover, project, aggregate or servers.",
        ));
    }
    let of_acts = ask.guests.is_some() || ask.expect.is_some() || !ask.actions.is_empty();
    if of_acts && ask.reboot.is_none() && ask.run.is_none() {
        return Err(Error::invalid("'guests', 'actions' and 'expect' go with 'reboot' or 'run'."));
    }
    let host = |name: &String| -> Result<HostId> {
        let host = state.host_named(name).ok_or_else(|| Error::not_found("Host", name))?;
        Ok(host.id)
    };
    Ok(match named {
        [Some(name), ..] => NewGoal::Drain(host(name)?),
        [_, Some(name), ..] => NewGoal::Act(host(name)?, act(ask, Some(REBOOT), Guests::Move)?),
        [_, _, Some(name), ..] => NewGoal::Act(host(name)?, act(ask, None, Guests::Stay)?),
        [_, _, _, Some(name), ..] => NewGoal::Recover(host(name)?),
        [.., Some(project), _] => NewGoal::Project(find_project(state, project)?),
        [.., Some(name)] => NewGoal::Aggregate(find_aggregate(state, name)?),
        _ => NewGoal::Servers(find_all(state, &ask.servers)?),
    })
}

fn act(ask: &PlanAsk, last: Option<&str>, guests: Guests) -> Result<Act> {
    let guests = match &ask.guests {
        None => guests,
        Some(name) => Guests::from_name(name).ok_or_else(|| {
            Error::invalid(format!("'guests' is 'move', 'suspend', 'stop' or 'stay', not '{name}'."))
        })?,
    };
    let actions = ask.actions.iter().map(String::as_str).chain(last).map(str::to_owned).collect();
    let expect = ask.expect.as_deref().map(str::parse).transpose()?;
    Ok(Act { guests, actions, expect })
}

/// Finds each server by its id, or by a name that only one server has.
fn find_all(state: &State, texts: &[String]) -> Result<Vec<ServerId>> {
    let mut named: HashMap<&str, Vec<ServerId>> = HashMap::new();
    for server in state.servers.values() {
        named.entry(&server.name).or_default().push(server.id);
    }
    let (mut found, mut wrong) = (Vec::new(), Vec::<String>::new());
    for text in texts {
        let by_id = text.parse().ok().filter(|id| state.servers.contains_key(id));
        match (by_id, named.get(text.as_str()).map(Vec::as_slice)) {
            (Some(id), _) => found.push(id),
            (None, Some([id])) => found.push(*id),
            (None, Some(several)) => wrong.push(format!("{text} (the name of {} servers)", several.len())),
            (None, None) => wrong.push(text.clone()),
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    let more = wrong.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    wrong.truncate(NAMED_MAX);
    Err(Error::invalid(format!(
        "Each of these is not the id of a server, and not a name that only one server has: {}{more}.",
        wrong.join(", ")
    )))
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
            Prospect::Moves { .. } | Prospect::Rests(_) | Prospect::Starts | Prospect::Waits(_) => None,
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
