//! A guest between two hosts: only this module decides which host may run it.
//!
//! ```text
//! source                                              target
//!   Own, outgoing                                       Receive
//!      │ (cold: Shutdown)                                  │ Receive: room, base, and for a live move a waiting process
//!      ▼                                                   ▼
//!   Undecided ── Send: disk and memory, until ──────────▶ Ready ────── its process ended ──▶ Unready
//!      │   │     the target has all of it and waits        │                                   │
//!      │   │ done                                          │ the source's release, or the      │
//!      │   ▼                                               │ control plane's order to own it   │
//!      │  Released ═══ HandOver ═════════════════════════▶ ▼ ◀═════════════════════════════════╛
//!      │   (saved before it is told;                    accepted (saved before it is answered)
//!      │    the guest never runs here again)               │ Adopt
//!      │ failed, withdrawn, agent restarted                ▼
//!      ▼                                                runs (live), or waits for a higher boot (cold)
//!   Rollback ── Resume ──▶ Kept: it runs on here, and this ticket never releases it
//! ```
//!
//! Rules:
//! - Both `Released` and `Kept` are final for their ticket, and durable before any other host learns of them.
//! - A target runs nothing before it has accepted, and it accepts only a guest that it was once `Ready` for.
//! - A target with an ended process still accepts: its disk was complete when the source released.

use super::{
    guest::{Disk, Guest, RunState},
    step::{Failure, Outcome, Step},
};
use lenticular_model::{
    compute::migration::Mode,
    host::observation::{Handover, ObservedState, SourceDecision, StopReason},
};
use lenticular_wire::agent::{Outgoing, Own, Peer, Receive};
use serde::{Deserialize, Serialize};

/// A guest on its way to another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outbound {
    /// The generation in its ticket.
    pub(super) generation: u64,
    pub(super) to: Peer,
    pub(super) is: Sending,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Sending {
    Undecided,
    /// It stays, and the agent must first see it go on.
    Rollback(Failure),
    Kept(Failure),
    Released {
        /// The target has accepted it.
        told: bool,
        /// Its process here has ended.
        ended: bool,
    },
}

/// A guest on its way here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Inbound {
    pub(super) generation: u64,
    #[serde(rename = "manner")]
    mode: Mode,
    /// The boot that it runs under, or last ran under.
    boot: u64,
    is: Receiving,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Receiving {
    Preparing,
    Ready,
    Unready(Failure),
}

impl Inbound {
    pub(super) fn observed(&self) -> ObservedState {
        match &self.is {
            Receiving::Preparing => ObservedState::Receiving { step: "making ready to receive".to_owned() },
            Receiving::Ready => ObservedState::Ready,
            Receiving::Unready(why) => {
                ObservedState::Unready { message: why.message.clone(), details: why.details.clone() }
            }
        }
    }
}

/// The source's part.
impl Guest {
    pub(super) fn sync_outbound(&mut self, own: &Own) {
        let Some(out) = &own.outgoing else {
            // The ticket is closed. A released guest stays released, and a rollback is completed first.
            let over = |is: &Sending| matches!(is, Sending::Undecided | Sending::Kept(_));
            if self.outbound.as_ref().is_some_and(|outbound| over(&outbound.is)) {
                self.outbound = None;
            }
            return;
        };
        let known = self.outbound.as_ref().filter(|known| known.generation == out.generation);
        let is = match known.map(|known| &known.is) {
            Some(Sending::Undecided) | None => self.first_verdict(out),
            Some(_) => return,
        };
        let busy = self.outbound.as_ref().is_some_and(|old| {
            old.generation != out.generation
                && matches!(old.is, Sending::Rollback(_) | Sending::Released { .. })
        });
        if !busy {
            self.outbound = Some(Outbound { generation: out.generation, to: out.to.clone(), is });
        }
    }

    /// The verdict that is clear before any step.
    fn first_verdict(&self, out: &Outgoing) -> Sending {
        let keep = |message: &str, details: &str| Sending::Kept(Failure::new(message, details));
        if out.withdraw {
            return keep("The move was given up.", "the control plane withdrew it");
        }
        if self.disk != Disk::Made {
            return keep("The server's disk is missing on its host, so it cannot move.", "no disk to send");
        }
        if self.has_memory {
            return keep("A suspended server does not move. Resume it first.", "its memory is saved here");
        }
        if out.mode == Mode::Live && !self.runs() {
            return keep(
                "The guest does not run, so it cannot be moved live. Migrate it cold.",
                "no process",
            );
        }
        Sending::Undecided
    }

