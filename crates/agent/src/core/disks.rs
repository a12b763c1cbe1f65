//! A guest's disks here: made, replaced in a rebuild, or returned to.

use super::{
    guest::{Disk, Guest, RunState},
    step::{Outcome, Step},
};
use lenticular_model::host::observation::StopReason;
use lenticular_wire::agent::Own;

impl Guest {
    /// A step that makes disks, or goes back to older ones, has ended.
    pub(super) fn disks_done(&mut self, step: &Step, outcome: Outcome) {
        match (step, outcome) {
            (Step::Prepare(of) | Step::Rebuild(of, _) | Step::Revive(of), Outcome::Failed(failure)) => {
                self.fail(of.boot, failure);
            }
            (Step::Prepare(of), _) => {
                self.disk = Disk::Made;
                self.generation = of.generation;
            }
            (Step::Rebuild(of, _), _) => {
                self.generation = of.generation;
                self.run_state = RunState::New;
                self.has_memory = false;
                // Whatever ran before ran on the old disk. After a restore of the store, the order may be of an older boot.
                self.boot_done = 0;
            }
            (Step::Revive(of), _) => {
                self.generation = of.generation;
                self.boot_done = of.boot;
                self.run_state = RunState::Stopped { why: StopReason::Ordered };
                self.outbound = None;
            }
            _ => {}
        }
    }

    /// True if the disk here is the older disk that the order returns to.
    pub(super) fn revives(&self, own: &Own) -> bool {
        let older = own.revives == Some(self.generation) && own.assignment.generation > self.generation;
        older && self.disk == Disk::Made && self.inbound.is_none() && !self.runs()
    }

    /// True if the order's disks shall replace the disks here.
    pub(super) fn rebuilds(&self, own: &Own) -> bool {
        let older = own.replaces.is_some_and(|replaces| replaces.generation == self.generation);
        let newer = own.assignment.generation > self.generation;
        older && newer && self.disk == Disk::Made && self.inbound.is_none()
    }

    /// True if the guest's order is to replace the disks here.
    pub(super) fn is_rebuilt(&self) -> bool {
        self.own().is_some_and(|own| self.rebuilds(own))
    }

    /// True if the order's boot was tried and failed.
    pub(super) fn has_failed(&self, own: &Own) -> bool {
        matches!(self.run_state, RunState::Failed(_)) && self.boot_done >= own.assignment.boot
    }

    pub(super) fn next_rebuild(&self, own: &Own) -> Option<Step> {
        let of = &own.assignment;
        match self.leaves_process() || self.leftover {
            true => Some(Step::Kill),
            false if self.has_failed(own) => None,
            false => {
                let keeps_data = own.replaces.is_some_and(|replaces| replaces.keeps_data);
                Some(Step::Rebuild(of.clone(), keeps_data))
            }
        }
    }
}
