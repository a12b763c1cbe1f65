//! What must hold of plans: they keep their limits, touch nothing that they may not, and go on while they can.

use crate::{
    event::ClientRequest,
    world::{World, note},
};
use lenticular_control::plan::{Deed, UnderWay, choose, wait, what_runs};
use lenticular_model::{
    HostId, MigrationId, ServerId, State, Timestamp,
    compute::{
        maintenance::{MAINTENANCE, Maintenance},
        migration::{Migration, Mode},
        server::{Condition, Wanted},
    },
    host::{action::REBOOT, host::Host, readiness},
    ops::{
        host_step::Stage,
        plan::Plan,
        plan_step::{PlanStep, StepState},
    },
    policy::RoleLevel,
};
use std::sync::Arc;

impl World {
    /// 7: a plan that begins a move keeps its limits.
    pub(crate) fn check_plan_move(&mut self, (before, after): (&State, &State), id: &str, at: Timestamp) {
        let Ok(id) = id.parse::<MigrationId>() else { return };
        let begun = after.migrations.get(&id).filter(|_| !before.migrations.contains_key(&id));
        let Some(begun) = begun.filter(|migration| migration.plan_id.is_some()) else { return };
        let begun = Migration::clone(begun);
        let name = self.name(begun.server_id);
        note!(self, "a plan moves {name} from {} to {}", begun.from_name, begun.to_name);
        self.coverage.note("plan", if begun.mode == Mode::Live { "live move" } else { "cold move" });
        if let Some(what) = self.broken_limit((before, after), &begun, at) {
            self.violate(7, format!("plan {:?} moves {name}, and {what}", begun.plan_id));
        }
    }

    fn broken_limit(
        &mut self,
        (before, after): (&State, &State),
        begun: &Migration,
        at: Timestamp,
    ) -> Option<String> {
        let plan_id = begun.plan_id.as_ref()?;
        let Some(plan) = before.plans.get(plan_id) else { return Some("there is no such plan".to_owned()) };
        if !plan.is_running() || before.freeze().is_some() {
            return Some(format!("it is {}, or frozen", plan.phase.name()));
        }
        let last = self.last_plan_begin.replace(at);
        // A store that went back does not know its last moves.
        let gap_ms = last.filter(|_| self.plane.restores == 0).map(|last| at.since_ms(last));
        let gap_ms = gap_ms.filter(|gap| *gap < 2_000);
        if let Some(gap_ms) = gap_ms {
            return Some(format!("the last move of a plan began {gap_ms} ms before"));
        }
        for host in [begun.from, begun.to] {
            let ends = |other: &&Arc<Migration>| other.from == host || other.to == host;
            let moves = after.moves_under_way().filter(ends).count();
            if moves > 2 {
                return Some(format!("host {host} takes part in {moves} moves"));
            }
        }
        if after.moves_under_way().count() > 20 {
            return Some("more than 20 moves are under way in the zone".to_owned());
        }
        let own = before.moves_under_way().filter(|other| other.plan_id.as_ref() == Some(plan_id)).count();
        if plan.moved == 0 && own > 0 {
            return Some("its first server has not arrived yet".to_owned());
        }
        self.harmed(before, begun)
    }

    /// Nothing is stopped or moved that its owner did not allow to be stopped or moved, and groups stay whole.
    fn harmed(&self, before: &State, begun: &Migration) -> Option<String> {
        let server = before.servers.get(&begun.server_id)?;
        let wish = Maintenance::of(&server.metadata);
        if wish == Maintenance::None {
            return Some("its owner does not allow it".to_owned());
        }
        let stops =
            begun.mode == Mode::Cold && matches!(server.condition, Condition::Active | Condition::Paused);
        if stops && wish == Maintenance::Live && server.reclaim_at.is_none() {
            return Some("the move stops its guest".to_owned());
        }
        let group = server.server_group?;
        let members = before.servers_of_group(group).count();
        let moving = before.servers_of_group(group).filter(|member| member.ticket.is_some()).count();
        (moving >= (members / 2).max(1))
            .then(|| format!("{moving} of {members} servers of its group move already"))
    }
}