    /// The move's current step; `None` if the guest is not on its way.
    pub(super) fn next_outbound(&self, own: &Own) -> Option<Option<Step>> {
        let outbound = self.outbound.as_ref()?;
        match &outbound.is {
            Sending::Kept(_) => None,
            Sending::Undecided => {
                let out = own.outgoing.as_ref().filter(|out| out.generation == outbound.generation)?;
                if let (Mode::Live, Some(step)) = (out.mode, self.next_plug(own)) {
                    // The process that waits at the target has the interfaces of the order.
                    return Some(Some(step));
                }
                Some(Some(match self.runs() && out.mode == Mode::Cold {
                    true => Step::Shutdown,
                    false => Step::Send(own.assignment.clone(), out.clone().into()),
                }))
            }
            Sending::Rollback(_) => Some(Some(self.resume())),
            Sending::Released { told: false, .. } => {
                Some(Some(Step::HandOver { to: outbound.to.clone(), generation: outbound.generation }))
            }
            Sending::Released { ended: false, .. } => Some(Some(Step::Kill)),
            Sending::Released { .. } => Some(None),
        }
    }

    /// True if the guest is being sent and must move now.
    pub(super) fn is_forced(&self) -> bool {
        let sending = matches!(self.doing, Some(Step::Send(..)));
        sending && self.own().and_then(|own| own.outgoing.as_ref()).is_some_and(|out| out.force)
    }

    fn resume(&self) -> Step {
        match &self.run_state {
            RunState::Running { paused: true, .. } => Step::ResumePaused,
            _ => Step::Resume,
        }
    }

    /// The rest of a move for a guest without orders: go on here, or tell the target of the release.
    pub(super) fn next_unordered(&self) -> Option<Step> {
        let outbound = self.outbound.as_ref()?;
        match &outbound.is {
            Sending::Undecided | Sending::Kept(_) => None,
            Sending::Rollback(_) => Some(self.resume()),
            Sending::Released { told: false, .. } => {
                Some(Step::HandOver { to: outbound.to.clone(), generation: outbound.generation })
            }
            Sending::Released { ended, .. } => (!ended).then_some(Step::Kill),
        }
    }

    pub(super) fn sent(&mut self, outcome: Outcome) {
        let ordered = self.order.is_some();
        let Some(outbound) = &mut self.outbound else { return };
        match outcome {
            Outcome::Failed(failure) => outbound.is = Sending::Rollback(failure),
            // The new incarnation of the store was told that this host has the guest, so the host keeps it.
            _ if !ordered => {
                let why = "The guest stays where it is: the store was restored during the move. Try again.";
                outbound.is =
                    Sending::Rollback(Failure::new(why, "its order is of another life of the store"));
            }
            Outcome::Done | Outcome::Started(_) => {
                outbound.is = Sending::Released { told: false, ended: false };
                self.run_state = RunState::Stopped { why: StopReason::MovedAway };
            }
        }
    }

    /// After a restart, the progress of a `Send` is unknown. In any case this host has released nothing.
    pub(super) fn roll_back(&mut self, why: Failure) {
        if let Some(outbound) = self.outbound.as_mut().filter(|o| o.is == Sending::Undecided) {
            outbound.is = Sending::Rollback(why);
        }
    }

    pub(super) fn stays(&mut self) {
        if let Some(outbound) = &mut self.outbound
            && let Sending::Rollback(why) = &outbound.is
        {
            outbound.is = Sending::Kept(why.clone());
        }
    }

    pub(super) fn handed_over(&mut self) {
        if let Some(Outbound { is: Sending::Released { told, .. }, .. }) = &mut self.outbound {
            *told = true;
        }
    }

    /// The guest comes back here under a newer grant, so its release is over. False while the process of the guest that
    /// left is still here.
    pub(super) fn ends_release(&mut self) -> bool {
        if let Some(Outbound { is: Sending::Released { told, ended }, .. }) = &mut self.outbound {
            // The host that it was handed to has no part in it any more.
            *told = true;
            if !*ended {
                return false;
            }
        }
        self.outbound = None;
        true
    }

