//! What holds a server's move or rest back: the server's own state, its owner, its group, or the limits of the plan.

use super::UnderWay;
use lenticular_model::{
    State, Timestamp,
    compute::{
        maintenance::{MAINTENANCE, Maintenance},
        migration::Mode,
        server::{Condition, Server, Wanted},
        server_group::Policy,
    },
    host::host::Host,
    ops::{
        limits::Limits,
        plan::Plan,
        plan_step::{PlanStep, Rest, StepState},
    },
};
use std::sync::Arc;

/// Why a step does not begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// The reason, which names the record that holds the step back.
    pub why: String,
    /// When the step is tried again; `None` if that record has to change first.
    pub until: Option<Timestamp>,
}

impl Wait {
    fn for_change(why: String) -> Self {
        Self { why, until: None }
    }
}

/// What a plan does to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// It moves the server.
    Move(Mode),
    /// It brings the guest to rest.
    Rest(Rest),
}

/// Whether the step of a plan may begin now, and what the plan would do.
///
/// # Errors
/// Something holds it back.
pub fn wait(
    state: &State,
    (plan, step): (&Plan, &PlanStep),
    server: &Server,
    others: &UnderWay,
    now: Timestamp,
) -> Result<Deed, Wait> {
    if let Some(why) = &step.skipped {
        return Err(Wait::for_change(format!("an operator skipped it: {why}")));
    }
    let deed = deed(state, plan, server)?;
    if let Some(at) = step.retry_at.filter(|at| *at > now) {
        let why = step.trouble.clone().unwrap_or_else(|| "its last try failed".to_owned());
        return Err(Wait { why, until: Some(at) });
    }
    let host = state.hosts.get(&step.from);
    let host = host.ok_or_else(|| Wait::for_change("its host is gone".to_owned()))?;
    held_by_group(state, server).map_or(Ok(()), |why| Err(Wait::for_change(why)))?;
    let full = match deed {
        Deed::Move(_) => others.refusal(&plan.limits, host),
        Deed::Rest(_) => held_by_others(state, plan),
    };
    full.map_or(Ok(deed), |why| Err(Wait::for_change(why)))
}

/// What a plan would do to a server that waits.
///
/// # Errors
/// The server's state, its host or its owner does not permit it.
pub fn deed(state: &State, plan: &Plan, server: &Server) -> Result<Deed, Wait> {
    let step = state.host_step_of_plan(&plan.id);
    match step.and_then(|step| step.act.guests.rest()) {
        Some(how) => {
            held_at_rest(state, server, how).map_or(Ok(Deed::Rest(how)), |why| Err(Wait::for_change(why)))
        }
        None => mode(state, server).map(Deed::Move),
    }
}

/// What keeps a guest from being brought to rest.
fn held_at_rest(state: &State, server: &Server, how: Rest) -> Option<String> {
    let by_owner = || match server.metadata.get(MAINTENANCE).map(String::as_str) {
        Some(wish @ ("none" | "live")) => Some(format!(
            "its owner does not allow that its guest stands still ({MAINTENANCE}={wish} in its metadata)"
        )),
        _ => None,
    };
    let is_paused = how == Rest::Suspend && server.condition == Condition::Paused;
    let runs = matches!(server.condition, Condition::Active | Condition::Paused);
    held_by_state(state, server)
        .or_else(|| (!runs).then(|| "its guest is not up yet".to_owned()))
        .or_else(|| is_paused.then(|| "it is paused, and a paused guest cannot be suspended".to_owned()))
        .or_else(|| held_by_host(state, server))
        .or_else(by_owner)
}

/// So many guests of a plan are brought to rest at a time as may move from one host.
fn held_by_others(state: &State, plan: &Plan) -> Option<String> {
    let resting =
        state.steps_of_plan(&plan.id).filter(|step| matches!(step.state, StepState::Resting { .. }));
    let (now, most) = (resting.count(), plan.limits.per_host as usize);
    (now >= most).then(|| format!("{now} guests of the host are brought to rest; at most {most} at a time"))
}

/// Whether it is the turn of a step: one server goes first, then one host, and there are pauses between servers and between
/// hosts. `under_way` is whether a move of the plan is under way.
///
/// # Errors
/// Others go first, or a pause is not over.
pub fn turn(
    state: &State,
    (plan, step): (&Plan, &PlanStep),
    under_way: bool,
    now: Timestamp,
) -> Result<(), Wait> {
    let Limits { between_servers_s, between_hosts_s, .. } = plan.limits;
    let after = |last: Option<Timestamp>, s: i64, why: &str| match last.map(|last| last.plus_s(s)) {
        Some(at) if at > now => Err(Wait { why: why.to_owned(), until: Some(at) }),
        _ => Ok(()),
    };
    after(plan.last_begin, between_servers_s, "the pause between servers is not over")?;
    // The pause binds all plans together, unless this one may be faster.
    let together_s = between_servers_s.min(Limits::default().between_servers_s);
    after(state.last_begin_of_plans(), together_s, "the pause between servers of all plans is not over")?;
    let rested = |step: &Arc<PlanStep>| matches!(step.state, StepState::Rested { .. });
    if plan.moved == 0 && under_way && !state.steps_of_plan(&plan.id).any(rested) {
        return Err(Wait::for_change("the plan's first server goes alone".to_owned()));
    }
    if plan.begun_hosts.is_empty() || plan.begun_hosts.contains(&step.from) {
        return Ok(());
    }
    if plan.begun_hosts.len() == 1 && under_way {
        return Err(Wait::for_change("the servers of the plan's first host have to arrive first".to_owned()));
    }
    after(plan.last_host_begin, between_hosts_s, "the pause between hosts is not over")
}

