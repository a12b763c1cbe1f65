//! A host's drivers: each step's effect on disks and processes, its duration, and its failures.

use crate::{
    config::{Fault, Mutation},
    drill::Moment,
    event::Event,
    host::Doing,
    real::{Disk, Process, Real},
    world::{World, note},
};
use lenticular_agent::core::{Ended, Failure, Outcome, Started, Step};
use lenticular_model::{
    Incarnation, ServerId,
    compute::{
        migration::Mode,
        server::{Server, Wanted},
    },
};
use lenticular_wire::agent::{GuestAssignment, Order, Own, RunGoal};
use std::{collections::BTreeMap, sync::Arc};

/// How long a guest that does not react has to shut down, in milliseconds.
const SHUTDOWN_DEADLINE_MS: i64 = 60_000;

impl World {
    /// An agent has decided on a step: there must be an order for it. Returns the incarnation of the store that
    /// gave it.
    pub(crate) fn decided(&mut self, n: usize, id: ServerId, step: &Step) -> Option<Incarnation> {
        match step {
            Step::Remove => self.check_tombstone(n, id),
            Step::Shutdown | Step::Kill => self.check_stop(n, id),
            Step::DropMemory => self.check_drop(n, id),
            _ => {}
        }
        self.hosts[n].ordered.get(&id).map(|(incarnation, _)| *incarnation)
    }

    /// A step begins. Its duration and its failure are decided now.
    pub(crate) fn begin_step(&mut self, n: usize, id: ServerId, step: Step, ordered_in: Option<Incarnation>) {
        let number = self.number();
        // The step's duration.
        let mut takes_ms = match &step {
            Step::Prepare(_) | Step::Rebuild(..) => self.rng.range(200, 5_000),
            Step::Start(_) => self.rng.range(100, 2_000),
            Step::Suspend(_) | Step::Wake(_) => self.rng.range(200, 10_000),
            Step::Pause | Step::Unpause | Step::DropMemory => self.rng.range(1, 100),
            Step::Kill => self.rng.range(10, 300),
            Step::Remove => self.rng.range(20, 800),
            Step::Receive(_) => self.rng.range(200, 6_000),
            Step::Send(..) => self.rng.range(500, 30_000),
            Step::Resume | Step::ResumePaused => self.rng.range(10, 500),
            Step::HandOver { .. } => self.rng.range(1, 50),
            Step::Adopt(..) | Step::Revive(_) => self.rng.range(5, 300),
            Step::Upload(..) | Step::Snapshot(..) => self.rng.range(500, 20_000),
            Step::Plug(_) => self.rng.range(5, 3_000),
            Step::Shutdown => SHUTDOWN_DEADLINE_MS,
        };
        if self.chance(Fault::SlowStep, 50) {
            takes_ms += self.rng.range(60_000, 300_000);
        }
        if self.hosts[n].slow_until > self.now {
            takes_ms += self.rng.range(20_000, 120_000);
        }
        // The step's failure, and the time of its effect.
        let writes = matches!(
            step,
            Step::Prepare(_) | Step::Rebuild(..) | Step::Receive(_) | Step::Start(_) | Step::Adopt(..)
        );
        let full = writes && self.hosts[n].full_until > self.now;
        let fails = self.chance(Fault::FailingStep, 70) || full;
        let acts_ms = self.rng.range(0, takes_ms);
        let name = self.name(id);
        note!(self, "{} begins {name}: {}", self.hosts[n].name, step.name());
        let what = step.name();
        if step == Step::Shutdown {
            takes_ms = self.ask_guest(n, id, takes_ms);
        }
        // The step is in progress.
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let agent_run = agent.agent_run;
        if agent
            .doing
            .insert(id, Doing { number, step, fails, acted: false, taken: None, ordered_in })
            .is_some()
        {
            return self.violate(1, format!("{name} has two steps under way on {}", self.hosts[n].name));
        }
        self.after_ms(acts_ms.min(takes_ms), Event::StepActs { host: n, agent_run, server: id, number });
        self.after_ms(takes_ms, Event::StepEnds { host: n, agent_run, server: id, number });
        self.drill_step(n, what, Moment::Begun);
    }

