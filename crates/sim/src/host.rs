//! A host's agent: the real decision core, and a model of its runtime, which saves the snapshot, calls the
//! control plane, and finds guests again.

use crate::{
    config::{Fault, Mutation},
    event::{Event, From, Poll, Reply, Request},
    real::Real,
    world::{BEGIN, World, note},
};
use lenticular_agent::core::{Core, FoundGuest, FoundProcess, Snapshot, Started, Step, Taken};
use lenticular_model::{
    HostId, Incarnation, ServerId, State, Timestamp,
    host::{
        action::ActionOrder,
        host::Capacity,
        observation::{ObservedState, SourceDecision, StopReason},
    },
};
use lenticular_wire::agent::{Order, Orders, OrdersQuery, Report, RunGoal, WAIT_MS_MAX, v2};
use std::collections::BTreeMap;

/// How many guests a host prepares or starts at once.
const PARALLEL: usize = 2;

/// How often an agent looks for calls without an answer, in milliseconds.
const TICK_MS: i64 = 5_000;

/// How long an agent waits for the answer to a registration or a report, in milliseconds.
const PATIENCE_MS: i64 = 10_000;

/// A call in progress.
#[derive(Debug, Clone, Copy)]
struct Call {
    number: u64,
    sent: Timestamp,
}

/// A step in progress.
#[derive(Debug, Clone)]
pub(crate) struct Doing {
    pub(crate) number: u64,
    pub(crate) step: Step,
    pub(crate) fails: bool,
    pub(crate) acted: bool,
    /// Whether the image store accepted the sent disk, once the host learned of it.
    pub(crate) taken: Option<bool>,
    /// The incarnation of the store that ordered it.
    pub(crate) ordered_in: Option<Incarnation>,
}

/// An agent's process.
pub(crate) struct Agent {
    pub(crate) core: Core,
    pub(crate) agent_run: u64,
    host_id: Option<HostId>,
    session: u64,
    /// The number of the last report in this session.
    report_number: u64,
    registration: Option<Call>,
    poll: Option<Call>,
    report: Option<(Call, Report)>,
    pub(crate) doing: BTreeMap<ServerId, Doing>,
    /// The decisions could not be saved, because the disk is full.
    pub(crate) unsaved: bool,
    /// Steps that wait until the state behind them is saved, and the incarnation that ordered them.
    held: Vec<(ServerId, Step, Option<Incarnation>)>,
    /// The action that waits until the agent has saved that it runs.
    held_action: Option<ActionOrder>,
    /// Earlier orders, for the mutation that carries them out again.
    had: Vec<Orders>,
}

impl Agent {
    /// Ends the session.
    pub(crate) fn register_again(&mut self) {
        self.host_id = None;
        (self.registration, self.poll, self.report) = (None, None, None);
    }

    /// True if it is in contact and waits only for the answer of its poll.
    pub(crate) fn is_quiet(&self, state: &State) -> bool {
        let heartbeat = self.host_id.and_then(|id| state.heartbeats.get(&id));
        if heartbeat.is_none_or(|heartbeat| heartbeat.session != self.session) {
            return false;
        }
        let calls = self.registration.is_some() || self.report.is_some();
        self.host_id.is_some() && !calls && self.doing.is_empty() && self.held.is_empty() && !self.unsaved
    }
}

/// A host: what outlives its agent, and the agent.
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) id: Option<HostId>,
    pub(crate) number: usize,
    roomy: bool,
    pub(crate) boots: u64,
    /// It runs the kernel and the packages that are the newest ones.
    pub(crate) is_updated: bool,
    agent_runs: u64,
    saved: Option<Snapshot>,
    /// Until then, the host neither receives nor sends.
    pub(crate) silent_until: Timestamp,
    /// Until then, the control plane does not receive its messages.
    pub(crate) mute_until: Timestamp,
    /// Until then, it does not receive the control plane's messages.
    pub(crate) deaf_until: Timestamp,
    /// Its disk is slow until then.
    pub(crate) slow_until: Timestamp,
    /// Its disk is full until then.
    pub(crate) full_until: Timestamp,
    /// What is wrong with its network.
    pub(crate) network_trouble: Option<String>,
    /// True while its own switch does not answer.
    pub(crate) bridge_down: bool,
    /// True while its agent is of the version before.
    pub(crate) is_old: bool,
    pub(crate) agent: Option<Agent>,
    pub(crate) guests: BTreeMap<ServerId, Real>,
    /// The order that last reached the agent, by server, and the incarnation of the store that gave it.
    pub(crate) ordered: BTreeMap<ServerId, (Incarnation, Order)>,
}

