//! The effects of a move's steps on the world: a guest leaves one host and comes to another.

use crate::{
    config::{Fault, Mutation},
    real::{Arriving, Disk, Process},
    world::{World, note},
};
use lenticular_agent::core::Step;
use lenticular_model::{ServerId, compute::migration::Mode};
use lenticular_wire::agent::{GuestAssignment, Outgoing, Receive};
use std::collections::BTreeMap;

impl World {
    /// The step has its effect; false if it failed.
    pub(crate) fn move_acts(&mut self, n: usize, id: ServerId, step: &Step) -> bool {
        match step {
            Step::Receive(receive) => self.await_guest(n, id, receive),
            Step::Send(of, out) => self.send_guest(n, id, of, out),
            Step::Resume => {
                let process = self.hosts[n].guests.get_mut(&id).and_then(|real| real.process.as_mut());
                process.into_iter().for_each(|p| p.paused = false);
                self.look.at(id);
                true
            }
            Step::ResumePaused => {
                let process = self.hosts[n].guests.get_mut(&id).and_then(|real| real.process.as_mut());
                process.into_iter().for_each(|p| (p.paused, p.held) = (false, true));
                true
            }
            Step::HandOver { to, generation } => self.hand_over(n, id, &to.name, *generation),
            Step::Revive(of) => self.revive(n, id, of.generation),
            Step::Adopt(of, mode) => self.adopt(n, id, of, *mode),
            _ => true,
        }
    }

    /// Whether the guest has a process here.
    pub(crate) fn has_process(&self, n: usize, id: ServerId) -> bool {
        self.hosts[n].guests.get(&id).is_some_and(|real| real.process.is_some())
    }

    /// A guest stands still because its memory is leaving.
    pub(crate) fn pause_guest(&mut self, n: usize, id: ServerId) {
        let process = self.hosts[n].guests.get_mut(&id).and_then(|real| real.process.as_mut());
        process.into_iter().for_each(|p| p.paused = true);
    }

    fn await_guest(&mut self, n: usize, id: ServerId, receive: &Receive) -> bool {
        let number = self.number();
        let name = self.name(id);
        let newest = self.clients.written.get(&id).copied();
        let real = self.real(n, id);
        let had = real.content();
        if real.process.is_some() {
            let what = format!("{name} runs on {} and is to come there", self.hosts[n].name);
            self.violate(1, what);
            return false;
        }
        real.disk = None;
        let (generation, boot) = (receive.assignment.generation, receive.assignment.boot);
        let layout = receive.layout.max(1);
        let waits = (receive.mode == Mode::Live).then_some((number, boot));
        let (got_more, layout_told) = (BTreeMap::new(), receive.layout > 0);
        real.arriving = Some(Arriving { generation, got: None, got_more, waits, layout, layout_told });
        // A disk that an operator took away is kept by the operator.
        let away = |real: &crate::real::Real| real.away.as_ref().map(|disk| (disk.made, disk.writes));
        let has =
            |real: &crate::real::Real| newest.is_some() && (real.content() == newest || away(real) == newest);
        let elsewhere = |host: &crate::host::Host| host.guests.get(&id).is_some_and(has);
        if had.is_some() && had == newest && !self.hosts.iter().any(elsewhere) {
            self.violate(3, format!("the newest disk of {name} makes room for an older one"));
        }
        true
    }