    /// A guest is asked to shut down. Most guests do so soon, even if the agent dies. Returns when the step ends.
    fn ask_guest(&mut self, n: usize, id: ServerId, deadline_ms: i64) -> i64 {
        let process = self.hosts[n].guests.get(&id).and_then(|real| real.running()).map(|p| p.number);
        let Some(process) = process else { return 100 };
        if self.rng.chance(150) {
            return deadline_ms;
        }
        let delay = self.rng.range(500, 20_000);
        self.after_ms(delay, Event::GuestEnds { host: n, server: id, process, how: Ended::ByGuest });
        delay + 50
    }

    /// A step without a waiter ends at once.
    pub(crate) fn cancel_step(&mut self, n: usize, id: ServerId) {
        let Some(agent) = &mut self.hosts[n].agent else { return };
        let agent_run = agent.agent_run;
        let Some(doing) = agent.doing.get_mut(&id) else { return };
        // A sent disk may still have no answer.
        let waits = doing.waits_for_shelf().is_some();
        if doing.step.can_be_given_up() && (!doing.acted || waits) {
            doing.fails = true;
        }
        let number = doing.number;
        self.coverage.note("step", "cut short");
        self.after_ms(10, Event::StepEnds { host: n, agent_run, server: id, number });
    }

    /// The step has its effect, some time before its agent knows.
    pub(crate) fn step_acts(&mut self, n: usize, agent_run: u64, id: ServerId, number: u64) {
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        let Some(doing) = agent.doing.get_mut(&id).filter(|d| d.number == number && !d.acted) else { return };
        doing.acted = true;
        let (step, fails, ordered_in) = (doing.step.clone(), doing.fails, doing.ordered_in);
        if fails {
            if let (Step::Send(..), true) = (&step, self.rng.chance(500)) {
                self.pause_guest(n, id);
            }
            return;
        }
        if self.config.mutation == Some(Mutation::LyingSteps) && self.rng.chance(100) {
            return;
        }
        let carried_out = match &step {
            Step::Prepare(order) => self.make_disks(n, id, order),
            Step::Rebuild(order, keeps_data) => self.remake_disks(n, id, order, *keeps_data),
            Step::Upload(_, upload) | Step::Snapshot(_, upload) => {
                self.send_to_shelf(n, id, upload.clone(), number);
                return;
            }
            Step::Start(order) => self.start_guest(n, id, order),
            // Only the end of the step ends a guest that does not shut down.
            Step::Shutdown => true,
            Step::Kill => {
                self.end_process(n, id);
                true
            }
            Step::Remove => {
                self.remove_guest(n, id, ordered_in);
                true
            }
            Step::Pause | Step::Unpause | Step::Suspend(_) | Step::Wake(_) | Step::DropMemory => {
                self.memory_acts(n, id, &step)
            }
            moving => self.move_acts(n, id, moving),
        };
        self.drill_step(n, step.name(), Moment::Acted);
        if !carried_out {
            let doing = self.hosts[n].live(agent_run).and_then(|a| a.doing.get_mut(&id));
            doing.into_iter().for_each(|d| d.fails = true);
        }
    }

