//! One guest: its last order, its state on this host, and the step that brings the state nearer to the order.

use super::{
    moves::{Inbound, Outbound},
    step::{Ended, Failure, Outcome, Started, Step},
};
use lenticular_model::{
    PortId,
    compute::{migration::Mode, server::BootStyle},
    host::observation::{Attempt, Observation, StopReason},
    network::mac::Mac,
};
use lenticular_wire::agent::{GuestAssignment, Order, Own, RunGoal};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Disk {
    NotMade,
    Made,
    /// The disk was made and is missing now. It is never made a second time.
    Lost,
}

/// What a guest does on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum RunState {
    /// Never ran here.
    New,
    Running {
        ssh_forward: Option<String>,
        /// See [`Started::layout`].
        #[serde(default = "first_layout")]
        layout: u32,
        #[serde(default)]
        paused: bool,
    },
    Stopped {
        why: StopReason,
    },
    Failed(Failure),
    /// Removed on order.
    Gone,
}

/// The layout of every guest that an agent without layouts started.
fn first_layout() -> u32 {
    1
}

/// A network interface of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Nic {
    port_id: PortId,
    slot: u32,
    mac: Mac,
}

fn nics(of: &GuestAssignment) -> Vec<Nic> {
    of.guest.ports.iter().map(|p| Nic { port_id: p.port_id, slot: p.slot, mac: p.mac }).collect()
}

/// A finished attempt to send the disk to the image store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Uploaded {
    pub(super) upload: String,
    pub(super) failure: Option<Failure>,
}

/// One guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Guest {
    /// `None` for a guest that was found without an order.
    pub(super) order: Option<Order>,
    pub(super) generation: u64,
    pub(super) disk: Disk,
    pub(super) boot_done: u64,
    /// The boot that its process was started for. It is older than `boot_done` if a boot needed no start.
    #[serde(default)]
    pub(super) process_boot: u64,
    /// The field's name in the saved states of older agents.
    #[serde(rename = "life")]
    pub(super) run_state: RunState,
    pub(super) doing: Option<Step>,
    /// True until the first order of a new incarnation of the store: its count of boots starts again.
    pub(super) rebase: bool,
    /// The guest is on its way to another host.
    #[serde(default)]
    pub(super) outbound: Option<Outbound>,
    /// The guest is on its way here.
    #[serde(default)]
    pub(super) inbound: Option<Inbound>,
    /// The guest has arrived, and this host must still adopt it.
    #[serde(default)]
    pub(super) adopting: Option<Mode>,
    /// The interfaces of its process.
    #[serde(default)]
    nics: Vec<Nic>,
    /// The result of sending its disk to the image store.
    #[serde(default)]
    pub(super) uploaded: Option<Uploaded>,
    /// Its memory is saved here. It is used once.
    #[serde(default)]
    pub(super) has_memory: bool,
    /// There is a process beside the saved memory that must end: the agent died while it suspended or resumed the guest.
    #[serde(default)]
    pub(super) leftover: bool,
    /// The last attempt that failed and left the guest as it was.
    #[serde(default)]
    pub(super) failed_attempt: Option<(Attempt, Failure)>,
    /// Why it was started anew in its present boot, though its memory was saved.
    #[serde(default)]
    pub(super) memory_lost: Option<String>,
    /// True if a step failed that must succeed at some time.
    #[serde(skip)]
    pub(super) stuck: bool,
    #[serde(skip)]
    pub(super) acknowledged: Option<Observation>,
    #[serde(skip)]
    pub(super) host_restarted: bool,
    /// How the process ended during a step that says itself how it ended.
    #[serde(skip)]
    ended: Option<Ended>,
}