/// How a server's guest would travel.
///
/// # Errors
/// Its state, its host or its owner does not permit that it moves.
fn mode(state: &State, server: &Server) -> Result<Mode, Wait> {
    match held_by_state(state, server)
        .or_else(|| held_by_host(state, server))
        .or_else(|| held_by_affinity(state, server))
    {
        Some(why) => Err(Wait::for_change(why)),
        None => held_by_owner(server),
    }
}

fn held_by_state(state: &State, server: &Server) -> Option<String> {
    if server.restored.is_some() {
        return Some(
            "the store was restored, and no host has said yet that it has the server; bring its host back"
                .to_owned(),
        );
    }
    if let Some(task) = &server.task {
        return Some(format!("'{}' of the server is under way", task.action.name()));
    }
    if server.ticket.is_some() {
        return Some("the server moves already".to_owned());
    }
    if server.rescue.is_some() {
        return Some("the server is rescued; it can move after 'unrescue'".to_owned());
    }
    if let Some(last) = &server.unconfirmed {
        let until = last.confirm_at.map(|at| format!(", or it counts as confirmed at {}", at.iso()));
        return Some(format!(
            "its owner has not confirmed or reverted its last move{}",
            until.unwrap_or_default()
        ));
    }
    if state.root_disk(server.id).is_some_and(|disk| disk.revives.is_some()) {
        return Some("its host has not yet come back to the server's older disk".to_owned());
    }
    if server.wanted == Wanted::Stopped && server.powered {
        return Some("its guest shuts down".to_owned());
    }
    match server.condition {
        Condition::Active | Condition::Paused | Condition::Stopped => None,
        Condition::Suspended => {
            Some("its memory is saved on this host; it can move after 'resume'".to_owned())
        }
        Condition::Building => Some("the server is being built".to_owned()),
        Condition::Error => {
            let fault = server.fault.as_ref().map(|fault| format!(": {}", fault.message));
            Some(format!("the server is in ERROR{}", fault.unwrap_or_default()))
        }
    }
}

fn held_by_host(state: &State, server: &Server) -> Option<String> {
    let host = server.host_id.and_then(|id| state.hosts.get(&id));
    let name = host.map_or("of the server", |host| &host.name);
    if host.is_some_and(|host| host.fence.is_some()) {
        return Some(format!(
            "host {name} was declared off; evacuate its servers, or end that with `lenticular host unfence {name}`"
        ));
    }
    (!host.is_some_and(|host| Host::is_up(host)))
        .then(|| format!("host {name} does not answer; nothing can be moved away from it"))
}

/// Nothing is stopped that its owner did not allow to be stopped.
fn held_by_owner(server: &Server) -> Result<Mode, Wait> {
    let stands = server.wanted == Wanted::Stopped && !server.powered;
    match Maintenance::of(&server.metadata) {
        Maintenance::None => {
            Err(Wait::for_change(format!("its owner does not allow it ({MAINTENANCE}=none in its metadata)")))
        }
        _ if stands => Ok(Mode::Cold),
        Maintenance::Cold | Maintenance::Stop if server.condition == Condition::Active => Ok(Mode::Cold),
        Maintenance::Live | Maintenance::Cold | Maintenance::Stop => Ok(Mode::Live),
    }
}

/// The servers of a group with affinity stay together, and so each of them stays.
fn held_by_affinity(state: &State, server: &Server) -> Option<String> {
    let group = server.server_group.and_then(|id| state.server_groups.get(&id))?;
    let all = state.servers_of_group(group.id).count();
    (group.policy == Policy::Affinity && all > 1).then(|| {
        format!(
            "its group {} keeps its {all} servers on one host (policy affinity), so none of them can move alone",
            group.name
        )
    })
}

/// At most half of a server group, and at least one server of it, moves or rests at a time. The servers of a group that are to
/// be together share their host's fate.
fn held_by_group(state: &State, server: &Server) -> Option<String> {
    let group = server.server_group.and_then(|id| state.server_groups.get(&id))?;
    let (mut all, mut moving) = (0_usize, 0_usize);
    for member in state.servers_of_group(group.id) {
        all += 1;
        let step = state.plan_steps.get(&member.id);
        let rests = step.is_some_and(|step| step.rest().is_some());
        let apart = matches!(group.policy, Policy::AntiAffinity | Policy::SoftAntiAffinity);
        moving += usize::from(member.ticket.is_some() || rests && apart);
    }
    let most = (all / 2).max(1);
    (moving >= most).then(|| {
        format!(
            "{moving} of the {all} servers of its group {} move or rest; at most {most} at a time",
            group.name
        )
    })
}
