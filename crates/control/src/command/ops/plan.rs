//! Plans: started, paused, resumed and ended by operators; and the freeze of all plans.

use crate::{
    lifecycle::{host_step, plan as lifecycle, rest},
    plan::{self, Preview, in_order},
};
use lenticular_model::{
    AggregateId, HostId, PlanId, ProjectId, ServerId, SingletonId, State, Timestamp, Txn,
    compute::server::{Server, Wanted},
    error::{Error, Result},
    host::{
        action::{REBOOT, is_action_name},
        host::{Host, Intent, PROTOCOL_WITH_SUSPEND},
        readiness,
        rule::check_reason,
    },
    ops::{
        freeze::{FREEZE, Freeze},
        host_step::{Act, Expect, Guests},
        limits::Limits,
        plan::{Goal, Plan, PlanPhase},
        plan_step::{PlanStep, Rest, StepState},
    },
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// What a new plan does, and with which servers.
#[derive(Debug, Clone)]
pub enum NewGoal {
    /// Has a host carry out actions. It takes no servers until that is over.
    Act(HostId, Act),
    /// Starts the servers of a host that are in error and do not run.
    Recover(HostId),
    /// Moves all servers of a host, which takes no servers from then on.
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
    /// The goal.
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
/// The most actions that a host carries out in one plan.
const ACTIONS_AT_ONCE: usize = 16;
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
        woken: 0,
        gone: 0,
        begun: 0,
        failures_in_row: 0,
        last_begin: None,
        begun_hosts: Vec::new(),
        last_host_begin: None,
        unknown: Default::default(),
    });
    close(txn, &id, &new.goal);
    let ordered = match new.goal {
        NewGoal::Recover(_) => start_order(txn, servers),
        _ => in_order(txn, servers.into_iter()),
    };
    lifecycle::add_steps(txn, &id, ordered);
    if let NewGoal::Recover(_) = new.goal {
        let down: Vec<ServerId> = txn.steps_of_plan(&id).map(|step| step.id).collect();
        for server in down {
            txn.update::<PlanStep>(&server, |step| step.state = StepState::Rested { how: Rest::Stop });
        }
    }
    Ok(id)
}

/// The host of a drain or of a reboot takes no servers any more.
fn close(txn: &mut Txn<'_>, id: &PlanId, goal: &NewGoal) {
    let (NewGoal::Drain(host) | NewGoal::Act(host, _)) = goal else { return };
    let Some(host) = txn.hosts.get(host).cloned() else { return };
    let before = match goal {
        // A host that was drained before it booted stays so.
        NewGoal::Act(..) => host.intent.clone(),
        _ => host.intent.before_drain().clone(),
    };
    if let NewGoal::Act(_, act) = goal {
        host_step::begin(txn, id, &host, act);
    }
    let intent = Intent::Draining { plan_id: id.clone(), before: Box::new(before) };
    txn.update::<Host>(&host.id, |host| host.intent = intent);
}

