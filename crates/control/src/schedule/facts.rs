//! The facts of a decision: the request, read once, and the facts of each class of hosts and of each host.

use super::{RequestSpec, filter::Filter};
use lenticular_model::{
    HostId, ServerId, State,
    compute::{
        flavor::Size,
        server_group::{Policy, ServerGroup},
    },
    host::{
        candidate::{Candidate, HostClass},
        host::{Capacity, Hypervisor, Ratios},
    },
};
use std::collections::{BTreeMap, BTreeSet};

/// The facts of a host that follow from its servers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// The number of the group's servers that are on the host, move to it, or hold room there for their way back.
    pub(super) members: u32,
    /// True if the host has one of the servers that `same_host` names.
    pub(super) together: bool,
    /// True if the host has one of the servers that `different_host` names.
    pub(super) apart: bool,
}

/// The place of a group with affinity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// On no host yet, or there is no such group.
    Anywhere,
    /// On this host.
    On(HostId),
    /// On several hosts, for example during a move: no host would keep the group together.
    Split,
}

/// The metadata of all aggregates of a host: each key with all its values. A value may be a list.
pub(super) type Metadata<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A class with its aggregates' metadata.
pub(super) struct ClassFacts<'a> {
    pub(super) number: u32,
    pub(super) class: &'a HostClass,
    pub(super) metadata: Metadata<'a>,
}

impl<'a> ClassFacts<'a> {
    pub(super) fn new(state: &'a State, number: u32, class: &'a HostClass) -> Self {
        let mut metadata = Metadata::new();
        let aggregates = class.aggregates.iter().filter_map(|id| state.aggregates.get(id));
        for (key, text) in aggregates.flat_map(|aggregate| &aggregate.metadata) {
            metadata.entry(key).or_default().extend(text.split(',').map(str::trim));
        }
        Self { number, class, metadata }
    }

    /// The lowest of the numbers that the aggregates have under a key.
    pub(super) fn lowest(&self, key: &str) -> Option<f64> {
        let numbers = self.metadata.get(key)?.iter().filter_map(|text| text.parse::<f64>().ok());
        numbers.filter(|n| n.is_finite()).min_by(f64::total_cmp)
    }
}

/// The number of weighers.
pub(super) const WEIGHERS: usize = 5;

/// The decision's judgement of a class.
#[derive(Debug)]
pub(super) struct ClassJudgement {
    /// The first filter that refuses the class, and the reason.
    pub(super) refused: Option<(Filter, String)>,
    /// The overcommitment ratios of the aggregates, if they set any.
    pub(super) ratios: Option<Ratios>,
    /// The multiplier of each weigher.
    pub(super) multipliers: [f64; WEIGHERS],
}

impl ClassJudgement {
    /// The resources that a host of the class gives out, by its own ratios and its aggregates' ratios.
    #[inline]
    pub(super) fn give(&self, candidate: &Candidate) -> Capacity {
        let own = candidate.give;
        let Some(ratios) = self.ratios else { return own };
        let by_aggregates = ratios.of(candidate.net);
        Capacity {
            vcpus: own.vcpus.min(by_aggregates.vcpus),
            memory_mb: own.memory_mb.min(by_aggregates.memory_mb),
            disk_gb: own.disk_gb.min(by_aggregates.disk_gb),
        }
    }
}

/// A host as the decision sees it.
pub(super) struct HostFacts<'a> {
    pub(super) id: &'a HostId,
    pub(super) candidate: &'a Candidate,
    pub(super) presence: Presence,
    pub(super) class: &'a ClassJudgement,
}