    /// The step ends, and the agent's core gets the outcome.
    pub(crate) fn step_ends(&mut self, n: usize, agent_run: u64, id: ServerId, number: u64) {
        self.step_acts(n, agent_run, id, number);
        let Some(agent) = self.hosts[n].live(agent_run) else { return };
        if agent.doing.get(&id).is_none_or(|d| d.number != number) {
            return;
        }
        if let Some(again) = agent.doing.get(&id).and_then(Doing::waits_for_shelf) {
            return self.send_again(n, agent_run, id, again);
        }
        let Some(doing) = agent.doing.remove(&id) else { return };
        let ends = matches!(doing.step, Step::Shutdown | Step::Suspend(_));
        if ends && !doing.fails {
            self.end_process(n, id);
        }
        let outcome = match (&doing.step, doing.fails) {
            (step, true) => Outcome::Failed(failure(step)),
            (Step::Start(_) | Step::Adopt(..), false) if self.has_process(n, id) => {
                let process = self.hosts[n].guests.get(&id).and_then(|real| real.process.as_ref());
                let layout = process.map_or(0, |process| process.layout);
                let paused = process.is_some_and(|process| process.held);
                Outcome::Started(Started { layout, paused, ..Started::default() })
            }
            (Step::Wake(_), false) => self.woken(n, id),
            (Step::Start(_), false) => Outcome::Started(Started::default()),
            _ => Outcome::Done,
        };
        self.coverage.note(if doing.fails { "step failed" } else { "step done" }, doing.step.name());
        let name = self.name(id);
        let how = if doing.fails { "failed" } else { "done" };
        note!(self, "{} {how} {name}: {}", self.hosts[n].name, doing.step.name());
        if let Some(agent) = self.hosts[n].live(agent_run) {
            agent.core.done(id, outcome);
        }
        if let (Step::Receive(receive), Some(Mutation::RunsBeforeRelease)) =
            (&doing.step, self.config.mutation)
        {
            let generation = receive.assignment.generation;
            let agent = self.hosts[n].live(agent_run);
            agent.map(|agent| agent.core.released(id, generation, &receive.from.name));
        }
        if let (Step::Start(of) | Step::Wake(of), false) = (&doing.step, doing.fails) {
            self.watch(n, agent_run, id, of.boot);
        }
        if let (Step::Adopt(of, Mode::Live), false) = (&doing.step, doing.fails) {
            self.watch(n, agent_run, id, of.boot);
        }
        // Before the agent saves what the step has changed.
        self.drill_step(n, doing.step.name(), Moment::Ended);
        self.advance(n);
    }

    /// From now on the agent learns when the guest's process ends; at once if it has ended already.
    pub(crate) fn watch(&mut self, n: usize, agent_run: u64, server: ServerId, boot: u64) {
        let process = self.hosts[n].guests.get_mut(&server).and_then(|real| real.process.as_mut());
        let how = match process {
            Some(process) if !process.ended => {
                process.watched_by = Some(agent_run);
                return;
            }
            Some(_) => Ended::ByGuest,
            None => Ended::Died,
        };
        self.after_ms(5, Event::Heard { host: n, agent_run, server, boot, how });
    }

    /// Makes a guest's disks: the root disk new, or as it was when the server was shelved; the others new. False if
    /// that copy is gone.
    fn make_disks(&mut self, n: usize, id: ServerId, order: &GuestAssignment) -> bool {
        let (name, generation) = (self.name(id), order.generation);
        let number = self.number();
        let Some(base) = order.guest.bases().next().map(|base| base.image_id) else { return false };
        let shelved = self.clients.shelved.get(&base).copied();
        if shelved.is_none() && Some(base) != self.clients.image {
            return false;
        }
        let (made, writes) = shelved.unwrap_or((number, 0));
        let real = self.real(n, id);
        let there = real.disk.as_ref().is_some_and(|disk| disk.generation == generation);
        if !there {
            real.disk = Some(Disk { generation, made, writes, more: BTreeMap::new() });
            let rebuilt = self.plane.published.servers.get(&id).is_some_and(|s| s.rebuild.is_some());
            if rebuilt {
                // The disk that it should replace is lost.
                self.clients.written.insert(id, (number, 0));
            } else if shelved.is_none() && self.clients.written.contains_key(&id) {
                self.violate(3, format!("a disk of {name} that was written is silently made a second time"));
            }
        }
        for disk in order.guest.disks.iter().skip(1) {
            let number = self.number();
            let has = self.real(n, id).disk.as_mut();
            if has.is_none_or(|has| has.more.contains_key(&disk.id)) {
                continue;
            }
            let was = self.clients.written_more.insert(disk.id, (number, 0));
            if there && was.is_some_and(|(_, writes)| writes > 0) {
                self.violate(3, format!("a second disk of {name} is silently made a second time"));
            }
            let has = self.real(n, id).disk.as_mut();
            has.into_iter().for_each(|has| has.more.extend([(disk.id, (number, 0))]));
        }
        true
    }

