//! One guest: its last order, what is there of it, and the step that brings the two nearer.

use lenticular_model::{
    observation::{Observation, Sight, StopReason},
    server::{BootStyle, Wanted},
    ServerId,
};
use lenticular_wire::agent::Order;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something to be done to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Have the base in the cache and make the disk.
    Prepare(Arc<Order>),
    /// Start the guest on its disk.
    Start(Arc<Order>),
    /// Ask the guest to shut down; end its process if it does not within the deadline, or when cut short.
    Shutdown,
    /// End the guest's process.
    Kill,
    /// Remove all there is of the guest.
    Remove,
}

impl Step {
    /// True if it takes much of the host: only so many are under way at once.
    pub fn is_hard(&self) -> bool {
        matches!(self, Self::Prepare(_) | Self::Start(_))
    }

    /// What it does, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "preparing the disk",
            Self::Start(_) => "starting",
            Self::Shutdown => "shutting down",
            Self::Kill => "ending the process",
            Self::Remove => "removing",
        }
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({details})")]
pub struct Failure {
    /// What happened and what to do, for the server's owner.
    pub message: String,
    /// More, for the operator.
    pub details: String,
}

impl Failure {
    /// A failure in words for both.
    pub fn new(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { message: message.into(), details: details.into() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The guest runs.
    Started {
        /// `address:port` that leads to its ssh, where there is one.
        ssh_forward: Option<String>,
    },
    /// It could not be done. A failed start leaves no process, a failed preparation no disk.
    Failed(Failure),
}

/// How a guest's process ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// The guest shut itself down.
    ByGuest,
    /// The process vanished.
    Died,
}

/// What is there of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// The generation of its disk; `None` if there is no complete one.
    pub disk: Option<u64>,
    /// Its process; `None` if there is none.
    pub process: Option<FoundProcess>,
}

/// A guest's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProcess {
    /// The boot that it was started for.
    pub boot: u64,
    /// Leads to its ssh.
    pub ssh_forward: Option<String>,
    /// True if the guest has shut itself down meanwhile.
    pub ended: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Disk {
    NotMade,
    Made,
    /// It was made and is not there any more: never made afresh.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Life {
    /// Never run here.
    New,
    Running {
        ssh_forward: Option<String>,
    },
    Stopped {
        why: StopReason,
    },
    Failed(Failure),
    /// Removed as ordered.
    Gone,
}

/// One guest.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Guest {
    /// `None` for one that was found without anybody having ordered it.
    order: Option<Arc<Order>>,
    generation: u64,
    disk: Disk,
    boot_done: u64,
    life: Life,
    pub(super) doing: Option<Step>,
    /// True until the first order of a new life of the store: boots are counted anew there.
    pub(super) rebase: bool,
    /// True if a stop or a removal failed.
    #[serde(skip)]
    pub(super) stuck: bool,
    #[serde(skip)]
    pub(super) acknowledged: Option<Observation>,
    #[serde(skip)]
    host_restarted: bool,
}

impl Guest {
    pub(super) fn new(generation: u64) -> Self {
        Self {
            order: None,
            generation,
            disk: Disk::NotMade,
            boot_done: 0,
            life: Life::New,
            doing: None,
            rebase: false,
            stuck: false,
            acknowledged: None,
            host_restarted: false,
        }
    }

    pub(super) fn has_disk(&self) -> bool {
        self.disk == Disk::Made
    }

    /// Takes an order, unless it is about a generation that this host knows to be over.
    pub(super) fn order(&mut self, order: Arc<Order>) {
        if order.generation < self.generation {
            return;
        }
        let unheard_of = self.order.is_none() && self.life == Life::New && self.disk == Disk::NotMade;
        if order.wanted == Wanted::Absent && unheard_of && self.doing.is_none() {
            self.life = Life::Gone;
        }
        if std::mem::take(&mut self.rebase) {
            self.boot_done = self.boot_done.min(order.boot);
        }
        self.order = Some(order);
    }

    /// After a restart of the agent: the step that was under way then is under way no more.
    pub(super) fn wake(&mut self, host_restarted: bool) {
        self.host_restarted = host_restarted;
    }

