//! Messages in transit: late, lost and repeated messages, and cut connections.

use crate::{
    config::Fault,
    event::{Event, From, Reply, Request},
    rng::Rng,
    world::World,
};
use lenticular_model::Timestamp;
use std::collections::BTreeMap;

/// The cut connections between hosts, with the end of each cut.
#[derive(Debug, Default)]
pub(crate) struct Network {
    apart: BTreeMap<(usize, usize), Timestamp>,
}

impl Network {
    /// Two hosts do not reach each other until then.
    pub(crate) fn part(&mut self, a: usize, b: usize, until: Timestamp) {
        self.apart.insert((a.min(b), a.max(b)), until);
    }

    /// True if two hosts do not reach each other now.
    pub(crate) fn are_apart(&self, a: usize, b: usize, now: Timestamp) -> bool {
        self.apart.get(&(a.min(b), a.max(b))).is_some_and(|until| *until > now)
    }

    /// Opens all connections between hosts.
    pub(crate) fn mend(&mut self) {
        self.apart.clear();
    }
}

impl World {
    /// Sends a message from a host to the control plane.
    pub(crate) fn send_to_plane(&mut self, host: usize, request: Request) {
        if self.hosts[host].mute_until > self.now {
            return;
        }
        let mut delays = self.delays();
        // Each registration ends the session before it: were each repeated, no host would ever be heard.
        if self.drill.is_some() && matches!(request, Request::Register(..)) {
            delays.truncate(1);
        }
        for delay_us in delays {
            self.after_us(delay_us, Event::ToPlane(request.clone()));
        }
    }

    /// Sends a message from the control plane to an agent.
    pub(crate) fn send_to_agent(&mut self, to: From, reply: Reply) {
        if self.hosts[to.host].deaf_until > self.now {
            return;
        }
        for delay_us in self.delays() {
            self.after_us(delay_us, Event::ToAgent(to, reply.clone()));
        }
    }

    /// The delay of each copy of a message; empty if the message is lost.
    fn delays(&mut self) -> Vec<i64> {
        let usual = |rng: &mut Rng| rng.range(300, 20_000);
        if self.chance(Fault::MessageLost, 30) {
            return Vec::new();
        }
        let mut delays = vec![usual(&mut self.rng)];
        if let Some(later_us) = self.drill_repeats() {
            delays.push(delays[0] + later_us);
        }
        if self.chance(Fault::MessageRepeated, 40) {
            delays.push(self.rng.range(300, 5_000_000));
        }
        if self.chance(Fault::MessageLate, 30) {
            delays[0] = self.rng.range(1_000_000, 60_000_000);
        }
        delays
    }

    /// The host of this name, if host `n` can reach its agent now.
    pub(crate) fn peer(&self, n: usize, name: &str) -> Option<usize> {
        let found = self.hosts.iter().position(|host| host.name == name)?;
        let open = !self.network.are_apart(n, found, self.now);
        (open && self.reachable(n) && self.reachable(found)).then_some(found)
    }

    fn reachable(&self, n: usize) -> bool {
        self.hosts[n].agent.is_some() && self.hosts[n].silent_until <= self.now
    }
}