    /// Makes new disks in the place of a guest's disks.
    fn remake_disks(&mut self, n: usize, id: ServerId, order: &GuestAssignment, keeps_data: bool) -> bool {
        let name = self.name(id);
        let number = self.number();
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        if real.process.is_some() {
            self.violate(1, format!("the disks of {name} are replaced under a running guest"));
            return false;
        }
        let Some(old) = real.disk.take() else { return false };
        let mut more = if keeps_data { old.more } else { BTreeMap::new() };
        for disk in order.guest.disks.iter().skip(1) {
            more.entry(disk.id).or_insert((number, 0));
        }
        self.clients.written.insert(id, (number, 0));
        self.clients.written_more.extend(more.clone());
        let real = self.real(n, id);
        real.disk = Some(Disk { generation: order.generation, made: number, writes: 0, more });
        true
    }

    /// Starts a guest on its disks; false if one is missing.
    pub(crate) fn start_guest(&mut self, n: usize, id: ServerId, order: &GuestAssignment) -> bool {
        let (name, boot) = (self.name(id), order.boot);
        let layout = if self.hosts[n].is_old { 1 } else { 2 };
        let number = self.number();
        let fresh = self.config.mutation == Some(Mutation::FreshDisk);
        let mut needed = order.guest.disks.iter().skip(1).map(|disk| disk.id);
        let real = self.real(n, id);
        if fresh && real.disk.is_none() {
            real.disk = Some(Disk { generation: 1, made: number, writes: 0, more: BTreeMap::new() });
        }
        let Some(disk) = &mut real.disk else { return false };
        if !needed.all(|needed| disk.more.contains_key(&needed)) && !fresh {
            return false;
        }
        let second = real.process.is_some();
        real.process = Some(Process {
            number,
            boot,
            layout,
            ended: false,
            paused: false,
            held: false,
            watched_by: None,
        });
        real.memory = None;
        let is_at = (disk.made, disk.writes);
        let more_at = disk.more.clone();
        disk.write();
        let (now_at, more_now) = ((disk.made, disk.writes), disk.more.clone());
        self.look.at(id);
        let newest = self.clients.written.insert(id, now_at);
        if second {
            self.violate(1, format!("a second process of {name} starts on {}", self.hosts[n].name));
        }
        if newest.is_some_and(|newest| newest != is_at) {
            self.violate(3, format!("{name} starts on disk {is_at:?}, and the last it wrote is {newest:?}"));
        }
        for (disk, is_at) in more_at {
            let newest = self.clients.written_more.get(&disk).copied();
            if newest.is_some_and(|newest| newest != is_at) {
                self.violate(
                    3,
                    format!("{name} starts on disk {disk} at {is_at:?}, and the last is {newest:?}"),
                );
            }
        }
        self.clients.written_more.extend(more_now);
        true
    }

    /// Guests write.
    pub(crate) fn guests_write(&mut self) {
        for host in &mut self.hosts {
            for (id, real) in &mut host.guests {
                if let (Some(disk), Some(process)) = (&mut real.disk, &real.process) {
                    if process.paused || process.held {
                        continue;
                    }
                    if !process.ended {
                        disk.write();
                    }
                    self.clients.written.insert(*id, (disk.made, disk.writes));
                    self.clients.written_more.extend(disk.more.clone());
                }
            }
        }
        if self.faulty {
            self.after_ms(7_000, Event::GuestWrites);
        }
    }

    pub(crate) fn end_process(&mut self, n: usize, id: ServerId) {
        if let Some(real) = self.hosts[n].guests.get_mut(&id) {
            real.process = None;
        }
    }

    /// A guest's process ends by itself.
    pub(crate) fn guest_ends(&mut self, n: usize, id: ServerId, process: u64, how: Ended) {
        let name = self.name(id);
        let host = &mut self.hosts[n];
        let Some(real) = host.guests.get_mut(&id) else { return };
        let Some(found) = real.process.as_mut().filter(|p| p.number == process && !p.ended) else { return };
        let (boot, watched_by) = (found.boot, found.watched_by);
        found.ended = true;
        if how == Ended::Died {
            real.process = None;
        }
        note!(self, "{} {name} ends by itself: {how:?}", self.hosts[n].name);
        if let Some(agent_run) = watched_by.filter(|agent_run| self.hosts[n].live(*agent_run).is_some()) {
            self.after_ms(10, Event::Heard { host: n, agent_run, server: id, boot, how });
        }
    }