impl Host {
    pub(crate) fn new(number: usize, roomy: bool) -> Self {
        Self {
            name: format!("host-{}", number + 1),
            id: None,
            number,
            roomy,
            boots: 1,
            is_updated: true,
            agent_runs: 0,
            saved: None,
            silent_until: BEGIN,
            mute_until: BEGIN,
            deaf_until: BEGIN,
            slow_until: BEGIN,
            full_until: BEGIN,
            network_trouble: None,
            bridge_down: false,
            is_old: number % 4 == 2,
            agent: None,
            guests: BTreeMap::new(),
            ordered: BTreeMap::new(),
        }
    }

    /// Ends all faults of the host.
    pub(crate) fn be_well(&mut self, now: Timestamp) {
        self.silent_until = now;
        (self.mute_until, self.deaf_until) = (now, now);
        (self.slow_until, self.full_until) = (now, now);
    }

    pub(crate) fn boot_id(&self) -> String {
        format!("{}-boot-{}", self.name, self.boots)
    }

    /// Even-numbered hosts are small, odd-numbered ones larger.
    pub(crate) fn capacity(&self) -> Capacity {
        match self.number % 2 {
            _ if self.roomy => Capacity { vcpus: 64, memory_mb: 262_144, disk_gb: 4_000 },
            0 => Capacity { vcpus: 2, memory_mb: 8_192, disk_gb: 120 },
            _ => Capacity { vcpus: 4, memory_mb: 16_384, disk_gb: 240 },
        }
    }

    /// The agent of this run, if it is still there.
    pub(crate) fn live(&mut self, agent_run: u64) -> Option<&mut Agent> {
        self.agent.as_mut().filter(|agent| agent.agent_run == agent_run)
    }
}

impl World {
    /// An agent's process begins: it reads its snapshot, looks for guests, and introduces the host.
    pub(crate) fn start_agent(&mut self, n: usize) {
        let host = &mut self.hosts[n];
        if host.agent.is_some() {
            return;
        }
        host.agent_runs += 1;
        let agent_run = host.agent_runs;
        // Another release may have been installed meanwhile.
        host.is_old ^= agent_run > 1 && self.faulty && self.rng.chance(200);
        // The snapshot, if there is one.
        let core = match host.saved.as_ref().map(reread) {
            Some(Ok(snapshot)) => {
                Core::restore(snapshot, host.boot_id(), PARALLEL).map_err(|e| e.to_string())
            }
            Some(Err(why)) => Err(why),
            None => Ok(Core::new(host.boot_id(), PARALLEL)),
        };
        let mut core = match core {
            Ok(core) => core,
            Err(why) => return self.violate(2, format!("the agent's snapshot cannot be read: {why}")),
        };
        // The guests that the snapshot or the host has.
        let mut known: Vec<ServerId> = core.servers().chain(host.guests.keys().copied()).collect();
        known.sort();
        known.dedup();
        for id in known {
            let real = host.guests.entry(id).or_default();
            let stands = real.process.as_ref().is_some_and(|p| p.held || p.paused);
            let process = real.process.as_ref().map(|p| (p.boot, p.layout, p.ended));
            let waiting = real.arriving.as_ref().and_then(|a| Some((a.waits?.1, a.layout, false)));
            let process = process.or(waiting).map(|(boot, layout, ended)| FoundProcess {
                boot,
                started: Started { layout, paused: stands, ..Started::default() },
                ended,
            });
            let memory = real.found_memory();
            core.found(id, FoundGuest { disks: real.disks(id), process, memory });
            real.process = real.process.take().filter(|p| !p.ended);
            if let Some(process) = &mut real.process {
                process.watched_by = Some(agent_run);
            }
        }
        core.host.measured(host.facts(), host.evidence());
        // The process, and its first tick.
        host.agent = Some(Agent {
            core,
            agent_run,
            host_id: None,
            session: 0,
            report_number: 0,
            registration: None,
            poll: None,
            report: None,
            doing: BTreeMap::new(),
            unsaved: false,
            held: Vec::new(),
            held_action: None,
            had: Vec::new(),
        });
        note!(self, "{} agent starts, run {agent_run}", self.hosts[n].name);
        let jitter = self.rng.range(0, 1_000);
        self.after_ms(TICK_MS + jitter, Event::Tick { host: n, agent_run });
        self.advance(n);
    }