    fn send_guest(&mut self, n: usize, id: ServerId, of: &GuestAssignment, out: &Outgoing) -> bool {
        let Some(to) = self.peer(n, &out.to.name) else { return false };
        let name = self.name(id);
        let live = out.mode == Mode::Live;
        let resumes = self.config.mutation == Some(Mutation::ResumesAfterRelease);
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        let Some(disk) = &real.disk else { return false };
        if of.guest.disks.iter().skip(1).any(|needed| !disk.more.contains_key(&needed.id)) {
            return false;
        }
        let (content, more) = ((disk.made, disk.writes), disk.more.clone());
        let mut layout = 0;
        match &mut real.process {
            Some(process) if live && !process.ended => {
                process.paused = !resumes;
                layout = process.layout;
            }
            None if !live => {}
            Some(_) if !live => {
                self.violate(1, format!("the disk of {name} is copied under a running guest"));
                return false;
            }
            _ => return false,
        }
        let arriving = self.hosts[to].guests.get_mut(&id).and_then(|real| real.arriving.as_mut());
        let ready = |a: &&mut Arriving| a.generation == out.generation && a.waits.is_some() == live;
        match arriving.filter(ready) {
            Some(arriving) if live && arriving.layout != layout => {
                // An older agent that took over a newer one's guest did not say the layout: the move fails.
                let (there, told) = (arriving.layout, arriving.layout_told);
                if !self.hosts[n].is_old && told {
                    self.violate(
                        6,
                        format!("{name} of layout {layout} is to move into one of layout {there}"),
                    );
                }
                false
            }
            Some(arriving) => {
                arriving.got = Some(content);
                arriving.got_more = more;
                self.coverage.note("move", if live { "sent live" } else { "sent cold" });
                true
            }
            None => false,
        }
    }

    fn hand_over(&mut self, n: usize, id: ServerId, to: &str, generation: u64) -> bool {
        let Some(to) = self.peer(n, to) else { return false };
        if self.chance(Fault::MessageLost, 100) {
            return false;
        }
        let from = self.hosts[n].name.clone();
        let name = self.name(id);
        let Some(agent) = &mut self.hosts[to].agent else { return false };
        let accepted = agent.core.released(id, generation, &from);
        note!(self, "{from} hands {name} over to {} at g{generation}: {accepted}", self.hosts[to].name);
        self.coverage.note("move", if accepted { "handed over" } else { "not taken" });
        // The state is durable before the answer, and the answer may be lost.
        self.advance(to);
        let kept = self.hosts[to].agent.as_ref().is_some_and(|agent| !agent.unsaved);
        accepted && kept && !self.chance(Fault::MessageLost, 100)
    }

    /// The operator decided to go back to an older disk: from now on, that disk is the newest.
    fn revive(&mut self, n: usize, id: ServerId, generation: u64) -> bool {
        let disk = self.hosts[n].guests.get_mut(&id).and_then(|real| real.disk.as_mut());
        let Some(disk) = disk else { return false };
        disk.generation = generation;
        self.clients.written.insert(id, (disk.made, disk.writes));
        self.clients.written_more.extend(disk.more.clone());
        true
    }

    fn adopt(&mut self, n: usize, id: ServerId, of: &GuestAssignment, mode: Mode) -> bool {
        let (name, generation) = (self.name(id), of.generation);
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        let Some(arriving) = real.arriving.take() else {
            // A step before a crash has done this already.
            return real.disk.as_ref().is_some_and(|disk| disk.generation == generation);
        };
        let Some((made, writes)) = arriving.got.filter(|_| arriving.generation == generation) else {
            self.violate(3, format!("{name} is taken over and its disk never came"));
            return false;
        };
        let more = arriving.got_more;
        real.disk = Some(Disk { generation, made, writes, more: more.clone() });
        if of.guest.disks.iter().skip(1).any(|disk| !more.contains_key(&disk.id)) {
            self.violate(3, format!("{name} is taken over and one of its disks never came"));
        }
        for (disk, content) in more {
            if self.clients.written_more.get(&disk).is_some_and(|newest| *newest != content) {
                self.violate(3, format!("{name} is taken over and disk {disk} is not the newest"));
            }
        }
        self.coverage.note("move", if mode == Mode::Live { "arrived live" } else { "arrived cold" });
        if self.clients.written.get(&id).is_some_and(|newest| *newest != (made, writes)) {
            self.violate(3, format!("{name} is taken over with a disk that is not the newest"));
        }
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return false };
        if let Some((number, boot)) = arriving.waits.filter(|_| mode == Mode::Live) {
            let (layout, held) = (arriving.layout, of.paused);
            real.process =
                Some(Process { number, boot, layout, ended: false, paused: false, held, watched_by: None });
            self.look.at(id);
        }
        true
    }
}
