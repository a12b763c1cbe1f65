//! Hosts as the scheduler sees them: packed, so that all of a large cloud can be looked at for every placement.
//!
//! What many hosts have in common (zone, hypervisor, aggregates) is a class that they share by number: filters over it
//! are asked once for each class, not for each host.

use crate::{
    host::host::{Capacity, Host, Hypervisor},
    index::Taken,
    AggregateId, HostId,
};
use imbl::OrdMap;
use std::sync::Arc;

/// Whether a host can take servers at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Yes,
    /// Its operator does not want it to.
    Disabled,
    /// Nothing is heard of it.
    Silent,
    /// It cannot run guests.
    Trouble,
}

/// What the scheduler must know of one host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The host's number: the order among equals.
    pub number: u64,
    /// What it has in common with others.
    pub class: u32,
    /// Whether it can take servers at all.
    pub availability: Availability,
    /// Whether other hosts can send it guests.
    pub reachable: bool,
    /// What there is for servers.
    pub net: Capacity,
    /// What it gives out of that by its own ratios.
    pub give: Capacity,
    /// What servers take of it: as in the index of usage, and here so that it need not be looked up.
    pub taken: Taken,
}

/// What hosts have in common.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostClass {
    /// The zone.
    pub zone: String,
    /// What runs guests there, without troubles, which are each host's own.
    pub hypervisor: Hypervisor,
    /// The aggregates.
    pub aggregates: Vec<AggregateId>,
}

/// The classes that there are, by number. A number says nothing but which class.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    numbers: OrdMap<Arc<HostClass>, u32>,
    classes: OrdMap<u32, (Arc<HostClass>, u64)>,
}

impl Classes {
    /// The class with this number.
    pub fn get(&self, number: u32) -> Option<&HostClass> {
        self.classes.get(&number).map(|(class, _)| &**class)
    }

    /// All classes with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &HostClass)> {
        self.classes.iter().map(|(number, (class, _))| (*number, &**class))
    }

    /// One more host has this class; gives its number.
    fn enter(&mut self, class: HostClass) -> u32 {
        if let Some(number) = self.numbers.get(&class).copied() {
            if let Some((_, hosts)) = self.classes.get_mut(&number) {
                *hosts += 1;
            }
            return number;
        }
        // The lowest that is free, so that numbers stay small.
        let taken = self.classes.keys().zip(0..).take_while(|(number, n)| **number == *n).count();
        let (number, class) = (taken as u32, Arc::new(class));
        self.numbers.insert(class.clone(), number);
        self.classes.insert(number, (class, 1));
        number
    }

    fn leave(&mut self, number: u32) {
        let Some((class, hosts)) = self.classes.get_mut(&number) else { return };
        *hosts -= 1;
        if *hosts == 0 {
            let class = class.clone();
            self.numbers.remove(&class);
            self.classes.remove(&number);
        }
    }
}

/// All hosts as the scheduler sees them, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub struct HostTable {
    /// Each host.
    pub hosts: OrdMap<HostId, Candidate>,
    /// What they have in common.
    pub classes: Classes,
}

impl HostTable {
    /// Whether some host is in this zone.
    pub fn has_zone(&self, zone: &str) -> bool {
        self.classes.iter().any(|(_, class)| class.zone == zone)
    }

    /// A host is as this record says, in these aggregates, and so much of it is taken.
    pub(crate) fn set(&mut self, host: &Host, aggregates: Vec<AggregateId>, taken: Taken) {
        let mut hypervisor = Hypervisor { trouble: None, ..host.hypervisor.clone() };
        hypervisor.wiring.trouble = None;
        let class = self.classes.enter(HostClass { zone: host.zone.clone(), hypervisor, aggregates });
        let availability = match (host.is_enabled(), host.is_up(), &host.hypervisor.trouble) {
            (false, ..) => Availability::Disabled,
            (_, false, _) => Availability::Silent,
            (.., Some(_)) => Availability::Trouble,
            (true, true, None) => Availability::Yes,
        };
        let candidate = Candidate {
            number: host.number,
            class,
            availability,
            reachable: !host.peer_address.is_empty(),
            net: host.net(),
            give: host.to_give(),
            taken,
        };
        if let Some(old) = self.hosts.insert(host.id, candidate) {
            self.classes.leave(old.class);
        }
    }

    /// A host is no more.
    pub(crate) fn remove(&mut self, host: HostId) {
        if let Some(old) = self.hosts.remove(&host) {
            self.classes.leave(old.class);
        }
    }

    /// So much of a host is taken now.
    pub(crate) fn take(&mut self, host: HostId, taken: Taken) {
        if let Some(candidate) = self.hosts.get_mut(&host) {
            candidate.taken = taken;
        }
    }

    /// A host that is known already is in these aggregates.
    pub(crate) fn regroup(&mut self, host: HostId, aggregates: Vec<AggregateId>) {
        let Some(old) = self.hosts.get(&host).copied() else { return };
        let Some(class) = self.classes.get(old.class).cloned() else { return };
        let class = self.classes.enter(HostClass { aggregates, ..class });
        self.classes.leave(old.class);
        self.hosts.insert(host, Candidate { class, ..old });
    }
}

/// Two are the same if every host is, whatever the numbers of its class are.
impl PartialEq for HostTable {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, x): (&HostId, &Candidate), (b, y): (&HostId, &Candidate)| {
            let classes = self.classes.get(x.class) == other.classes.get(y.class);
            a == b && classes && Candidate { class: 0, ..*x } == Candidate { class: 0, ..*y }
        };
        self.hosts.len() == other.hosts.len()
            && self.classes.numbers.len() == other.classes.numbers.len()
            && self.hosts.iter().zip(other.hosts.iter()).all(|(x, y)| same(x, y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(zone: &str) -> HostClass {
        HostClass { zone: zone.to_owned(), hypervisor: Hypervisor::default(), aggregates: Vec::new() }
    }

    #[test]
    fn a_class_lives_as_long_as_a_host_has_it_and_its_number_is_given_again() {
        let mut classes = Classes::default();
        assert_eq!(
            [classes.enter(class("a")), classes.enter(class("b")), classes.enter(class("a"))],
            [0, 1, 0]
        );
        classes.leave(0);
        assert_eq!(classes.get(0), Some(&class("a")));
        classes.leave(0);
        assert_eq!(classes.get(0), None);
        assert_eq!([classes.enter(class("c")), classes.enter(class("d"))], [0, 2]);
        assert_eq!(classes.iter().count(), 3);
    }
}