/// A parsed request.
pub(super) struct Facts<'a> {
    pub(super) state: &'a State,
    pub(super) ask: &'a RequestSpec,
    /// The requested host, if the request names one; `Some(None)` if that host does not exist.
    pub(super) forced: Option<Option<HostId>>,
    /// The hypervisor of the guest's present host.
    pub(super) source: Option<&'a Hypervisor>,
    /// The flavor's requirements for aggregates: key and value.
    pub(super) aggregate_specs: Vec<(&'a str, &'a str)>,
    /// The flavor's requirements for capabilities: key and value.
    pub(super) capabilities: Vec<(&'a str, &'a str)>,
    /// Traits, each required or forbidden.
    pub(super) traits: Vec<(&'a str, bool)>,
    /// The group.
    pub(super) group: Option<&'a ServerGroup>,
    /// The place of the group, if it has affinity.
    pub(super) home: Home,
    presences: Vec<(HostId, Presence)>,
    needs: Capacity,
    /// The server's needs on its present host: only the part that it does not have yet.
    stays: Option<(HostId, Capacity)>,
    /// By the class's number; empty until the class filters have run.
    pub(super) classes: Vec<Option<ClassJudgement>>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(state: &'a State, ask: &'a RequestSpec) -> Self {
        let group = ask.group.and_then(|id| state.server_groups.get(&id)).map(|group| &**group);
        let size = |size: Option<Size>| size.map(capacity).unwrap_or_default();
        let moves = ask.moves.as_ref();
        let mut facts = Self {
            state,
            ask,
            forced: ask.host.as_ref().map(|name| state.host_named(name).map(|host| host.id)),
            source: moves.and_then(|m| state.hosts.get(&m.from)).map(|host| &host.hypervisor),
            aggregate_specs: Vec::new(),
            capabilities: Vec::new(),
            traits: Vec::new(),
            group,
            home: Home::Anywhere,
            presences: Vec::new(),
            needs: size(ask.size),
            stays: moves.map(|m| (m.from, size(ask.size.map(|size| size.beyond(&m.has))))),
            classes: Vec::new(),
        };
        facts.read_specs();
        facts.read_presences();
        facts
    }

    /// Sorts the flavor's extra specs by scope. Specs in an unknown scope are for other services, and are ignored.
    fn read_specs(&mut self) {
        let ask = self.ask;
        for (key, wants) in ask.extra_specs.iter().map(|(key, value)| (key.as_str(), value.as_str())) {
            match key.split_once(':') {
                Some(("aggregate_instance_extra_specs", key)) => self.aggregate_specs.push((key, wants)),
                Some(("capabilities", key)) => self.capabilities.push((key, wants)),
                Some(("trait", name)) => self.traits.extend(read_trait(name, wants)),
                Some(_) => {}
                // Without a scope the spec is a requirement for aggregates, if any aggregate has the key.
                None if self.state.aggregates.values().any(|a| a.metadata.contains_key(key)) => {
                    self.aggregate_specs.push((key, wants));
                }
                None => {}
            }
        }
        for (key, wants) in ask.image.iter().flat_map(|image| &image.properties) {
            if let Some(name) = key.strip_prefix("trait:") {
                self.traits.extend(read_trait(name, wants));
            }
        }
    }

    fn read_presences(&mut self) {
        let (state, ask) = (self.state, self.ask);
        let mut presences: BTreeMap<HostId, Presence> = BTreeMap::new();
        let members =
            self.group.into_iter().flat_map(|group| state.servers_of_group(group.id)).map(|server| server.id);
        for member in members.filter(|member| Some(*member) != ask.server) {
            for host in hosts_of(state, member) {
                presences.entry(host).or_default().members += 1;
            }
        }
        if self.group.is_some_and(|group| group.policy == Policy::Affinity) {
            let mut hosts = presences.keys();
            self.home = match (hosts.next(), hosts.next()) {
                (None, _) => Home::Anywhere,
                (Some(host), None) => Home::On(*host),
                (Some(_), Some(_)) => Home::Split,
            };
        }
        let here = |server: &ServerId| state.servers.get(server).and_then(|s| s.host_id);
        for host in ask.hints.same_host.iter().filter_map(here) {
            presences.entry(host).or_default().together = true;
        }
        for host in ask.hints.different_host.iter().flat_map(|server| hosts_of(state, *server)) {
            presences.entry(host).or_default().apart = true;
        }
        self.presences = presences.into_iter().collect();
    }

    /// The judgement of a class.
    #[inline]
    pub(super) fn class(&self, number: u32) -> Option<&ClassJudgement> {
        self.classes.get(number as usize)?.as_ref()
    }

    /// The server's needs on a host.
    #[inline]
    pub(super) fn needs(&self, host: &HostId) -> Capacity {
        match self.stays {
            Some((here, more)) if here == *host => more,
            _ => self.needs,
        }
    }

    /// The facts of one host.
    pub(super) fn seen<'s>(&'s self, id: &'s HostId) -> Option<HostFacts<'s>> {
        let candidate = self.state.host_table().hosts.get(id)?;
        let place =
            self.presences.binary_search_by_key(id, |(host, _)| *host).ok().map(|n| self.presences[n].1);
        Some(HostFacts {
            id,
            candidate,
            presence: place.unwrap_or_default(),
            class: self.class(candidate.class)?,
        })
    }

    /// Shows every host, in the order of ids. Presences have the same order, so both are walked side by side.
    #[inline]
    pub(super) fn each_host<'s>(&'s self, mut look: impl FnMut(&HostFacts<'s>)) {
        let mut presences = self.presences.iter();
        let mut next = presences.next();
        for (id, candidate) in &self.state.host_table().hosts {
            let Some(class) = self.class(candidate.class) else { continue };
            let mut place = Presence::default();
            while let Some((host, known)) = next.filter(|(host, _)| host <= id) {
                if host == id {
                    place = *known;
                }
                next = presences.next();
            }
            look(&HostFacts { id, candidate, presence: place, class });
        }
    }
}

fn read_trait<'s>(name: &'s str, wants: &str) -> Option<(&'s str, bool)> {
    match wants {
        "required" => Some((name, true)),
        "forbidden" => Some((name, false)),
        _ => None,
    }
}

pub(super) fn capacity(size: Size) -> Capacity {
    Capacity { vcpus: u64::from(size.vcpus), memory_mb: u64::from(size.ram_mb), disk_gb: size.all_disk_gb() }
}

/// The hosts of a server's claims, each once.
fn hosts_of(state: &State, server: ServerId) -> impl Iterator<Item = HostId> + '_ {
    let claims =
        move || state.servers.get(&server).into_iter().flat_map(|s| s.claims()).map(|(host, _)| host);
    // A server has three claims at most.
    claims().enumerate().filter(move |(n, host)| !claims().take(*n).any(|h| h == *host)).map(|(_, host)| host)
}