    /// The agent's process ends, in the middle of any work.
    pub(crate) fn kill_agent(&mut self, n: usize, back_ms: i64) {
        if self.hosts[n].agent.take().is_some() {
            note!(self, "{} agent dies", self.hosts[n].name);
            self.after_ms(back_ms, Event::AgentStarts(n));
        }
    }

    /// Drops calls without an answer, and tries failed work again.
    pub(crate) fn tick(&mut self, n: usize, agent_run: u64) {
        let now = self.now;
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        let late = |call: &Option<Call>, ms| call.is_some_and(|c| now.since_ms(c.sent) > ms);
        if late(&agent.registration, PATIENCE_MS) {
            agent.registration = None;
        }
        if late(&agent.report.as_ref().map(|(call, _)| *call), PATIENCE_MS) {
            agent.report = None;
        }
        if late(&agent.poll, WAIT_MS_MAX as i64 + PATIENCE_MS) {
            agent.poll = None;
        }
        agent.core.retry();
        self.look_at_tunnels(n);
        self.after_ms(TICK_MS, Event::Tick { host: n, agent_run });
        self.advance(n);
    }

    /// Does the next possible work: keeps the snapshot, begins steps, makes calls.
    pub(crate) fn advance(&mut self, n: usize) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let steps = agent.core.begin();
        for (id, step) in steps {
            let ordered_in = self.decided(n, id, &step);
            let Some(agent) = &mut self.hosts[n].agent else { return };
            agent.held.push((id, step, ordered_in));
        }
        let is_old = self.hosts[n].is_old;
        let Some(agent) = &mut self.hosts[n].agent else { return };
        agent.held_action =
            agent.held_action.take().or_else(|| agent.core.begin_action().filter(|_| !is_old));
        let kept = self.keep_snapshot(n);
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let action = agent.held_action.take_if(|_| kept);
        if let Some(order) = action {
            self.begin_action(n, order);
        }
        let Some(agent) = &mut self.hosts[n].agent else { return };
        if kept {
            let cancels = agent.core.take_cancels();
            for (id, step, ordered_in) in std::mem::take(&mut agent.held) {
                self.begin_step(n, id, step, ordered_in);
            }
            for id in cancels {
                self.cancel_step(n, id);
            }
        }
        self.look_at_packages(n);
        self.begin_check(n);
        self.begin_canary(n);
        self.call(n, kept);
    }

    /// Saves the snapshot. True if nothing is left to save.
    fn keep_snapshot(&mut self, n: usize) -> bool {
        let full = self.hosts[n].full_until > self.now;
        let host = &mut self.hosts[n];
        let Some(agent) = &mut host.agent else { return false };
        agent.unsaved |= agent.core.take_changed();
        if agent.unsaved && !full {
            let mut saved = agent.core.snapshot();
            if host.is_old {
                saved.set_protocol(v2::VERSION);
            }
            host.saved = Some(saved);
            agent.unsaved = false;
        }
        !agent.unsaved
    }

    /// Makes the calls that are due: a registration, or a poll and a report.
    fn call(&mut self, n: usize, kept: bool) {
        let number = self.number();
        let call = Call { number, sent: self.now };
        let mutation = self.config.mutation;
        let host = &mut self.hosts[n];
        let Some(agent) = &mut host.agent else { return };
        let from = From { host: n, agent_run: agent.agent_run, call: number };
        // A registration, as long as the host has no id in this session.
        let Some(host_id) = agent.host_id else {
            // The reported state is saved first: the control plane acts on it.
            if agent.registration.is_none() && (kept || mutation == Some(Mutation::TellsUnsaved)) {
                agent.registration = Some(call);
                if let Some(registration) = self.hosts[n].registration() {
                    let registration = self.registration_on_wire(n, registration);
                    self.send_to_plane(n, Request::Register(from, registration.into()));
                }
            }
            return;
        };
        let Some(incarnation) = agent.core.incarnation() else { return };
        let mut requests = Vec::new();
        // A poll.
        if agent.poll.is_none() {
            agent.poll = Some(call);
            let after = agent.core.applied_upto();
            let query = OrdersQuery {
                session: agent.session,
                incarnation,
                after,
                wait_ms: WAIT_MS_MAX,
                receipt: None,
            };
            requests.push(Request::Poll(Poll { from, host_id, query }));
        }
        // A report. Without saved state it is about the host alone.
        if agent.report.is_none() {
            let guests = if kept { agent.core.pending_reports() } else { Vec::new() };
            let (facts, evidence) = agent.core.host.news();
            if !guests.is_empty() || !facts.is_empty() || !evidence.is_empty() {
                agent.report_number += 1;
                let (session, number) = (agent.session, agent.report_number);
                let progress = Vec::new();
                let report = Report { session, number, incarnation, guests, host: facts, evidence, progress };
                agent.report = Some((call, report.clone()));
                requests.push(Request::Report(from, host_id, report.into()));
            }
        }
        for mut request in requests {
            if let Request::Report(_, _, report) = &mut request {
                self.note_report(n, report);
                **report = self.report_on_wire(n, report);
            }
            self.send_to_plane(n, request);
        }
    }

    fn note_report(&mut self, n: usize, report: &Report) {
        for seen in &report.guests {
            let (name, what) = (self.name(seen.server_id), sight_name(&seen.observed));
            self.coverage.note("sight", what);
            let decision = seen.handover.as_ref().map_or("", |handover| match handover.decision {
                SourceDecision::Released => ", released",
                SourceDecision::Kept { .. } => ", kept from the other host",
            });
            let (host, generation) = (&self.hosts[n].name, seen.generation);
            note!(self, "{host} reports {name} g{generation} boot {}: {what}{decision}", seen.boot);
        }
    }

    /// An answer arrives at an agent.
    pub(crate) fn at_agent(&mut self, from: From, reply: Reply) {
        let n = from.host;
        let Some(agent) = self.hosts[n].live(from.agent_run) else { return };
        let waits = |call: &Option<Call>| call.is_some_and(|c| c.number == from.call);
        let reports = waits(&agent.report.as_ref().map(|(call, _)| *call));
        match reply {
            Reply::Welcome(welcome) if waits(&agent.registration) => {
                agent.registration = None;
                if agent.core.enter(welcome.incarnation) {
                    note!(self, "{} enters another life of the store", self.hosts[n].name);
                } else {
                    agent.host_id = Some(welcome.host_id);
                    (agent.session, agent.report_number) = (welcome.session, 0);
                    note!(self, "{} is welcome", self.hosts[n].name);
                }
            }
            Reply::Taken if reports => {
                if let Some((_, said)) = agent.report.take() {
                    agent.core.reported(&said.guests);
                    agent.core.host.told(&said.host, &said.evidence);
                }
            }
            Reply::Unknown if reports || waits(&agent.poll) => agent.register_again(),
            Reply::Orders(orders) => {
                let current = waits(&agent.poll);
                if current {
                    agent.poll = None;
                }
                let orders = self.orders_on_wire(n, *orders);
                self.take_orders(n, orders, current);
            }
            Reply::Saved(server, number, taken) => {
                if let Some(doing) = agent.doing.get_mut(&server).filter(|doing| doing.number == number) {
                    doing.taken = Some(taken);
                    doing.fails |= !taken;
                    let agent_run = agent.agent_run;
                    return self.after_ms(1, Event::StepEnds { host: n, agent_run, server, number });
                }
            }
            // No waiter needs the answer any more.
            Reply::Welcome(_) | Reply::Taken | Reply::Unknown => return,
        }
        self.advance(n);
    }

    fn take_orders(&mut self, n: usize, mut orders: Orders, current: bool) {
        let mutation = self.config.mutation;
        let host = &mut self.hosts[n];
        let Some(agent) = &mut host.agent else { return };
        if mutation == Some(Mutation::StaleOrders) {
            agent.had.push(orders.clone());
            if self.rng.chance(200) {
                let had = &agent.had[self.rng.index(agent.had.len())];
                orders.servers.extend(had.servers.iter().cloned());
            }
        }
        for order in &orders.servers {
            let Order::Own(own) = order else { continue };
            let real = host.guests.get(&order.server_id()).filter(|_| agent.core.misses_disk(order));
            let there = real.map(|real| real.disks(order.server_id())).unwrap_or_default();
            let found = own.assignment.guest.disks.iter().map(|disk| there.get(&disk.id)).min().flatten();
            if let Some(generation) = found {
                let memory = real.and_then(Real::found_memory);
                agent.core.disks_found(order.server_id(), *generation, memory);
            }
        }
        if agent.core.apply(&orders) == Taken::Ignored {
            self.coverage.note("orders", "ignored");
            if current {
                // The stream has a gap: the agent asks for all orders again.
                agent.core.start_over();
            }
            return;
        }
        self.coverage.note("orders", "applied");
        for order in &orders.servers {
            host.ordered.insert(order.server_id(), (orders.incarnation, order.clone()));
        }
        if !orders.servers.is_empty() {
            let mut text = String::new();
            for order in &orders.servers {
                text += &format!(" {}={}", self.name(order.server_id()), order_text(order));
            }
            note!(self, "{} takes orders {}..{}:{text}", self.hosts[n].name, orders.after, orders.upto);
        }
        if mutation == Some(Mutation::AbsenceIsAnOrder) && !orders.servers.is_empty() {
            self.remove_unmentioned(n, &orders);
        }
        // The agent may die with applied but unsaved orders.
        if self.chance(Fault::AgentCrash, 5) {
            self.kill_agent(n, 1_000);
        }
    }

    /// The broken rule: servers that the orders do not mention are removed.
    fn remove_unmentioned(&mut self, n: usize, orders: &Orders) {
        let mentioned = |id: &ServerId| orders.servers.iter().any(|o| o.server_id() == *id);
        let others: Vec<ServerId> =
            self.hosts[n].guests.keys().filter(|id| !mentioned(id)).copied().collect();
        for id in others {
            self.check_tombstone(n, id);
            self.remove_guest(n, id, None);
        }
    }

    /// An agent learns that a guest's process ended.
    pub(crate) fn hear(
        &mut self,
        n: usize,
        agent_run: u64,
        id: ServerId,
        boot: u64,
        how: lenticular_agent::core::Ended,
    ) {
        let host = &mut self.hosts[n];
        if host.live(agent_run).is_none() {
            return;
        }
        if let Some(real) = host.guests.get_mut(&id)
            && real.process.as_ref().is_some_and(|p| p.ended && p.boot == boot)
        {
            real.process = None;
        }
        if let Some(agent) = host.live(agent_run) {
            agent.core.exited(id, boot, how);
        }
        self.advance(n);
    }
}