impl World {
    /// 7: a plan brings no guest to rest whose owner does not allow it, and boots no host on which a guest runs.
    pub(crate) fn check_plan_rest(&mut self, (before, after): (&State, &State), id: &str) {
        let Ok(id) = id.parse::<ServerId>() else { return };
        let resting = |state: &State| {
            let step = state.plan_steps.get(&id)?;
            matches!(step.state, StepState::Resting { .. }).then(|| step.plan_id.clone())
        };
        let (Some(plan_id), None) = (resting(after), resting(before)) else { return };
        let name = self.name(id);
        note!(self, "plan {plan_id} brings {name} to rest");
        self.coverage.note("plan", "rest");
        let steps = after.steps_of_plan(&plan_id);
        let at_once = steps.filter(|step| matches!(step.state, StepState::Resting { .. })).count();
        let wish = after.servers.get(&id).and_then(|server| server.metadata.get(MAINTENANCE).cloned());
        let what = match wish.as_deref() {
            Some(wish @ ("none" | "live")) => format!("its owner said {wish}"),
            _ if at_once > 2 => format!("{at_once} guests are brought to rest at once"),
            _ if !before.plans.get(&plan_id).is_some_and(|plan| plan.is_running()) => {
                "the plan does not run".to_owned()
            }
            _ => return,
        };
        self.violate(7, format!("plan {plan_id} brings {name} to rest, and {what}"));
    }

    /// 7: a plan boots no host on which a guest of the cloud runs.
    pub(crate) fn check_plan_boot(&mut self, (before, after): (&State, &State), id: &str) {
        let Ok(id) = id.parse::<HostId>() else { return };
        let ordered = |state: &State| {
            let order = state.hosts.get(&id)?.order.action.as_ref().filter(|order| order.name == REBOOT)?;
            Some(order.number)
        };
        let (last, now) = (ordered(before), ordered(after));
        if now.is_none() || now == last {
            return;
        }
        self.coverage.note("plan", "boot");
        // The report of a guest that came up late may be on its way. Its host does not boot then.
        let owned = |server: &ServerId| {
            let known = after.servers.get(server).filter(|known| known.condition != Condition::Error);
            known.is_some_and(|known| known.host_id == Some(id) && known.wanted != Wanted::Absent)
        };
        let Some(host) = self.host_of(id) else { return };
        let host_name = host.name.clone();
        let mut running = host.guests.iter().filter(|(_, real)| real.running().is_some());
        let running = running.find(|(server, _)| owned(server)).map(|(server, _)| *server);
        if let Some(server) = running {
            let name = self.name(server);
            self.violate(7, format!("a plan boots {host_name}, and {name} runs there"));
        }
    }

    /// An operator sees that faults have ceased, and resumes plans. Servers that cannot move are skipped. Returns the
    /// number of requests.
    pub(crate) fn resume_plans(&mut self) -> usize {
        let state = self.plane.published.clone();
        let failing = state.plan_steps.values().filter(|step| step.failures >= 3 && step.skipped.is_none());
        let stuck: Vec<ServerId> = failing.map(|step| step.id).filter(|id| self.cannot_move(*id)).collect();
        let stops = |plan: &Arc<Plan>| !plan.is_running() && !has_skipped_all(&state, plan);
        let stops = state.freeze().is_some() || state.plans.values().any(stops);
        // A host that came back as it must not be takes no servers. Its operator sees to it, and ends the plan.
        let unfit = state.host_steps.values().find(|step| {
            let halted = state.plans.get(&step.plan_id).is_some_and(|plan| !plan.is_running());
            let host = state.hosts.get(&step.id);
            let fits =
                |host: &Arc<Host>| !host.actions.is_empty() && readiness::of_host(&state, host).is_empty();
            halted && host.is_some_and(|host| !fits(host))
        });
        let unfit = unfit.map(|step| ClientRequest::Undrain(step.id));
        let skips = stuck.into_iter().map(ClientRequest::Skip);
        let asks: Vec<ClientRequest> = match unfit {
            Some(ask) => vec![ask],
            None => skips.chain(stops.then_some(ClientRequest::ResumePlans)).collect(),
        };
        let count = asks.len();
        for ask in asks {
            let caller = self.clients.caller(0, RoleLevel::Admin);
            self.ask(caller, ask);
        }
        count
    }

