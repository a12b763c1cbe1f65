//! What the agent finds of a guest after its own restart, and what that means for the guest's state.

use super::{
    guest::{Disk, Guest, RunState, running},
    step::{Failure, FoundGuest, FoundMemory, FoundProcess, Step},
};
use lenticular_model::{DiskId, ServerId, compute::migration::Mode, host::observation::StopReason};
use std::collections::BTreeMap;

impl Guest {
    pub(super) fn found(&mut self, id: ServerId, found: FoundGuest) {
        let interrupted = self.doing.take();
        let generation = self.found_generation(id, &found.disks);
        if self.inbound.is_some() {
            self.find_inbound(found.process.is_some());
        } else {
            self.find_disks(generation, interrupted.as_ref());
            let memory = found.memory.filter(|memory| memory.generation == self.generation);
            if !self.find_memory(memory, found.process.is_some(), interrupted.as_ref()) {
                self.find_process(found.process, interrupted.as_ref());
            }
        }
        self.host_restarted = false;
    }

    /// True if the guest is suspended. A process beside an unused memory has not gone on, and must end.
    fn find_memory(
        &mut self,
        memory: Option<FoundMemory>,
        process: bool,
        interrupted: Option<&Step>,
    ) -> bool {
        let Some(memory) = memory else {
            let waking = matches!(interrupted, Some(Step::Wake(_)));
            if waking && !process {
                self.memory_lost = Some(
                    "The guest ended while it went on with its saved memory, and was started anew."
                        .to_owned(),
                );
            }
            (self.has_memory, self.leftover) = (false, false);
            return false;
        };
        (self.has_memory, self.leftover) = (true, process);
        self.boot_done = self.boot_done.max(memory.boot);
        self.run_state = RunState::Stopped { why: StopReason::Ordered };
        true
    }

    fn find_process(&mut self, process: Option<FoundProcess>, interrupted: Option<&Step>) {
        if matches!(interrupted, Some(Step::Send(..))) {
            self.roll_back(Failure::new(
                "The guest stays where it is: its host's agent was restarted during the move. Try again.",
                "the source's agent was restarted",
            ));
        }
        let is_there = process.is_some();
        if self.has_left(is_there) {
            return;
        }
        match process {
            Some(process) if process.ended => {
                self.boot_done = self.boot_done.max(process.boot);
                // The guest may have stopped as asked while the agent was down.
                let asked = matches!(interrupted, Some(Step::Shutdown | Step::Kill));
                let why = if asked { StopReason::Ordered } else { StopReason::ByGuest };
                self.run_state = RunState::Stopped { why };
            }
            // The guest waits to go on; the `Adopt` step reports the result.
            Some(_) if self.adopting.is_some() => {}
            None if self.adopting == Some(Mode::Live) => {
                self.adopting = Some(Mode::Cold);
                let why = if self.host_restarted { StopReason::HostRestarted } else { StopReason::Died };
                self.run_state = RunState::Stopped { why };
            }
            Some(process) => {
                self.boot_done = self.boot_done.max(process.boot);
                self.process_boot = process.boot;
                self.run_state = running(process.started);
            }
            None => self.find_no_process(interrupted),
        }
    }

    /// The generation of the guest's disks; `None` if one of them is missing.
    fn found_generation(&self, id: ServerId, found: &BTreeMap<DiskId, u64>) -> Option<u64> {
        let ordered = self.own().map(|own| own.assignment.guest.disks.as_slice()).unwrap_or_default();
        let mut needed: Vec<DiskId> = ordered.iter().map(|disk| disk.id).collect();
        if needed.is_empty() {
            needed.push(DiskId::root_of(id));
        }
        needed.iter().map(|disk| found.get(disk).copied()).min().flatten()
    }

    fn find_disks(&mut self, found: Option<u64>, interrupted: Option<&Step>) {
        match found {
            Some(generation) if generation >= self.generation => {
                self.generation = generation;
                self.disk = Disk::Made;
            }
            // The arrived disk does not have its final name yet.
            _ if self.adopting.is_some() => {}
            // A disk of an older generation counts as missing.
            Some(_) | None if self.disk == Disk::Made => {
                // A disk is missing after half a removal: that is no loss.
                let removing = matches!(interrupted, Some(Step::Remove));
                self.disk = if removing { Disk::NotMade } else { Disk::Lost };
            }
            Some(_) | None => {}
        }
    }

    pub(super) fn disks_found(&mut self, generation: u64, memory: Option<FoundMemory>) {
        let free = self.doing.is_none() && self.inbound.is_none();
        if free && generation >= self.generation && self.run_state != RunState::Gone {
            self.generation = generation;
            self.disk = Disk::Made;
            let memory = memory.filter(|memory| memory.generation == generation && !self.runs());
            if memory.is_some() {
                self.find_memory(memory, false, None);
            }
        }
    }

    fn find_no_process(&mut self, interrupted: Option<&Step>) {
        let RunState::Running { .. } = self.run_state else {
            if self.run_state == RunState::New && self.order.is_none() {
                self.run_state = RunState::Stopped { why: StopReason::Died };
            }
            return;
        };
        let why = match interrupted {
            _ if self.host_restarted => StopReason::HostRestarted,
            Some(Step::Shutdown | Step::Kill) => StopReason::Ordered,
            _ => StopReason::Died,
        };
        self.run_state = RunState::Stopped { why };
    }
}