/// An order in a few words.
fn order_text(order: &Order) -> String {
    let generation = order.generation();
    match order {
        Order::Own(own) => {
            let boot = own.assignment.boot;
            let run = match own.run {
                RunGoal::Running if own.assignment.paused => "pause",
                RunGoal::Running => "run",
                RunGoal::Suspended { .. } => "suspend",
                RunGoal::Stopped => "stop",
            };
            let out = own.outgoing.as_ref().map_or(String::new(), |out| {
                let verb = if out.withdraw { "stay" } else { "send" };
                format!(" {verb} {:?} to {} as {}", out.mode, out.to.name, out.generation)
            });
            format!("{run}/g{generation}/b{boot}{out}")
        }
        Order::Receive(receive) => format!("receive {:?}/g{generation}", receive.mode),
        Order::Keep { .. } => format!("keep/g{generation}"),
        Order::Remove { .. } => format!("remove/g{generation}"),
    }
}

/// A snapshot as read back from the host's own disk.
fn reread(snapshot: &Snapshot) -> Result<Snapshot, String> {
    let text = serde_json::to_string(snapshot).map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| error.to_string())
}

/// The name of an observed state in traces and counts.
pub(crate) fn sight_name(observed: &ObservedState) -> &'static str {
    match observed {
        ObservedState::Preparing { .. } => "preparing",
        ObservedState::Running { paused: true, .. } => "paused",
        ObservedState::Running { .. } => "running",
        ObservedState::Suspended => "suspended",
        ObservedState::Stopped { why: StopReason::Ordered } => "stopped as ordered",
        ObservedState::Stopped { why: StopReason::ByGuest } => "stopped by its guest",
        ObservedState::Stopped { why: StopReason::Died } => "died",
        ObservedState::Stopped { why: StopReason::HostRestarted } => "stopped by its host's restart",
        ObservedState::Failed { .. } => "failed",
        ObservedState::Receiving { .. } => "receiving",
        ObservedState::Ready => "ready",
        ObservedState::Unready { .. } => "unready",
        ObservedState::Kept => "kept",
        ObservedState::Stopped { why: StopReason::MovedAway } => "moved away",
        ObservedState::Absent => "absent",
    }
}
