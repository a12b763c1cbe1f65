//! Plans: started, paused, resumed and ended by operators; and the freeze of all plans.

use crate::{
    lifecycle::plan as lifecycle,
    plan::{self, Preview, in_order},
};
use lenticular_model::{
    AggregateId, HostId, PlanId, ProjectId, ServerId, SingletonId, State, Timestamp, Txn,
    compute::server::{Server, Wanted},
    error::{Error, Result},
    host::{
        host::{Host, Intent},
        readiness,
        rule::check_reason,
    },
    ops::{
        freeze::{FREEZE, Freeze},
        limits::Limits,
        plan::{Goal, Plan, PlanPhase},
        plan_step::PlanStep,
    },
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// Which servers a new plan moves.
#[derive(Debug, Clone)]
pub enum NewGoal {
    /// All of a host, which takes no servers from then on.
    Drain(HostId),
    /// Those of a project.
    Project(ProjectId),
    /// Those on the hosts of an aggregate.
    Aggregate(AggregateId),
    /// These.
    Servers(Vec<ServerId>),
}

/// A new plan.
#[derive(Debug, Clone)]
pub struct NewPlan {
    /// Which servers move.
    pub goal: NewGoal,
    /// The aggregate that they move to; `None` for any host.
    pub to: Option<AggregateId>,
    /// The reason, for people; may be empty.
    pub reason: String,
    /// The limits.
    pub limits: Limits,
    /// Why the limits are looser than the defaults.
    pub loosened: Option<String>,
    /// After so many seconds the plan pauses.
    pub deadline_s: Option<i64>,
}

/// The most plans that are not over.
const PLANS_MAX: usize = 200;
/// The longest time until a deadline, in seconds: 90 days.
const DEADLINE_S_MAX: i64 = 90 * 86_400;
/// The longest pause between two moves, in seconds: a day.
const PAUSE_S_MAX: i64 = 86_400;

/// Starts a plan. Its first move begins as soon as the plan controller runs.
///
/// # Errors
/// The caller may not, the request contradicts itself, or the target aggregate takes no servers.
pub fn start(txn: &mut Txn<'_>, caller: &Caller, new: &NewPlan) -> Result<PlanId> {
    policy::check(caller, Action::PlanWrite, None)?;
    check(caller, new)?;
    if txn.plans.len() >= PLANS_MAX {
        return Err(Error::conflict(format!(
            "There are {PLANS_MAX} plans that are not over, the most. End some of them first."
        )));
    }
    new.to.map_or(Ok(()), |to| check_target(txn, to))?;
    let (goal, servers, name) = read_goal(txn, new)?;
    let id = Plan::id_of(&name, txn.seq);
    txn.put(Plan {
        id: id.clone(),
        created_at: txn.now,
        updated_at: None,
        goal,
        to: new.to,
        to_name: new.to.and_then(|to| txn.aggregates.get(&to)).map(|to| to.name.clone()),
        reason: new.reason.clone(),
        user_id: caller.user_id,
        request_id: caller.request_id.clone(),
        limits: new.limits,
        loosened: new.loosened.clone(),
        deadline: new.deadline_s.map(|s| txn.now.plus_s(s)),
        phase: PlanPhase::Running,
        steps: 0,
        moved: 0,
        gone: 0,
        begun: 0,
        failures_in_row: 0,
        last_begin: None,
        begun_hosts: Vec::new(),
        last_host_begin: None,
        unknown: Default::default(),
    });
    if let NewGoal::Drain(host) = new.goal {
        let plan_id = id.clone();
        txn.update::<Host>(&host, |host| {
            let before = Box::new(host.intent.before_drain().clone());
            host.intent = Intent::Draining { plan_id, before };
        });
    }
    let ordered = in_order(txn, servers.into_iter());
    lifecycle::add_steps(txn, &id, ordered);
    Ok(id)
}

/// Shows what a plan would do, and changes nothing.
///
/// # Errors
/// The plan could not be started.
pub fn preview(state: &State, caller: &Caller, new: &NewPlan, now: Timestamp) -> Result<Preview> {
    let mut no_ids = || [0; 16];
    let mut scratch = Txn::new(state, now, &mut no_ids);
    let id = start(&mut scratch, caller, new)?;
    let plan = scratch.need::<Plan>(&id, || missing(&id))?;
    Ok(plan::preview(scratch, plan))
}

fn check(caller: &Caller, new: &NewPlan) -> Result<()> {
    if !new.reason.is_empty() {
        check_reason(&new.reason)?;
    }
    let Limits { per_host, per_rack, per_zone, between_servers_s, between_hosts_s, hard_limit } = new.limits;
    if per_host == 0 || per_rack == 0 || per_zone == 0 || hard_limit == Some(0) {
        return Err(Error::invalid(
            "With a limit of 0 no server would ever move. The lowest limit is 1; to stop all plans, freeze them.",
        ));
    }
    if [between_servers_s, between_hosts_s].iter().any(|s| !(0..=PAUSE_S_MAX).contains(s)) {
        return Err(Error::invalid(format!(
            "A pause between moves lasts from 0 s to {PAUSE_S_MAX} s (a day)."
        )));
    }
    if new.deadline_s.is_some_and(|s| !(1..=DEADLINE_S_MAX).contains(&s)) {
        return Err(Error::invalid(format!(
            "A deadline lies at least 1 s and at most {DEADLINE_S_MAX} s (90 days) ahead."
        )));
    }
    match &new.loosened {
        None if !new.limits.is_careful() => Err(Error::invalid(
            "These limits are looser than the defaults. Give the reason with --loosen; only an administrator may.",
        )),
        None => Ok(()),
        Some(why) => {
            policy::check(caller, Action::PlanLoosen, None)?;
            check_reason(why)
        }
    }
}

/// Refuses an aggregate in which no host takes servers.
fn check_target(state: &State, to: AggregateId) -> Result<()> {
    let aggregate = state.aggregates.get(&to).ok_or_else(|| Error::not_found("Aggregate", to))?;
    let name = &aggregate.name;
    let hosts = || aggregate.hosts.iter().filter_map(|id| state.hosts.get(id));
    if hosts().any(|host| host.is_up() && readiness::is_open(state, host)) {
        return Ok(());
    }
    let why = hosts().next().map(|host| {
        let line = readiness::refusal_of_host(state, host).unwrap_or_else(|| match &host.intent {
            Intent::Disabled { .. } => "disabled".to_owned(),
            Intent::Enabled => "silent".to_owned(),
            drain => drain.reason().unwrap_or_default(),
        });
        format!("Host {} is {line}.", host.name)
    });
    let why = why.unwrap_or_else(|| "It has no hosts.".to_owned());
    Err(Error::conflict(format!("No host of aggregate {name} takes servers. {why} Nothing was changed.")))
}

/// The goal as a record, its servers, and what the plan's name begins with.
fn read_goal(txn: &Txn<'_>, new: &NewPlan) -> Result<(Goal, Vec<ServerId>, String)> {
    let on = |host: HostId| txn.servers_on_host(host).filter(|server| server.wanted != Wanted::Absent);
    let what = match &new.goal {
        NewGoal::Drain(id) => {
            let host = txn.need::<Host>(id, || Error::not_found("Host", id))?;
            if let Intent::Draining { plan_id, .. } = &host.intent {
                return Err(Error::conflict(format!("Plan {plan_id} drains host {} already.", host.name)));
            }
            let free = |server: &&Arc<Server>| !txn.plan_steps.contains_key(&server.id);
            let servers = on(*id).filter(free).map(|server| server.id).collect();
            let goal = Goal::Drain { host_id: *id, host_name: host.name.clone() };
            return Ok((goal, servers, format!("drain-{}", plain(&host.name))));
        }
        NewGoal::Project(id) => {
            let name = txn.projects.get(id).ok_or_else(|| Error::not_found("Project", id))?.name.clone();
            (format!("project {name}"), txn.servers_of_project(*id, None).map(|server| server.id).collect())
        }
        NewGoal::Aggregate(id) => {
            let aggregate = txn.aggregates.get(id).ok_or_else(|| Error::not_found("Aggregate", id))?;
            let servers = aggregate.hosts.iter().flat_map(|host| on(*host)).map(|server| server.id);
            (format!("aggregate {}", aggregate.name), servers.collect::<Vec<_>>())
        }
        NewGoal::Servers(ids) => {
            let missing = ids.iter().find(|id| !txn.servers.contains_key(id));
            missing.map_or(Ok(()), |id| Err(Error::not_found("Server", id)))?;
            let n = ids.len();
            (if n == 1 { "1 server".to_owned() } else { format!("{n} servers") }, ids.clone())
        }
    };
    let (what, servers) = what;
    let servers = movable(txn, new, servers)?;
    Ok((Goal::Move { what }, servers, "move".to_owned()))
}

/// The servers that are not where they should be already.
fn movable(txn: &Txn<'_>, new: &NewPlan, mut servers: Vec<ServerId>) -> Result<Vec<ServerId>> {
    let Some(to) = new.to else {
        return Err(Error::invalid("Say with --to which aggregate the servers move to."));
    };
    servers.sort_unstable();
    servers.dedup();
    let there = |server: &Server| {
        server.host_id.is_some_and(|host| txn.aggregate_ids_of_host(host).any(|id| id == to))
    };
    servers.retain(|id| txn.servers.get(id).is_some_and(|s| s.wanted != Wanted::Absent && !there(s)));
    if let Some(step) = servers.iter().find_map(|id| txn.plan_steps.get(id)) {
        let PlanStep { id, plan_id, .. } = &**step;
        return Err(Error::conflict(format!(
            "Plan {plan_id} moves server {id} already. Wait for it, or abort it."
        )));
    }
    match servers.is_empty() {
        true => Err(Error::conflict("All of these servers are there already, so there is nothing to move.")),
        false => Ok(servers),
    }
}

/// A name as a part of a plan's name, which stands in paths and on command lines.
fn plain(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    name.chars().map(|c| if fits(c) { c } else { '-' }).take(48).collect()
}

/// The refusal of a plan that does not exist or is over.
fn missing(id: &PlanId) -> Error {
    Error::not_found_text(format!(
        "There is no plan {id} that is not over. `lenticular plan list --all` shows those that are over, too."
    ))
}

fn need(txn: &Txn<'_>, caller: &Caller, id: &PlanId) -> Result<Arc<Plan>> {
    policy::check(caller, Action::PlanWrite, None)?;
    txn.need::<Plan>(id, || missing(id))
}

/// Pauses a plan: no move begins any more.
///
/// # Errors
/// The caller may not, or the plan does not run.
pub fn pause(txn: &mut Txn<'_>, caller: &Caller, id: &PlanId, reason: &str) -> Result<()> {
    let plan = need(txn, caller, id)?;
    check_reason(reason)?;
    if !plan.is_running() {
        return Err(Error::conflict(format!("Plan {id} is {} already.", plan.phase.name())));
    }
    lifecycle::set_phase(txn, id, PlanPhase::Paused { why: reason.to_owned() });
    Ok(())
}

/// Resumes a plan that was paused or halted, perhaps with another deadline or hard limit. Servers whose moves failed are
/// tried again.
///
/// # Errors
/// The caller may not, the plan runs, or it would stop again at once.
pub fn resume(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: &PlanId,
    (deadline_s, hard_limit): (Option<i64>, Option<u64>),
) -> Result<()> {
    let plan = need(txn, caller, id)?;
    if plan.is_running() {
        return Err(Error::conflict(format!("Plan {id} runs already.")));
    }
    if deadline_s.is_some_and(|s| !(1..=DEADLINE_S_MAX).contains(&s)) {
        return Err(Error::invalid(format!(
            "A deadline lies at least 1 s and at most {DEADLINE_S_MAX} s (90 days) ahead."
        )));
    }
    let deadline = deadline_s.map(|s| txn.now.plus_s(s)).or(plan.deadline);
    if deadline.is_some_and(|deadline| deadline <= txn.now) {
        return Err(Error::conflict(format!(
            "The deadline of plan {id} has passed. Give another with --deadline."
        )));
    }
    let hard_limit = hard_limit.or(plan.limits.hard_limit);
    if hard_limit.is_some_and(|most| plan.begun >= most) {
        return Err(Error::conflict(format!(
            "Plan {id} reached its hard limit: {} moves began. Give a higher one with --hard-limit.",
            plan.begun
        )));
    }
    let failed: Vec<ServerId> =
        txn.steps_of_plan(id).filter(|step| step.retry_at.is_some()).map(|step| step.id).collect();
    for server in failed {
        txn.update::<PlanStep>(&server, |step| {
            step.failures = 0;
            step.retry_at = None;
        });
    }
    txn.update::<Plan>(id, |plan| {
        plan.phase = PlanPhase::Running;
        plan.failures_in_row = 0;
        plan.deadline = deadline;
        plan.limits.hard_limit = hard_limit;
    });
    Ok(())
}

/// Has a plan leave a server where it is, so that the plan can go on with the others; with no reason ends that.
///
/// # Errors
/// The caller may not, or the plan does not move the server.
pub fn skip(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (id, server): (&PlanId, ServerId),
    reason: Option<String>,
) -> Result<()> {
    need(txn, caller, id)?;
    reason.as_deref().map_or(Ok(()), check_reason)?;
    let step = txn.plan_steps.get(&server).filter(|step| step.plan_id == *id);
    let Some(step) = step else {
        return Err(Error::not_found_text(format!(
            "Plan {id} has no server {server} that it still has to move."
        )));
    };
    if !step.is_waiting() {
        return Err(Error::conflict(format!(
            "Plan {id} moves server {server} now. To stop the move, abort its migration; or wait until it is over."
        )));
    }
    txn.update::<PlanStep>(&server, |step| {
        step.failures = 0;
        step.retry_at = None;
        step.skipped = reason;
    });
    Ok(())
}

/// Ends a plan before it is done. Servers stay where they are, and moves that are under way end as they would.
///
/// # Errors
/// The caller may not, or there is no such plan.
pub fn abort(txn: &mut Txn<'_>, caller: &Caller, id: &PlanId) -> Result<()> {
    need(txn, caller, id)?;
    lifecycle::end(txn, id, PlanPhase::Aborted);
    Ok(())
}

/// Ends a host's drain, if one is under way, and gives the host the setting that it had before. Nothing is moved back.
///
/// # Errors
/// The caller may not, or the host was not drained.
pub fn undrain(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<()> {
    policy::check(caller, Action::PlanWrite, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    match &host.intent {
        Intent::Draining { plan_id, .. } => lifecycle::end(txn, plan_id, PlanPhase::Aborted),
        Intent::Drained { .. } => {}
        Intent::Disabled { .. } | Intent::Enabled => {
            let hint = match host.is_enabled() {
                true => "It may take servers.",
                false => "It is disabled: `lenticular host uncordon` ends that.",
            };
            return Err(Error::conflict(format!("Host {} is not drained. {hint}", host.name)));
        }
    }
    let before = host.intent.before_drain().clone();
    txn.update::<Host>(&id, |host| host.intent = before);
    Ok(())
}

/// Freezes all plans: no move begins until the freeze is lifted.
///
/// # Errors
/// The caller may not, or the reason is empty or too long.
pub fn freeze(txn: &mut Txn<'_>, caller: &Caller, reason: &str) -> Result<()> {
    policy::check(caller, Action::PlanWrite, None)?;
    check_reason(reason)?;
    if let Some(freeze) = txn.freeze() {
        return Err(Error::conflict(format!(
            "All plans are frozen already, since {}: {}. `lenticular thaw` ends that.",
            freeze.created_at.iso(),
            freeze.reason
        )));
    }
    txn.put(Freeze {
        id: SingletonId::from(FREEZE),
        created_at: txn.now,
        updated_at: None,
        reason: reason.to_owned(),
        user_id: caller.user_id,
        unknown: Default::default(),
    });
    Ok(())
}

/// Lifts the freeze.
///
/// # Errors
/// The caller may not, or there is no freeze.
pub fn thaw(txn: &mut Txn<'_>, caller: &Caller) -> Result<()> {
    policy::check(caller, Action::PlanWrite, None)?;
    match txn.delete::<Freeze>(&SingletonId::from(FREEZE)) {
        Some(_) => Ok(()),
        None => Err(Error::conflict("The plans are not frozen.")),
    }
}
