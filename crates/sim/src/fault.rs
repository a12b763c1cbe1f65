//! Faults: one at a time, at random times, until faults stop.

use crate::{
    config::Fault,
    event::Event,
    world::{World, note},
};
use lenticular_agent::core::Ended;
use lenticular_model::ServerId;

/// Faults at a random time; the other faults hit messages and steps.
const TIMED: &[Fault] = &[
    Fault::AgentCrash,
    Fault::HostReboot,
    Fault::GuestKilled,
    Fault::GuestShutdown,
    Fault::PlaneCrashBefore,
    Fault::PlaneCrashAfter,
    Fault::PlaneCrashIdle,
    Fault::CommitFails,
    Fault::HostSilent,
    Fault::DiskAway,
    Fault::HostsApart,
    Fault::HostCutOff,
    Fault::ClockJump,
    Fault::SlowDisk,
    Fault::FullDisk,
    Fault::NetworkTrouble,
    Fault::BridgeDown,
    Fault::StoreRestored,
];

impl World {
    /// A fault happens, and another soon after.
    pub(crate) fn fault_happens(&mut self) {
        if !self.faulty {
            return;
        }
        self.keep_older();
        // A large world has as many faults on each host.
        let share = (self.hosts.len() as i64 / 8).max(1);
        let next = self.rng.range(500, 10_000) / share;
        self.after_ms(next, Event::Fault);
        let chosen: Vec<Fault> =
            TIMED.iter().copied().filter(|fault| self.config.faults.contains(fault)).collect();
        let Some(fault) = self.rng.pick(&chosen).copied() else { return };
        let host = self.rng.index(self.hosts.len());
        let struck = match fault {
            Fault::AgentCrash => self.crash_agent(host),
            Fault::HostReboot => self.reboot_host(host),
            Fault::GuestKilled => self.end_guest(host, Ended::Died),
            Fault::GuestShutdown => self.end_guest(host, Ended::ByGuest),
            Fault::PlaneCrashIdle => {
                let up = self.plane.running.is_some();
                self.after_ms(0, Event::PlaneDies);
                up
            }
            Fault::HostSilent => self.silence(host),
            Fault::DiskAway => self.take_disk(host),
            Fault::HostsApart => self.part_hosts(host),
            Fault::HostCutOff => self.cut_off(host),
            Fault::ClockJump => self.set_clock(),
            Fault::SlowDisk => {
                let seconds = self.rng.range(20, 200);
                self.hosts[host].slow_until = self.now.plus_s(seconds);
                true
            }
            Fault::FullDisk => {
                let seconds = self.rng.range(5, 100);
                self.hosts[host].full_until = self.now.plus_s(seconds);
                true
            }
            Fault::NetworkTrouble => self.trouble_network(host),
            Fault::BridgeDown => {
                let down = !self.hosts[host].bridge_down;
                self.set_bridge(host, down);
                true
            }
            Fault::StoreRestored => self.back_up_or_go_back(),
            _ => {
                self.arm(fault);
                true
            }
        };
        if struck {
            self.coverage.note("fault", fault.name());
            note!(self, "fault {} ({})", fault.name(), self.hosts[host].name);
        }
    }

    /// An agent dies and comes back.
    pub(crate) fn crash_agent(&mut self, host: usize) -> bool {
        let was = self.hosts[host].agent.is_some();
        let back = self.rng.range(50, 20_000);
        self.kill_agent(host, back);
        was
    }

    /// A host restarts: all its processes end.
    pub(crate) fn reboot_host(&mut self, n: usize) -> bool {
        let back = self.rng.range(15_000, 100_000);
        let host = &mut self.hosts[n];
        host.boots += 1;
        // In a drill a host stays fit for servers.
        host.is_updated ^= self.drill.is_none();
        for real in host.guests.values_mut() {
            real.process = None;
        }
        note!(self, "{} restarts", self.hosts[n].name);
        self.kill_agent(n, back);
        true
    }

    /// A running guest ends by itself.
    pub(crate) fn end_guest(&mut self, n: usize, how: Ended) -> bool {
        let running =
            self.hosts[n].guests.iter().filter_map(|(id, real)| Some((*id, real.running()?.number)));
        let running: Vec<(ServerId, u64)> = running.collect();
        let Some((server, process)) = self.rng.pick(&running).copied() else { return false };
        self.after_ms(0, Event::GuestEnds { host: n, server, process, how });
        true
    }

    /// No message to or from a host arrives for more than a minute.
    pub(crate) fn silence(&mut self, n: usize) -> bool {
        let seconds = self.rng.range(65, 150);
        let until = self.now.plus_s(seconds);
        let host = &mut self.hosts[n];
        (host.silent_until, host.mute_until, host.deaf_until) = (until, until, until);
        true
    }

    /// Two hosts do not reach each other.
    fn part_hosts(&mut self, n: usize) -> bool {
        let other = self.rng.index(self.hosts.len());
        let seconds = self.rng.range(10, 200);
        self.network.part(n, other, self.now.plus_s(seconds));
        n != other
    }

    /// One direction between a host and the control plane is cut.
    fn cut_off(&mut self, n: usize) -> bool {
        let seconds = self.rng.range(10, 150);
        let (until, mute) = (self.now.plus_s(seconds), self.rng.chance(500));
        let host = &mut self.hosts[n];
        match mute {
            true => host.mute_until = until,
            false => host.deaf_until = until,
        }
        true
    }

    /// An operator sets the control plane's clock.
    fn set_clock(&mut self) -> bool {
        let seconds = self.rng.range(-600, 601);
        self.plane.skew_us = seconds * 1_000_000;
        self.plane.set_at = Some(self.now);
        note!(self, "the control plane's clock is {seconds} s off");
        self.plan_work(self.now.plus_ms(1));
        true
    }

    /// The disk of a stopped guest vanishes; half of such disks come back.
    fn take_disk(&mut self, n: usize) -> bool {
        let idle = self.hosts[n].guests.iter().filter(|(id, real)| {
            let busy = self.hosts[n].agent.as_ref().is_some_and(|a| a.doing.contains_key(id));
            real.process.is_none() && real.disk.as_ref().is_some_and(|d| d.writes > 0) && !busy
        });
        let idle: Vec<ServerId> = idle.map(|(id, _)| *id).collect();
        let Some(id) = self.rng.pick(&idle).copied() else { return false };
        let one = self.rng.chance(500);
        if let Some(real) = self.hosts[n].guests.get_mut(&id) {
            let second = real.disk.as_mut().filter(|_| one).and_then(|disk| disk.more.pop_first());
            match second {
                Some(second) => real.away_more = Some(second),
                None => real.away = real.disk.take(),
            }
        }
        let name = self.name(id);
        note!(self, "{} a disk of {name} is away", self.hosts[n].name);
        if self.rng.chance(500) {
            let delay = self.rng.range(1_000, 60_000);
            self.after_ms(delay, Event::DiskBack { host: n, server: id });
        }
        true
    }

    /// An operator puts a disk back.
    pub(crate) fn put_disk_back(&mut self, n: usize, id: ServerId) {
        let name = self.name(id);
        let Some(real) = self.hosts[n].guests.get_mut(&id) else { return };
        let root = real.away.take_if(|_| real.disk.is_none());
        let was_away = root.is_some();
        real.disk = real.disk.take().or(root);
        if let (Some(disk), Some((second, content))) = (&mut real.disk, real.away_more.take()) {
            disk.more.entry(second).or_insert(content);
        }
        if was_away {
            note!(self, "{} the disk of {name} is back", self.hosts[n].name);
        }
    }
}