    /// True if the guest was released and may never run here again; `process` says whether a process is left
    /// over.
    pub(super) fn has_left(&mut self, process: bool) -> bool {
        let Some(Outbound { is: Sending::Released { ended, .. }, .. }) = &mut self.outbound else {
            return false;
        };
        *ended = !process;
        self.run_state = RunState::Stopped { why: StopReason::MovedAway };
        true
    }

    /// True if there is a process, but this host must keep only the guest's disk.
    pub(super) fn leaves_process(&self) -> bool {
        let left =
            matches!(&self.outbound, Some(Outbound { is: Sending::Released { ended: false, .. }, .. }));
        self.runs() || left
    }

    pub(super) fn handover(&self) -> Option<Handover> {
        let outbound = self.outbound.as_ref()?;
        let decision = match &outbound.is {
            Sending::Undecided | Sending::Rollback(_) => return None,
            Sending::Released { .. } => SourceDecision::Released,
            Sending::Kept(why) => {
                SourceDecision::Kept { message: why.message.clone(), details: why.details.clone() }
            }
        };
        Some(Handover { generation: outbound.generation, decision })
    }
}

/// The target's part.
impl Guest {
    pub(super) fn sync_inbound(&mut self, receive: &Receive) {
        let generation = receive.assignment.generation;
        if self.generation >= generation || self.inbound.as_ref().is_some_and(|i| i.generation == generation)
        {
            return;
        }
        // The older disk here makes room.
        self.disk = Disk::NotMade;
        if self.run_state == RunState::Gone {
            self.run_state = RunState::New;
        }
        let (mode, boot) = (receive.mode, receive.assignment.boot);
        self.inbound = Some(Inbound { generation, mode, boot, is: Receiving::Preparing });
    }

    pub(super) fn next_inbound(&self, receive: &Receive) -> Option<Step> {
        if let Some(mode) = self.adopting {
            return Some(Step::Adopt(receive.assignment.clone(), mode));
        }
        let inbound = self.inbound.as_ref()?;
        let fits = inbound.generation == receive.assignment.generation;
        match inbound.is {
            // The guest left this host before, and its leftovers go first.
            Receiving::Preparing if fits && self.leaves_process() => Some(Step::Kill),
            Receiving::Preparing if fits => Some(Step::Receive(receive.clone().into())),
            _ => None,
        }
    }

    pub(super) fn received(&mut self, outcome: Outcome) {
        self.outbound = None;
        let Some(inbound) = &mut self.inbound else { return };
        inbound.is = match outcome {
            Outcome::Failed(failure) => Receiving::Unready(failure),
            Outcome::Done | Outcome::Started(_) => Receiving::Ready,
        };
    }

    /// After a restart of the agent.
    pub(super) fn find_inbound(&mut self, process: bool) {
        if !process {
            self.inbound_exited();
        }
    }

    /// True if a process waits for the guest.
    pub(super) fn awaits(&self) -> bool {
        let ready = |i: &Inbound| i.mode == Mode::Live && i.is == Receiving::Ready;
        self.inbound.as_ref().is_some_and(ready) || self.adopting == Some(Mode::Live)
    }

    /// True if the ended process is the one that waited for a guest.
    pub(super) fn inbound_exited(&mut self) -> bool {
        let Some(inbound) = &mut self.inbound else { return false };
        if inbound.mode == Mode::Cold || inbound.is != Receiving::Ready {
            return false;
        }
        inbound.is = Receiving::Unready(Failure::new(
            "The target host lost the process that waited for the guest. Try again.",
            "the waiting process ended",
        ));
        true
    }

    /// The guest is this host's from now on: its source or the control plane says so. True if it is this host's
    /// now or was so before; false if this host was never ready for it.
    pub(super) fn accept(&mut self, generation: u64) -> bool {
        if self.generation >= generation {
            return self.run_state != RunState::Gone;
        }
        let fits = |i: &&Inbound| i.generation == generation && i.is != Receiving::Preparing;
        let Some(inbound) = self.inbound.as_ref().filter(fits) else { return false };
        self.generation = generation;
        self.disk = Disk::Made;
        self.boot_done = inbound.boot;
        self.run_state = RunState::Stopped { why: StopReason::Ordered };
        self.adopting = Some(inbound.mode);
        (self.inbound, self.outbound) = (None, None);
        true
    }
}