impl Guest {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            order: None,
            generation,
            disk: Disk::NotMade,
            boot_done: 0,
            process_boot: 0,
            run_state: RunState::New,
            doing: None,
            rebase: false,
            outbound: None,
            inbound: None,
            adopting: None,
            nics: Vec::new(),
            uploaded: None,
            has_memory: false,
            leftover: false,
            failed_attempt: None,
            memory_lost: None,
            stuck: false,
            acknowledged: None,
            host_restarted: false,
            ended: None,
        }
    }

    /// False if the host must look for the disks when an order says that they were made.
    pub(super) fn has_disk(&self) -> bool {
        self.disk == Disk::Made || self.inbound.is_some()
    }

    /// Takes an order, unless this host knows that the order's generation is over.
    pub(super) fn order(&mut self, order: Order) {
        let newest = self.inbound.as_ref().map_or(self.generation, |inbound| inbound.generation);
        if order.generation() < newest {
            return;
        }
        let nothing = self.run_state == RunState::New && self.disk == Disk::NotMade && self.inbound.is_none();
        let over = matches!(order, Order::Remove { .. } | Order::Keep { .. });
        if over && nothing && self.order.is_none() && self.doing.is_none() {
            self.run_state = RunState::Gone;
        }
        let rebase = std::mem::take(&mut self.rebase);
        if let Order::Own(own) = &order {
            if rebase {
                self.boot_done = self.boot_done.min(own.assignment.boot);
            }
            // The control plane gives such an order only after the source has released the guest.
            self.accept(own.assignment.generation);
        }
        self.stuck = false;
        self.order = Some(order);
    }

    /// A new incarnation of the store has begun: earlier orders no longer count. A removal that has begun goes
    /// on, and a disk that was left behind stays so.
    pub(super) fn clear_order(&mut self) {
        self.rebase = true;
        self.stuck = false;
        let goes = self.run_state == RunState::Gone || matches!(self.doing, Some(Step::Remove));
        let stands = match &self.order {
            Some(Order::Remove { .. }) => goes,
            Some(Order::Keep { .. }) => true,
            Some(Order::Own(_) | Order::Receive(_)) | None => false,
        };
        if !stands {
            self.order = None;
        }
    }

    pub(super) fn own(&self) -> Option<&Own> {
        match &self.order {
            Some(Order::Own(own)) => Some(own),
            _ => None,
        }
    }

    /// After a restart of the agent: the earlier step is no longer in progress.
    pub(super) fn wake(&mut self, host_restarted: bool) {
        self.host_restarted = host_restarted;
        self.give_up_removal();
    }

    /// A removal that an earlier incarnation of the store ordered does not begin again. The present one may have told
    /// to keep the disk, in orders that this host could not save.
    fn give_up_removal(&mut self) {
        if let Some(Order::Remove { server_id, generation }) = self.order
            && self.rebase
            && self.run_state != RunState::Gone
        {
            self.order = Some(Order::Keep { server_id, generation });
        }
    }

    /// A process has ended. True if that is new.
    pub(super) fn exited(&mut self, boot: u64, how: Ended) -> bool {
        if self.inbound_exited() {
            return true;
        }
        // Most steps report themselves how the process ended.
        let silent = |step: &Step| {
            let move_ends = matches!(step, Step::Send(..) | Step::Resume | Step::ResumePaused);
            move_ends || matches!(step, Step::Plug(_) | Step::Pause | Step::Unpause | Step::Snapshot(..))
        };
        let says = self.doing.as_ref().is_some_and(|step| !silent(step));
        if !self.runs() || boot != self.process_boot {
            return false;
        }
        if says {
            self.ended = Some(how);
            return false;
        }
        self.run_state = RunState::Stopped { why: stop_reason(how) };
        self.memory_lost = None;
        true
    }

    pub(super) fn done(&mut self, step: &Step, outcome: Outcome) {
        let ended = std::mem::take(&mut self.ended);
        match (step, outcome) {
            (Step::Prepare(_) | Step::Rebuild(..) | Step::Revive(_), outcome) => {
                self.disks_done(step, outcome)
            }
            (Step::Start(_) | Step::Wake(_), outcome) => self.started(step, outcome),
            (Step::Pause | Step::Unpause | Step::Suspend(_) | Step::DropMemory, outcome) => {
                self.stillness_done(step, outcome, ended);
            }
            (Step::Upload(_, upload) | Step::Snapshot(_, upload), outcome) => {
                let failure = match outcome {
                    Outcome::Failed(failure) => Some(failure),
                    Outcome::Done | Outcome::Started(_) => None,
                };
                self.uploaded = Some(Uploaded { upload: upload.clone(), failure });
            }
            (Step::Receive(_), outcome) => self.received(outcome),
            (Step::Send(..), outcome) => self.sent(outcome),
            (Step::Adopt(of, _), Outcome::Started(started)) => {
                (self.adopting, self.process_boot) = (None, of.boot);
                self.nics = nics(of);
                self.run_state = running(started);
            }
            (Step::Adopt(_, mode), Outcome::Done) => {
                self.adopting = None;
                if *mode == Mode::Live {
                    // The guest should go on, but its process is gone.
                    self.run_state = RunState::Stopped { why: StopReason::Died };
                }
            }
            // The step failed, but the guest has ended.
            (Step::Shutdown | Step::Kill, Outcome::Failed(_)) if ended.is_some() && self.runs() => {
                self.run_state = RunState::Stopped { why: StopReason::Ordered };
            }
            (Step::Remove, Outcome::Failed(_)) if self.rebase => self.give_up_removal(),
            // All other steps must succeed at some time.
            (_, Outcome::Failed(_)) => self.stuck = true,
            (Step::Plug(of), _) => self.nics = nics(of),
            (Step::Resume | Step::ResumePaused, _) => self.stays(),
            (Step::HandOver { .. }, _) => self.handed_over(),
            (Step::Kill, _) if self.has_left(false) => {}
            (Step::Kill, _) if self.leftover => self.leftover = false,
            (Step::Shutdown | Step::Kill, _) => {
                self.run_state = RunState::Stopped { why: StopReason::Ordered };
                self.memory_lost = None;
            }
            (Step::Remove, _) => {
                self.disk = Disk::NotMade;
                self.run_state = RunState::Gone;
                (self.inbound, self.outbound, self.adopting) = (None, None, None);
                (self.has_memory, self.leftover) = (false, false);
            }
        }
    }

    /// A start or a wake has ended.
    fn started(&mut self, step: &Step, outcome: Outcome) {
        let (Step::Start(of) | Step::Wake(of)) = step else { return };
        let started = match outcome {
            // The saved memory is still there.
            Outcome::Failed(failure) if matches!(step, Step::Wake(_)) => {
                self.boot_done = self.boot_done.max(of.boot);
                self.failed_attempt = Some((Attempt::Resume { boot: of.boot }, failure));
                return;
            }
            // The driver may have failed before it discarded a saved memory.
            Outcome::Failed(failure) => return self.fail(of.boot, failure),
            Outcome::Started(started) => started,
            Outcome::Done => Started::default(),
        };
        (self.boot_done, self.process_boot) = (of.boot, of.boot);
        self.nics = nics(of);
        (self.has_memory, self.failed_attempt) = (false, None);
        // A start may come after a wake that an agent's end cut off.
        let earlier = self.memory_lost.take().filter(|_| matches!(step, Step::Start(_)));
        self.memory_lost = started.memory_lost.clone().or(earlier);
        self.run_state = running(started);
    }

    pub(super) fn fail(&mut self, boot: u64, failure: Failure) {
        self.boot_done = self.boot_done.max(boot);
        self.run_state = RunState::Failed(failure);
    }

    /// Decides everything that needs no step.
    pub(super) fn sync(&mut self) {
        if self.doing.is_some() {
            return;
        }
        match self.order.clone() {
            Some(Order::Own(own)) => {
                let runs_already = self.runs() && own.boot_style == BootStyle::Resume;
                if runs_already && own.run == RunGoal::Running {
                    self.boot_done = self.boot_done.max(own.assignment.boot);
                }
                self.sync_outbound(&own);
                if !self.runs() && self.adopting.is_none() {
                    self.sync_own(&own);
                }
            }
            Some(Order::Receive(receive)) => self.sync_inbound(&receive),
            Some(Order::Keep { .. } | Order::Remove { .. }) | None => {}
        }
    }

    fn sync_own(&mut self, own: &Own) {
        let of = &own.assignment;
        if self.revives(own) || self.rebuilds(own) {
            return;
        }
        if of.generation > self.generation {
            // The disk here is older than the disk that this host may write: it does not run, and is not the
            // server's disk.
            if !self.ends_release() {
                return;
            }
            self.generation = of.generation;
            self.disk = Disk::NotMade;
            self.run_state = RunState::New;
            self.inbound = None;
            // The driver does not use the memory of an older generation.
            self.has_memory = false;
        }
        if self.disk == Disk::Lost || (self.disk == Disk::NotMade && own.disk_made) {
            self.fail(of.boot, missing(of));
        }
        if own.run == RunGoal::Running || self.disk != Disk::Made {
            return;
        }
        if self.boot_done < of.boot {
            self.boot_done = of.boot;
            if !matches!(self.run_state, RunState::Stopped { .. }) {
                self.run_state = RunState::Stopped { why: StopReason::Ordered };
            }
        }
        if self.run_state == RunState::New {
            self.run_state = RunState::Stopped { why: StopReason::Ordered };
        }
    }

    /// The next step.
    pub(super) fn next(&self) -> Option<Step> {
        if self.doing.is_some() || self.stuck {
            return None;
        }
        let Some(order) = &self.order else { return self.next_unordered() };
        match order {
            Order::Remove { .. } if self.runs() => Some(Step::Kill),
            Order::Remove { .. } => (self.run_state != RunState::Gone).then_some(Step::Remove),
            Order::Keep { .. } => self.leaves_process().then_some(Step::Kill),
            Order::Receive(receive) => self.next_inbound(receive),
            Order::Own(own) if self.revives(own) && !self.leaves_process() => {
                (!self.has_failed(own)).then(|| Step::Revive(own.assignment.clone()))
            }
            Order::Own(own) if self.revives(own) => Some(Step::Kill),
            Order::Own(own) if self.rebuilds(own) => self.next_rebuild(own),
            Order::Own(own) => match (self.adopting, self.next_outbound(own)) {
                (Some(mode), _) => Some(Step::Adopt(own.assignment.clone(), mode)),
                (None, Some(step)) => step,
                (None, None) => self.next_own(own),
            },
        }
    }

    fn next_own(&self, own: &Own) -> Option<Step> {
        let of = &own.assignment;
        if self.leftover {
            return Some(Step::Kill);
        }
        match &self.run_state {
            RunState::Running { .. } if of.generation > self.generation => Some(Step::Kill),
            RunState::Running { paused, .. } => self.next_of_running(own, *paused),
            _ => self.next_of_stopped(own),
        }
    }

    fn next_of_running(&self, own: &Own, paused: bool) -> Option<Step> {
        let of = &own.assignment;
        match own.run {
            RunGoal::Stopped => Some(Step::Shutdown),
            RunGoal::Suspended { .. } => self.failed_attempt().is_none().then(|| Step::Suspend(of.clone())),
            RunGoal::Running if of.boot > self.boot_done => Some(match own.boot_style {
                BootStyle::Soft => Step::Shutdown,
                BootStyle::Hard | BootStyle::Resume => Step::Kill,
            }),
            RunGoal::Running if of.paused && !paused => Some(Step::Pause),
            RunGoal::Running if paused && !of.paused => Some(Step::Unpause),
            RunGoal::Running => self.next_plug(own).or_else(|| self.next_snapshot(own)),
        }
    }

    fn next_of_stopped(&self, own: &Own) -> Option<Step> {
        let of = &own.assignment;
        let due = of.boot > self.boot_done;
        match (self.disk, own.run) {
            (Disk::NotMade, _) if due => Some(Step::Prepare(of.clone())),
            (Disk::NotMade | Disk::Lost, _) => None,
            (Disk::Made, RunGoal::Running) if due => Some(match own.boot_style {
                BootStyle::Resume if self.has_memory => Step::Wake(of.clone()),
                BootStyle::Soft | BootStyle::Hard | BootStyle::Resume => Step::Start(of.clone()),
            }),
            (Disk::Made, RunGoal::Stopped) if self.has_memory => Some(Step::DropMemory),
            (Disk::Made, RunGoal::Stopped) => self.next_upload(own).or_else(|| self.next_snapshot(own)),
            (Disk::Made, RunGoal::Running | RunGoal::Suspended { .. }) => self.next_snapshot(own),
        }
    }

    /// The step that brings a running guest's interfaces to the order.
    pub(super) fn next_plug(&self, own: &Own) -> Option<Step> {
        let differ = self.runs() && self.nics != nics(&own.assignment);
        differ.then(|| Step::Plug(own.assignment.clone()))
    }

    fn next_upload(&self, own: &Own) -> Option<Step> {
        let upload = own.upload.as_ref().filter(|upload| !self.is_sent(upload))?;
        Some(Step::Upload(own.assignment.clone(), upload.clone()))
    }

    fn next_snapshot(&self, own: &Own) -> Option<Step> {
        let upload = own.snapshot.as_ref().filter(|upload| !self.is_sent(upload))?;
        Some(Step::Snapshot(own.assignment.clone(), upload.clone()))
    }

    /// True if an attempt to send the disk has ended.
    fn is_sent(&self, upload: &str) -> bool {
        self.uploaded.as_ref().is_some_and(|uploaded| uploaded.upload == upload)
    }

    /// True if the step under way waits for a result that no order needs any more.
    pub(super) fn is_overtaken(&self) -> bool {
        let Some(order) = &self.order else {
            return self.doing.as_ref().is_some_and(Step::can_be_given_up);
        };
        let absent = matches!(order, Order::Remove { .. });
        let own = self.own();
        let reset = own.is_some_and(|own| {
            own.run == RunGoal::Running
                && own.assignment.boot > self.boot_done
                && own.boot_style == BootStyle::Hard
        });
        match &self.doing {
            Some(Step::Prepare(_) | Step::Rebuild(..) | Step::Receive(_)) => absent,
            // Any other order means that the control plane knows the guest to be at the other host.
            Some(Step::HandOver { .. }) => own.is_none(),
            Some(Step::Shutdown) => absent || reset,
            Some(Step::Upload(_, upload)) => own.is_none_or(|own| own.upload.as_ref() != Some(upload)),
            Some(Step::Snapshot(_, upload)) => own.is_none_or(|own| own.snapshot.as_ref() != Some(upload)),
            Some(Step::Send(_, sent)) => {
                let out = own.and_then(|own| own.outgoing.as_ref());
                out.is_none_or(|out| out.withdraw || out.generation != sent.generation)
            }
            Some(
                Step::Start(_)
                | Step::Wake(_)
                | Step::Suspend(_)
                | Step::Pause
                | Step::Unpause
                | Step::DropMemory
                | Step::ResumePaused
                | Step::Plug(_)
                | Step::Kill
                | Step::Remove
                | Step::Resume
                | Step::Adopt(..)
                | Step::Revive(_),
            )
            | None => false,
        }
    }

    /// True if the guest is removed, as ordered for this generation.
    pub(super) fn is_buried(&self, generation: u64) -> bool {
        let over = |o: &Order| {
            matches!(o, Order::Remove { .. } | Order::Keep { .. }) && o.generation() == generation
        };
        self.order.as_ref().is_some_and(over) && self.run_state == RunState::Gone && self.doing.is_none()
    }

    /// True while a step is carried out.
    pub(super) fn is_doing(&self) -> bool {
        self.doing.is_some()
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.run_state, RunState::Running { .. })
    }

    #[cfg(test)]
    pub(super) fn facts(&self) -> (u64, u64, bool, bool) {
        (self.generation, self.boot_done, self.disk == Disk::Made, self.runs())
    }
}

pub(super) fn running(started: Started) -> RunState {
    let Started { ssh_forward, layout, paused, memory_lost: _ } = started;
    RunState::Running { ssh_forward, layout, paused }
}

fn missing(of: &GuestAssignment) -> Failure {
    Failure::new(
        "A disk of the server is missing on its host. Ask the operator what happened. If the disk cannot be \
         brought back, delete the server.",
        format!(
            "the disks of generation {} were made here once, and not all of {} are in the state directory",
            of.generation,
            of.guest.disks.iter().map(|disk| disk.id.to_string()).collect::<Vec<_>>().join(", ")
        ),
    )
}

/// The reason of a process's end that no order asked for.
pub(super) fn stop_reason(how: Ended) -> StopReason {
    match how {
        Ended::ByGuest => StopReason::ByGuest,
        Ended::Died => StopReason::Died,
    }
}
