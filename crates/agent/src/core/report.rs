//! What the control plane is told of a guest.

use super::{
    guest::{Disk, Guest, RunState, Uploaded},
    step::Failure,
};
use lenticular_model::{
    ServerId,
    host::observation::{Observation, ObservedState, Unsaved},
};
use lenticular_wire::agent::Order;

impl Guest {
    pub(super) fn observe(&self, server_id: ServerId) -> Observation {
        let generation = match (&self.run_state, &self.order, &self.inbound) {
            (RunState::Gone, Some(order), _) => order.generation(),
            (_, _, Some(inbound)) => inbound.generation,
            // The report is about the new disks.
            (_, Some(order), _) if self.is_rebuilt() => order.generation(),
            (RunState::Failed(_), Some(Order::Own(own)), _) if self.revives(own) => own.assignment.generation,
            _ => self.generation,
        };
        Observation {
            server_id,
            generation,
            boot: self.boot_done,
            observed: self.observed(),
            layout: self.layout(),
            handover: self.handover(),
            unsaved: self.unsaved(),
            failed_attempt: self.failed_attempt(),
            memory_lost: self.memory_lost.clone().filter(|_| self.runs()),
        }
    }

    fn layout(&self) -> u32 {
        match &self.run_state {
            RunState::Running { layout, .. } => *layout,
            _ => 0,
        }
    }

    fn observed(&self) -> ObservedState {
        if self.run_state == RunState::Gone {
            return ObservedState::Absent;
        }
        if let Some(inbound) = &self.inbound {
            return inbound.observed();
        }
        // A guest that an earlier incarnation of the store removed is not the server's any more, even if parts of
        // it are still here.
        let goes = self.rebase && matches!(self.order, Some(Order::Remove { .. }));
        if goes || matches!(self.order, Some(Order::Keep { .. })) {
            return ObservedState::Kept;
        }
        let rebuilt = self.is_rebuilt();
        let disk_made = self.disk == Disk::Made && !rebuilt;
        let upcoming = match (&self.doing, self.next()) {
            (Some(step), _) if step.is_hard() || self.adopting.is_some() => Some(step.name()),
            (None, Some(step)) if step.is_hard() => Some("waiting for its turn"),
            _ if self.adopting.is_some() => Some("taking over"),
            _ => None,
        };
        match (&self.run_state, upcoming) {
            (RunState::Running { .. } | RunState::Stopped { .. }, None) if rebuilt => {
                ObservedState::Preparing { step: "ending the process".to_owned(), disk_made }
            }
            (RunState::Running { ssh_forward, paused, .. }, _) => {
                ObservedState::Running { ssh_forward: ssh_forward.clone(), paused: *paused }
            }
            (RunState::Gone, _) => ObservedState::Absent,
            (_, Some(step)) => ObservedState::Preparing { step: step.to_owned(), disk_made },
            (RunState::New, None) => ObservedState::Preparing { step: "waiting".to_owned(), disk_made },
            (RunState::Stopped { .. }, None) if self.has_memory => ObservedState::Suspended,
            (RunState::Stopped { why }, None) => ObservedState::Stopped { why: *why },
            (RunState::Failed(failure), None) => ObservedState::Failed {
                message: failure.message.clone(),
                details: failure.details.clone(),
                // A lost disk was made.
                disk_made: self.disk != Disk::NotMade && !rebuilt,
            },
        }
    }

    fn unsaved(&self) -> Option<Unsaved> {
        let own = self.own()?;
        let Uploaded { upload, failure } = self.uploaded.as_ref()?;
        if ![&own.upload, &own.snapshot].contains(&&Some(upload.clone())) {
            return None;
        }
        let Failure { message, details } = failure.clone()?;
        Some(Unsaved { upload: upload.clone(), message, details })
    }
}