    /// True if a disk of the server is away, or its agent of an earlier release does not say its guest's layout.
    fn cannot_move(&self, id: ServerId) -> bool {
        let state = &self.plane.published;
        let server = state.servers.get(&id);
        let real = server.and_then(|server| self.host_of(server.host_id?)).and_then(|h| h.guests.get(&id));
        let (Some(server), Some(real)) = (server, real) else { return false };
        let disks = state.disks_of_server(id).skip(1);
        let whole =
            real.disk.as_ref().is_some_and(|disk| disks.map(|d| d.id).all(|d| disk.more.contains_key(&d)));
        let unsaid = real.process.as_ref().is_some_and(|process| process.layout != server.layout);
        !whole || unsaid
    }
}

/// True if an operator skipped all servers that are left: the plan pauses then.
fn has_skipped_all(state: &State, plan: &Plan) -> bool {
    let mut steps = state.steps_of_plan(&plan.id).peekable();
    steps.peek().is_some() && steps.all(|step| step.skipped.is_some())
}

/// What a plan could do and does not, when everything else is at rest; `None` if nothing.
pub(crate) fn unfinished(state: &State, now: Timestamp) -> Option<String> {
    state.plans.values().find_map(|plan| {
        if has_skipped_all(state, plan) {
            return None;
        }
        if !plan.is_running() {
            return Some(format!("plan {} is {:?}", plan.id, plan.phase));
        }
        let steps: Vec<&Arc<PlanStep>> = state.steps_of_plan(&plan.id).collect();
        let host = plan.drained();
        let adopts =
            |host| state.servers_on_host(host).any(|server| !state.plan_steps.contains_key(&server.id));
        if host.is_some_and(adopts) {
            return Some(format!("plan {} does not see a server", plan.id));
        }
        let mut empty = host.is_none_or(|host| state.taken_of_host(host).servers == 0);
        if let Some(step) = state.host_step_of_plan(&plan.id) {
            if step.stage != Stage::Emptying {
                return Some(format!(
                    "plan {}: its host is {}, {:?}",
                    plan.id,
                    step.stage.text(),
                    plan.phase
                ));
            }
            empty = what_runs(state, step).is_none();
        }
        if steps.is_empty() && empty {
            return Some(format!("plan {} has nothing left to do, and is not over", plan.id));
        }
        let open = steps.into_iter().find_map(|step| could_begin(state, (plan, step), now));
        open.map(|what| format!("plan {}: {what}", plan.id))
    })
}

fn could_begin(state: &State, (plan, step): (&Plan, &PlanStep), now: Timestamp) -> Option<String> {
    let name = step.id;
    match step.state {
        StepState::Waiting => {}
        // It waits with its host.
        StepState::Rested { .. } if state.host_step_of_plan(&plan.id).is_some() => return None,
        _ => return Some(format!("something is done to {name}")),
    }
    let Some(server) = state.servers.get(&step.id) else { return Some(format!("{name} is gone")) };
    let others = UnderWay::of(state);
    match wait(state, (plan, step), server, &others, now) {
        Ok(Deed::Rest(how)) => Some(format!("{name} could rest ({how:?})")),
        Ok(Deed::Move(mode)) => {
            let (host, _) = choose(state, plan, server, mode, &others);
            host.map(|_| format!("{name} could move"))
        }
        // It waits for room, or after a failure.
        Err(held) if held.until.is_some() => {
            let rested = PlanStep { retry_at: None, ..step.clone() };
            let mode = match wait(state, (plan, &rested), server, &others, now).ok()? {
                Deed::Rest(_) => return Some(format!("{name} can rest at {:?}", held.until)),
                Deed::Move(mode) => mode,
            };
            let (host, _) = choose(state, plan, server, mode, &others);
            host.map(|_| format!("{name} can move at {:?}", held.until))
        }
        Err(_) => None,
    }
}