/// The order in which servers are started: first those with the tag `lenticular:start-order=1`, at last those without one.
fn start_order(state: &State, servers: Vec<ServerId>) -> Vec<(HostId, ServerId)> {
    let mut ordered = in_order(state, servers.into_iter());
    ordered.sort_by_key(|(_, id)| state.servers.get(id).map(|server| rest::start_place(server)));
    ordered
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
            check_not_draining(&host)?;
            let free = |server: &&Arc<Server>| !txn.plan_steps.contains_key(&server.id);
            let servers = on(*id).filter(free).map(|server| server.id).collect();
            let goal = Goal::Drain { host_id: *id, host_name: host.name.clone() };
            return Ok((goal, servers, format!("drain-{}", plain(&host.name))));
        }
        NewGoal::Act(id, act) => {
            let host = need_able(txn, *id, act)?;
            let guests = act.guests;
            check_no_target(new, guests != Guests::Move)?;
            let free = |server: &&Arc<Server>| !txn.plan_steps.contains_key(&server.id);
            let goes = |server: &&Arc<Server>| match guests {
                Guests::Move => true,
                Guests::Suspend | Guests::Stop => rest::is_on(server),
                Guests::Stay => false,
            };
            let servers = on(host.id).filter(free).filter(goes).map(|server| server.id).collect();
            let (host_id, host_name) = (host.id, host.name.clone());
            let word = if act.boots() { REBOOT } else { "run" };
            let goal = Goal::Act { host_id, host_name, act: act.clone() };
            return Ok((goal, servers, format!("{word}-{}", plain(&host.name))));
        }
        NewGoal::Recover(id) => {
            let host = txn.need::<Host>(id, || Error::not_found("Host", id))?;
            check_no_target(new, true)?;
            let free = |server: &&Arc<Server>| !txn.plan_steps.contains_key(&server.id);
            let down = on(*id).filter(free).filter(|s| rest::is_down(s) && txn.has_made_disks(s.id));
            let servers: Vec<ServerId> = down.map(|server| server.id).collect();
            if servers.is_empty() {
                return Err(Error::conflict(format!(
                    "No server of host {} is in error with its disk in place, so there is nothing to start.",
                    host.name
                )));
            }
            let goal = Goal::Recover { host_id: *id, host_name: host.name.clone() };
            return Ok((goal, servers, format!("recover-{}", plain(&host.name))));
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

fn check_not_draining(host: &Host) -> Result<()> {
    match &host.intent {
        Intent::Draining { plan_id, .. } => {
            Err(Error::conflict(format!("Plan {plan_id} drains or boots host {} already.", host.name)))
        }
        Intent::Enabled | Intent::Disabled { .. } | Intent::Drained { .. } => Ok(()),
    }
}

/// A host that can carry out actions now.
fn need_able(txn: &Txn<'_>, id: HostId, act: &Act) -> Result<Arc<Host>> {
    let Act { guests, actions, expect } = act;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    check_actions(act)?;
    check_not_draining(&host)?;
    let name = &host.name;
    if !host.is_up() {
        return Err(Error::conflict(format!(
            "Host {name} does not answer, or was declared off, so it cannot be told to do anything."
        )));
    }
    if let Some(missing) = actions.iter().find(|action| !host.actions.contains(action)) {
        return Err(Error::conflict(format!(
            "The configuration of host {name} allows no action '{missing}'. Add [actions.{missing}] with a command to its \
             agent.toml, and restart its agent."
        )));
    }
    if *guests == Guests::Suspend && host.protocol < PROTOCOL_WITH_SUSPEND {
        return Err(Error::conflict(format!(
            "The agent of host {name} is of an older release, which cannot suspend guests. Update it, or say --guests move."
        )));
    }
    match expect.as_ref().filter(|expect| expect.is_met(&host)) {
        Some(Expect { name: what, .. }) => Err(Error::conflict(format!(
            "Host {name} has {what} {} already, so nothing is left to do. To do it all the same, expect nothing.",
            host.versions.get(what).map_or("", String::as_str)
        ))),
        None => Ok(host),
    }
}

fn check_actions(act: &Act) -> Result<()> {
    let actions = &act.actions;
    if !(1..=ACTIONS_AT_ONCE).contains(&actions.len()) {
        return Err(Error::invalid(format!("A plan has a host carry out 1 to {ACTIONS_AT_ONCE} actions.")));
    }
    if let Some(wrong) = actions.iter().find(|action| !is_action_name(action)) {
        return Err(Error::invalid(format!("'{wrong}' is no name of an action.")));
    }
    match act.guests == Guests::Stay && act.boots() {
        true => Err(Error::invalid("Guests cannot stay on a host that boots: move, suspend or stop them.")),
        false => Ok(()),
    }
}

fn check_no_target(new: &NewPlan, stays: bool) -> Result<()> {
    match new.to.is_some() && stays {
        true => Err(Error::invalid("The servers stay on their host, so no aggregate can be named for them.")),
        false => Ok(()),
    }
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
    if let Some(step) = txn.host_step_of_plan(id).cloned() {
        host_step::retry(txn, &step);
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

/// Refuses to end a plan while a guest is brought to rest: nobody would have it go on.
fn check_none_resting(txn: &Txn<'_>, id: &PlanId) -> Result<()> {
    let mut steps = txn.steps_of_plan(id);
    match steps.find(|step| matches!(step.state, StepState::Resting { .. })) {
        Some(step) => Err(Error::conflict(format!(
            "Plan {id} suspends or stops server {} at this moment. Pause the plan, and try again when the server rests.",
            step.id
        ))),
        None => Ok(()),
    }
}

/// Ends a plan before it is done. Servers stay where they are, moves that are under way end as they would, and guests that rest
/// go on.
///
/// # Errors
/// The caller may not, or there is no such plan.
pub fn abort(txn: &mut Txn<'_>, caller: &Caller, id: &PlanId) -> Result<()> {
    need(txn, caller, id)?;
    check_none_resting(txn, id)?;
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
        Intent::Draining { plan_id, .. } => {
            check_none_resting(txn, plan_id)?;
            lifecycle::end(txn, plan_id, PlanPhase::Aborted);
        }
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