    pub(super) fn found(&mut self, found: Found) {
        let interrupted = self.doing.take();
        self.find_disk(found.disk, interrupted.as_ref());
        match found.process {
            Some(process) if process.ended => {
                self.boot_done = self.boot_done.max(process.boot);
                self.life = Life::Stopped { why: StopReason::ByGuest };
            }
            Some(process) => {
                self.boot_done = self.boot_done.max(process.boot);
                self.life = Life::Running { ssh_forward: process.ssh_forward };
            }
            None => self.find_no_process(interrupted.as_ref()),
        }
        self.host_restarted = false;
    }

    fn find_disk(&mut self, disk: Option<u64>, interrupted: Option<&Step>) {
        match disk {
            Some(generation) if generation >= self.generation => {
                self.generation = generation;
                self.disk = Disk::Made;
            }
            // One of an older generation is as good as none.
            Some(_) | None if self.disk == Disk::Made => {
                // Half a removal is no loss.
                let removing = matches!(interrupted, Some(Step::Remove));
                self.disk = if removing { Disk::NotMade } else { Disk::Lost };
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn disk_found(&mut self, generation: u64) {
        if self.doing.is_none() && generation >= self.generation && self.life != Life::Gone {
            self.generation = generation;
            self.disk = Disk::Made;
        }
    }

    fn find_no_process(&mut self, interrupted: Option<&Step>) {
        let Life::Running { .. } = self.life else {
            if self.life == Life::New && self.order.is_none() {
                self.life = Life::Stopped { why: StopReason::Died };
            }
            return;
        };
        let why = match interrupted {
            _ if self.host_restarted => StopReason::HostRestarted,
            Some(Step::Shutdown | Step::Kill) => StopReason::Ordered,
            _ => StopReason::Died,
        };
        self.life = Life::Stopped { why };
    }

    /// True if that was news.
    pub(super) fn exited(&mut self, boot: u64, how: Ended) -> bool {
        // A step under way says itself how it ended.
        if !self.runs() || self.doing.is_some() || boot != self.boot_done {
            return false;
        }
        let why = match how {
            Ended::ByGuest => StopReason::ByGuest,
            Ended::Died => StopReason::Died,
        };
        self.life = Life::Stopped { why };
        true
    }

    pub(super) fn done(&mut self, step: &Step, outcome: Outcome) {
        match (step, outcome) {
            (Step::Prepare(order), Outcome::Failed(failure)) => self.fail(order.boot, failure),
            (Step::Prepare(order), _) => {
                self.disk = Disk::Made;
                self.generation = order.generation;
            }
            (Step::Start(order), Outcome::Failed(failure)) => self.fail(order.boot, failure),
            (Step::Start(order), outcome) => {
                let ssh_forward = match outcome {
                    Outcome::Started { ssh_forward } => ssh_forward,
                    Outcome::Done | Outcome::Failed(_) => None,
                };
                self.boot_done = order.boot;
                self.life = Life::Running { ssh_forward };
            }
            (Step::Shutdown | Step::Kill | Step::Remove, Outcome::Failed(_)) => self.stuck = true,
            (Step::Shutdown | Step::Kill, _) => self.life = Life::Stopped { why: StopReason::Ordered },
            (Step::Remove, _) => {
                self.disk = Disk::NotMade;
                self.life = Life::Gone;
            }
        }
    }

    fn fail(&mut self, boot: u64, failure: Failure) {
        self.boot_done = self.boot_done.max(boot);
        self.life = Life::Failed(failure);
    }

    /// Decides what needs no step.
    pub(super) fn settle(&mut self) {
        let Some(order) = self.order.clone() else { return };
        if self.doing.is_some() || self.runs() || order.wanted == Wanted::Absent {
            return;
        }
        if order.generation > self.generation {
            // What is here is older than what this host may write; it neither runs nor counts as the server's disk.
            self.generation = order.generation;
            self.disk = Disk::NotMade;
            self.life = Life::New;
        }
        if self.disk == Disk::Lost || (self.disk == Disk::NotMade && order.disk_made) {
            self.fail(order.boot, missing(&order));
        }
        if order.wanted == Wanted::Stopped && self.disk == Disk::Made && self.boot_done < order.boot {
            self.boot_done = order.boot;
            if !matches!(self.life, Life::Stopped { .. }) {
                self.life = Life::Stopped { why: StopReason::Ordered };
            }
        }
        if order.wanted == Wanted::Stopped && self.disk == Disk::Made && self.life == Life::New {
            self.life = Life::Stopped { why: StopReason::Ordered };
        }
    }

    /// The step that is due.
    pub(super) fn next(&self) -> Option<Step> {
        let order = self.order.as_ref()?;
        if self.doing.is_some() || self.stuck {
            return None;
        }
        let due = order.boot > self.boot_done;
        match (order.wanted, self.runs()) {
            (Wanted::Absent, true) => Some(Step::Kill),
            (Wanted::Absent, false) => (self.life != Life::Gone).then_some(Step::Remove),
            (_, true) if order.generation > self.generation => Some(Step::Kill),
            (Wanted::Stopped, true) => Some(Step::Shutdown),
            (Wanted::Running, true) => due.then_some(match order.boot_style {
                BootStyle::Soft => Step::Shutdown,
                BootStyle::Hard => Step::Kill,
            }),
            (Wanted::Running | Wanted::Stopped, false) => match self.disk {
                Disk::NotMade if due => Some(Step::Prepare(order.clone())),
                Disk::Made if due && order.wanted == Wanted::Running => Some(Step::Start(order.clone())),
                Disk::NotMade | Disk::Made | Disk::Lost => None,
            },
        }
    }

    /// True if the step under way waits for what nobody wants any more.
    pub(super) fn is_overtaken(&self) -> bool {
        let Some(order) = &self.order else { return false };
        let absent = order.wanted == Wanted::Absent;
        let reset = order.wanted == Wanted::Running
            && order.boot > self.boot_done
            && order.boot_style == BootStyle::Hard;
        match &self.doing {
            Some(Step::Prepare(_)) => absent,
            Some(Step::Shutdown) => absent || reset,
            Some(Step::Start(_) | Step::Kill | Step::Remove) | None => false,
        }
    }

    /// True if it is gone, as was ordered for this generation.
    pub(super) fn is_buried(&self, generation: u64) -> bool {
        let ordered =
            self.order.as_ref().is_some_and(|o| o.wanted == Wanted::Absent && o.generation == generation);
        ordered && self.life == Life::Gone && self.doing.is_none()
    }

    fn runs(&self) -> bool {
        matches!(self.life, Life::Running { .. })
    }

    pub(super) fn observe(&self, server_id: ServerId) -> Observation {
        let disk_made = self.disk == Disk::Made;
        let upcoming = match (&self.doing, self.next()) {
            (Some(step), _) if step.is_hard() => Some(step.name()),
            (None, Some(step)) if step.is_hard() => Some("waiting for its turn"),
            _ => None,
        };
        let sight = match (&self.life, upcoming) {
            (Life::Running { ssh_forward }, _) => Sight::Running { ssh_forward: ssh_forward.clone() },
            (Life::Gone, _) => Sight::Absent,
            (_, Some(step)) => Sight::Preparing { step: step.to_owned(), disk_made },
            (Life::New, None) => Sight::Preparing { step: "waiting".to_owned(), disk_made },
            (Life::Stopped { why }, None) => Sight::Stopped { why: *why },
            (Life::Failed(failure), None) => Sight::Failed {
                message: failure.message.clone(),
                details: failure.details.clone(),
                disk_made,
            },
        };
        let generation = match (&self.life, &self.order) {
            (Life::Gone, Some(order)) => order.generation,
            _ => self.generation,
        };
        Observation { server_id, generation, boot: self.boot_done, sight }
    }

    #[cfg(test)]
    pub(super) fn facts(&self) -> (u64, u64, bool, bool) {
        (self.generation, self.boot_done, self.disk == Disk::Made, self.runs())
    }
}

fn missing(order: &Order) -> Failure {
    Failure::new(
        "The server's disk is missing on this host. Its operator can say what happened to it; if nothing brings the \
         disk back, delete the server.",
        format!("the disk of generation {} was made here once and is not in the state directory", order.generation),
    )
}