    /// A guest may be removed only on a delivered tombstone.
    pub(crate) fn check_tombstone(&mut self, n: usize, id: ServerId) {
        let told = matches!(self.hosts[n].ordered.get(&id), Some((_, Order::Remove { .. })));
        if !told && self.hosts[n].guests.get(&id).is_some_and(Real::is_there) {
            let name = self.name(id);
            self.violate(4, format!("{name} is removed from {} without a tombstone", self.hosts[n].name));
        }
    }

    /// Removes everything of a guest from a host, as ordered in this incarnation of the store.
    pub(crate) fn remove_guest(&mut self, n: usize, id: ServerId, incarnation: Option<Incarnation>) {
        let name = self.name(id);
        let host = &mut self.hosts[n];
        let Some(was) = host.guests.remove(&id).filter(Real::is_there) else { return };
        let record: Option<&Arc<Server>> = self.plane.published.servers.get(&id);
        // The server and its image were deleted; an earlier backup does not know that.
        let deleted = record.filter(|s| self.plane.restores > 0 && s.is_offloaded()).is_some_and(|s| {
            s.shelf.as_ref().is_some_and(|shelf| !self.clients.shelved.contains_key(&shelf.image_id()))
        });
        let stays = record.is_some_and(|s| s.wanted != Wanted::Absent) && !deleted;
        let newest = was.content().is_some_and(|content| {
            let has = |real: &Real| {
                let away = real.away.as_ref().map(|disk| (disk.made, disk.writes));
                real.content() == Some(content) || away == Some(content)
            };
            let elsewhere = self.hosts.iter().any(|h| h.guests.get(&id).is_some_and(has));
            let shelved = self.clients.shelved.values().any(|shelved| *shelved == content);
            self.clients.written.get(&id) == Some(&content) && !elsewhere && !shelved
        });
        // The store may have lost the knowledge behind an earlier incarnation's order.
        let of_old = incarnation.is_some_and(|of| of != self.plane.published.incarnation);
        if stays && newest && !of_old {
            self.violate(3, format!("the newest disk of {name} is removed from {}", self.hosts[n].name));
        }
    }

    /// A guest may be stopped only if the order that reached its host says so.
    fn check_stop(&mut self, n: usize, id: ServerId) {
        let name = self.name(id);
        let host = &self.hosts[n];
        let Some(process) = host.guests.get(&id).and_then(|real| real.running()) else { return };
        let disk = host.guests.get(&id).and_then(|real| real.disk.as_ref()).map(|disk| disk.generation);
        let stays = |own: &Own| {
            let replaced = own.replaces.is_some_and(|replaces| Some(replaces.generation) == disk);
            let moves = own.outgoing.as_ref().is_some_and(|out| out.mode == Mode::Cold);
            own.run == RunGoal::Running && own.assignment.boot <= process.boot && !moves && !replaced
        };
        let ordered = host.ordered.get(&id).map(|(_, order)| order);
        if ordered.is_none_or(|order| matches!(order, Order::Own(own) if stays(own))) {
            self.violate(4, format!("{name} is stopped on {} and no order says so", host.name));
        }
    }
}

fn failure(step: &Step) -> Failure {
    let details = match step {
        Step::Prepare(_) | Step::Rebuild(..) => "no space left on device",
        Step::Start(_) => "the hypervisor died at its start",
        Step::Shutdown | Step::Kill => "the process cannot be signalled",
        Step::Remove => "the disk is busy",
        Step::Receive(_) => "no room for the guest",
        Step::Send(..) => "the connection broke off",
        Step::Resume | Step::ResumePaused | Step::Pause | Step::Unpause => "the process does not answer",
        Step::HandOver { .. } => "the other host does not answer",
        Step::Upload(..) | Step::Snapshot(..) => "the disk cannot be read",
        Step::Suspend(_) => "no space left for the memory",
        Step::Wake(_) => "the hypervisor does not start",
        Step::DropMemory => "the memory cannot be removed",
        Step::Plug(_) => "the guest does not let go",
        Step::Adopt(..) | Step::Revive(_) => "the note of the disk cannot be written",
    };
    Failure::new("It could not be done on this host. Try again.", details)
}
