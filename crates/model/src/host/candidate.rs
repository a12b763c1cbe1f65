//! Hosts as the scheduler sees them: packed, so that each placement can look at all hosts of a large cloud.
//!
//! Hosts that are alike in all that filters ask for share a class by its number ([`HostClass`]): zone, hypervisor,
//! aggregates, and what their readiness rests on. Filters over these properties run once for each class, not for each
//! host.

use crate::{
    AggregateId, HostId, HostRuleId,
    host::{
        evidence::TUNNELS,
        host::{Capacity, Host, Hypervisor},
        rule::{Effect, HostRule, Scope, Subject},
        version::{CONFIGURATION, NOT_INSTALLED, PackageFormat},
    },
    index::Taken,
};
use imbl::OrdMap;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Whether a host can take servers at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Availability {
    /// It can.
    Yes,
    /// The operator has disabled the host.
    Disabled,
    /// The host sends no heartbeats.
    Silent,
    /// It cannot run guests.
    Trouble,
}

/// The facts of one host that the scheduler needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The host's number. It orders hosts of equal weight.
    pub number: u64,
    /// The number of the host's class.
    pub class: u32,
    /// Whether it can take servers at all.
    pub availability: Availability,
    /// Whether other hosts can send it guests.
    pub reachable: bool,
    /// The version of the agent protocol that its agent speaks.
    pub protocol: u32,
    /// The resources for servers.
    pub net: Capacity,
    /// The resources that it gives out by its own ratios.
    pub give: Capacity,
    /// The resources that servers take of it: a copy from the index of usage, which saves a lookup.
    pub taken: Taken,
}

/// The properties that hosts of one class share.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostClass {
    /// The zone.
    pub zone: String,
    /// The hypervisor.
    pub hypervisor: Hypervisor,
    /// The aggregates.
    pub aggregates: Vec<AggregateId>,
    /// The versions that a rule can be about.
    pub versions: BTreeMap<String, String>,
    /// The package format.
    pub package_format: PackageFormat,
    /// The checks, each with whether it passed.
    pub checks: BTreeMap<String, bool>,
    /// The name of a host that no other host answers; such a host has a class for itself.
    pub cut_off: Option<String>,
    /// Whether they have proved themselves.
    pub admitted: bool,
    /// The versions with which they last proved themselves; empty while they are admitted.
    pub proven: BTreeMap<String, String>,
    /// The lines of readiness that operators overrule.
    pub overruled: BTreeSet<String>,
}

impl HostClass {
    /// True if the class is in a rule's scope.
    pub fn is_in(&self, scope: &Scope) -> bool {
        match scope {
            Scope::All => true,
            Scope::Zone(zone) => self.zone == *zone,
            Scope::Aggregate(id) => self.aggregates.contains(id),
        }
    }

    /// How the hosts break a rule, up to the rule's name; `None` if they keep it. What a host does not report is unknown,
    /// and unknown never passes.
    pub fn breach(&self, rule: &HostRule) -> Option<String> {
        if !self.is_in(&rule.scope) {
            return None;
        }
        match &rule.subject {
            Subject::Version(name) => match self.versions.get(name) {
                None => Some(format!("the host does not say its version of {name}, which is asked for by")),
                Some(version) if version == NOT_INSTALLED => (rule.effect == Effect::Require)
                    .then(|| format!("{name} is not installed, and is required by")),
                Some(version) => {
                    let inside = rule.range.contains(self.package_format, version);
                    match (rule.effect, inside) {
                        (Effect::Deny, true) => Some(format!("{name} {version} is denied by")),
                        (Effect::Require, false) => {
                            Some(format!("{name} {version} is not '{}', which is required by", rule.range))
                        }
                        _ => None,
                    }
                }
            },
            Subject::Check(name) => match self.checks.get(name) {
                None => Some(format!("the host does not make the check {name}, which is required by")),
                Some(false) => Some(format!("the check {name} did not pass, which is required by")),
                Some(true) => None,
            },
        }
    }

    /// True if the hosts do not report what a rule is about.
    pub fn lacks(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Version(name) => !self.versions.contains_key(name),
            Subject::Check(name) => !self.checks.contains_key(name),
        }
    }

    /// True if the hosts report that they did not pass the check.
    pub fn fails(&self, check: &str) -> bool {
        self.checks.get(check) == Some(&false)
    }

    /// The class of a host in these aggregates.
    pub fn of(host: &Host, aggregates: Vec<AggregateId>) -> Self {
        let passed = host.evidence.iter().map(|(check, found)| (check.clone(), found.has_passed()));
        Self {
            zone: host.zone.clone(),
            hypervisor: host.hypervisor.clone(),
            aggregates,
            versions: without_configuration(&host.versions),
            package_format: host.package_format,
            checks: passed.collect(),
            cut_off: host.trouble(TUNNELS).map(|_| host.name.clone()),
            admitted: host.is_admitted(),
            proven: match &host.admission {
                Some(last) if !host.is_admitted() => without_configuration(&last.versions),
                _ => BTreeMap::new(),
            },
            overruled: host.overrides.keys().cloned().collect(),
        }
    }
}

/// The versions without the digest of the agent's configuration, which would make a class of each host.
fn without_configuration(versions: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let mut versions = versions.clone();
    versions.remove(CONFIGURATION);
    versions
}

