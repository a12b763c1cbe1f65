//! Guests that stand still: paused ones, and suspended ones with their saved memories.

use crate::{
    real::{Memory, Process},
    world::World,
};
use lenticular_agent::core::{Outcome, Started, Step};
use lenticular_model::ServerId;
use lenticular_wire::agent::{GuestAssignment, Order, Own, RunGoal};

impl World {
    /// The step has its effect; false if it failed.
    pub(crate) fn memory_acts(&mut self, n: usize, id: ServerId, step: &Step) -> bool {
        match step {
            Step::Pause | Step::Unpause => {
                let process = self.hosts[n].guests.get_mut(&id).and_then(|real| real.process.as_mut());
                process.into_iter().for_each(|p| p.held = *step == Step::Pause);
                self.look.at(id);
                true
            }
            Step::Suspend(of) => self.save_memory(n, id, of),
            Step::Wake(of) => self.wake_guest(n, id, of),
            Step::DropMemory => {
                self.real(n, id).memory = None;
                true
            }
            _ => true,
        }
    }

    /// The memory is saved, and the process has not ended yet.
    fn save_memory(&mut self, n: usize, id: ServerId, of: &GuestAssignment) -> bool {
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        let (Some(process), Some(disk)) = (&mut real.process, &real.disk) else { return false };
        if process.ended {
            return false;
        }
        process.paused = true;
        let (generation, boot, layout) = (of.generation, process.boot, process.layout);
        let (root, more) = ((disk.made, disk.writes), disk.more.clone());
        real.memory = Some(Memory { generation, boot, layout, root, more });
        true
    }

    /// The memory is used, and its guest goes on.
    fn wake_guest(&mut self, n: usize, id: ServerId, of: &GuestAssignment) -> bool {
        let (name, number) = (self.name(id), self.number());
        let refused = self.rng.chance(100);
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        let mut needed = of.guest.disks.iter().skip(1).map(|disk| disk.id);
        if !real.disk.as_ref().is_some_and(|disk| needed.all(|needed| disk.more.contains_key(&needed))) {
            // The hypervisor does not start without the disks, and the memory stays.
            return false;
        }
        if refused {
            // The hypervisor cannot use it: the guest starts anew.
            real.memory = None;
            return self.start_guest(n, id, of);
        }
        let Some(memory) = real.memory.take() else { return self.start_guest(n, id, of) };
        let second = real.process.is_some();
        let (boot, held, layout) = (of.boot, of.paused, memory.layout);
        real.process =
            Some(Process { number, boot, layout, ended: false, paused: false, held, watched_by: None });
        let here = real.disk.as_ref().map(|disk| ((disk.made, disk.writes), disk.more.clone()));
        self.look.at(id);
        self.coverage.note("memory", "used");
        if second {
            self.violate(1, format!("a second process of {name} goes on with its saved memory"));
        }
        if here != Some((memory.root, memory.more)) {
            self.violate(3, format!("{name} goes on with the memory of other disks than {here:?}"));
        }
        true
    }

    /// The outcome of a step that woke a guest.
    pub(crate) fn woken(&self, n: usize, id: ServerId) -> Outcome {
        let process = self.hosts[n].guests.get(&id).and_then(|real| real.process.as_ref());
        let layout = process.map_or(0, |process| process.layout);
        let paused = process.is_some_and(|process| process.held);
        Outcome::Started(Started { layout, paused, ..Started::default() })
    }

    /// A saved memory may be discarded only if the order that reached its host says so.
    pub(crate) fn check_drop(&mut self, n: usize, id: ServerId) {
        let told = |own: &Own| own.run == RunGoal::Stopped;
        let ordered = self.hosts[n].ordered.get(&id).map(|(_, order)| order);
        if !ordered.is_some_and(|order| matches!(order, Order::Own(own) if told(own))) {
            let what = format!("the memory of {} is discarded and no order says so", self.name(id));
            self.violate(4, what);
        }
    }
}