/// The existing classes by number. The numbers have no meaning besides identity.
#[derive(Debug, Clone, Default)]
pub struct Classes {
    numbers: OrdMap<Arc<HostClass>, u32>,
    classes: OrdMap<u32, Known>,
    /// The rules that the classes are judged by.
    rules: OrdMap<HostRuleId, Arc<HostRule>>,
}

/// A class that hosts have.
#[derive(Debug, Clone)]
struct Known {
    class: Arc<HostClass>,
    hosts: u64,
    /// Whether its hosts break a rule. All placements ask, and rules seldom change.
    breaks_rules: bool,
}

impl Classes {
    /// The class with this number.
    pub fn get(&self, number: u32) -> Option<&HostClass> {
        self.classes.get(&number).map(|known| &*known.class)
    }

    /// All classes with their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &HostClass)> {
        self.classes.iter().map(|(number, known)| (*number, &*known.class))
    }

    /// All classes, each with the number of its hosts.
    pub fn counted(&self) -> impl Iterator<Item = (&HostClass, u64)> {
        self.classes.values().map(|known| (&*known.class, known.hosts))
    }

    /// True if the hosts of the class break a rule.
    pub fn breaks_rules(&self, number: u32) -> bool {
        self.classes.get(&number).is_some_and(|known| known.breaks_rules)
    }

    fn judge(&self, class: &HostClass) -> bool {
        self.rules.values().any(|rule| class.breach(rule).is_some())
    }

    /// Judges all classes by other rules.
    fn set_rule(&mut self, id: HostRuleId, rule: Option<Arc<HostRule>>) {
        match rule {
            Some(rule) => self.rules.insert(id, rule),
            None => self.rules.remove(&id),
        };
        let judged: Vec<(u32, bool)> =
            self.iter().map(|(number, class)| (number, self.judge(class))).collect();
        for (number, breaks_rules) in judged {
            if let Some(known) = self.classes.get_mut(&number) {
                known.breaks_rules = breaks_rules;
            }
        }
    }

    /// Adds one host to this class; returns the class's number.
    fn enter(&mut self, class: HostClass) -> u32 {
        if let Some(number) = self.numbers.get(&class).copied() {
            if let Some(known) = self.classes.get_mut(&number) {
                known.hosts += 1;
            }
            return number;
        }
        // The lowest free number, so that numbers stay small.
        let taken = self.classes.keys().zip(0..).take_while(|(number, n)| **number == *n).count();
        let breaks_rules = self.judge(&class);
        let (number, class) = (taken as u32, Arc::new(class));
        self.numbers.insert(class.clone(), number);
        self.classes.insert(number, Known { class, hosts: 1, breaks_rules });
        number
    }

    fn leave(&mut self, number: u32) {
        let Some(known) = self.classes.get_mut(&number) else { return };
        known.hosts -= 1;
        if known.hosts == 0 {
            let class = known.class.clone();
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
    /// The classes of the hosts.
    pub classes: Classes,
}

impl HostTable {
    /// Whether some host is in this zone.
    pub fn has_zone(&self, zone: &str) -> bool {
        self.classes.iter().any(|(_, class)| class.zone == zone)
    }

    /// Sets a host's record, aggregates and taken resources.
    pub(crate) fn set(&mut self, host: &Host, aggregates: Vec<AggregateId>, taken: Taken) {
        let class = self.classes.enter(HostClass::of(host, aggregates));
        let availability = match (host.is_enabled(), host.is_up(), host.hypervisor_trouble()) {
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
            protocol: host.protocol,
            net: host.net(),
            give: host.to_give(),
            taken,
        };
        if let Some(old) = self.hosts.insert(host.id, candidate) {
            self.classes.leave(old.class);
        }
    }

    /// Removes a host.
    pub(crate) fn remove(&mut self, host: HostId) {
        if let Some(old) = self.hosts.remove(&host) {
            self.classes.leave(old.class);
        }
    }

    /// Sets or removes a rule.
    pub(crate) fn set_rule(&mut self, id: HostRuleId, rule: Option<Arc<HostRule>>) {
        self.classes.set_rule(id, rule);
    }

    /// Sets the resources taken of a host.
    pub(crate) fn take(&mut self, host: HostId, taken: Taken) {
        if let Some(candidate) = self.hosts.get_mut(&host) {
            candidate.taken = taken;
        }
    }

    /// Sets the aggregates of a known host.
    pub(crate) fn regroup(&mut self, host: HostId, aggregates: Vec<AggregateId>) {
        let Some(old) = self.hosts.get(&host).copied() else { return };
        let Some(class) = self.classes.get(old.class).cloned() else { return };
        let class = self.classes.enter(HostClass { aggregates, ..class });
        self.classes.leave(old.class);
        self.hosts.insert(host, Candidate { class, ..old });
    }
}

/// Two tables are equal if every host is equal. The classes' numbers do not matter.
impl PartialEq for HostTable {
    fn eq(&self, other: &Self) -> bool {
        let same = |(a, x): (&HostId, &Candidate), (b, y): (&HostId, &Candidate)| {
            let judged = self.classes.breaks_rules(x.class) == other.classes.breaks_rules(y.class);
            let classes = judged && self.classes.get(x.class) == other.classes.get(y.class);
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
        HostClass {
            zone: zone.to_owned(),
            hypervisor: Hypervisor::default(),
            aggregates: Vec::new(),
            versions: BTreeMap::new(),
            package_format: PackageFormat::default(),
            checks: BTreeMap::new(),
            cut_off: None,
            admitted: true,
            proven: BTreeMap::new(),
            overruled: BTreeSet::new(),
        }
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
