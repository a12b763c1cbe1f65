//! What a decision knows: the request, read once, and what holds for each class of hosts and for each host.

use super::{filter::Filter, RequestSpec};
use lenticular_model::{
    compute::{
        flavor::Size,
        server_group::{Policy, ServerGroup},
    },
    host::{
        candidate::{Candidate, HostClass},
        host::{Capacity, Hypervisor, Ratios},
    },
    HostId, ServerId, State,
};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a host from the servers on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Presence {
    /// How many of the group are there, on their way there, or hold room for their way back there.
    pub(super) members: u32,
    /// One of the servers that `same_host` names is there.
    pub(super) together: bool,
    /// One of the servers that `different_host` names is there.
    pub(super) apart: bool,
}

/// Where a group with affinity is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Home {
    /// Nowhere yet, or there is no such group.
    Anywhere,
    /// On this host.
    On(HostId),
    /// On several, as when one of its servers is on its way: no host would keep it together.
    Split,
}

/// The metadata of all aggregates of a host: each key with every value that one of them has. A value may be a list.
pub(super) type Metadata<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A class with what its aggregates say.
pub(super) struct ClassFacts<'a> {
    pub(super) class: &'a HostClass,
    pub(super) metadata: Metadata<'a>,
}

impl<'a> ClassFacts<'a> {
    pub(super) fn new(state: &'a State, class: &'a HostClass) -> Self {
        let mut metadata = Metadata::new();
        let aggregates = class.aggregates.iter().filter_map(|id| state.aggregates.get(id));
        for (key, text) in aggregates.flat_map(|aggregate| &aggregate.metadata) {
            metadata.entry(key).or_default().extend(text.split(',').map(str::trim));
        }
        Self { class, metadata }
    }

    /// The lowest of the numbers that the aggregates have under a key.
    pub(super) fn lowest(&self, key: &str) -> Option<f64> {
        let numbers = self.metadata.get(key)?.iter().filter_map(|text| text.parse::<f64>().ok());
        numbers.filter(|n| n.is_finite()).min_by(f64::total_cmp)
    }
}

/// How many weighers there are.
pub(super) const WEIGHERS: usize = 5;

/// What a decision knows of a class.
#[derive(Debug)]
pub(super) struct ClassJudgement {
    /// The first filter that refuses it, and why.
    pub(super) refused: Option<(Filter, String)>,
    /// How often aggregates let its hosts' resources be given out, if they say so.
    pub(super) ratios: Option<Ratios>,
    /// What each weigher counts.
    pub(super) multipliers: [f64; WEIGHERS],
}

impl ClassJudgement {
    /// What a host of the class gives out, by its own ratios and its aggregates'.
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

/// A host as a decision sees it.
pub(super) struct HostFacts<'a> {
    pub(super) id: &'a HostId,
    pub(super) candidate: &'a Candidate,
    pub(super) presence: Presence,
    pub(super) class: &'a ClassJudgement,
}

/// A request, read.
pub(super) struct Facts<'a> {
    pub(super) state: &'a State,
    pub(super) ask: &'a RequestSpec,
    /// The one host that was asked for, if one was; `Some(None)` if there is no such host.
    pub(super) forced: Option<Option<HostId>>,
    /// The hypervisor that the guest comes from.
    pub(super) source: Option<&'a Hypervisor>,
    /// What the flavor wants of aggregates: key and value.
    pub(super) aggregate_specs: Vec<(&'a str, &'a str)>,
    /// What the flavor wants of capabilities: key and value.
    pub(super) capabilities: Vec<(&'a str, &'a str)>,
    /// Traits, each required or forbidden.
    pub(super) traits: Vec<(&'a str, bool)>,
    /// The group.
    pub(super) group: Option<&'a ServerGroup>,
    /// Where that is, if it wants to be together.
    pub(super) home: Home,
    presences: Vec<(HostId, Presence)>,
    needs: Capacity,
    /// What it needs where it is: only what it has not yet.
    stays: Option<(HostId, Capacity)>,
    /// By the class's number; empty until the filters over classes were asked.
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

    /// Sorts the flavor's extra specs by what they are about. What is in no scope that the scheduler knows means
    /// something to others, or nothing.
    fn read_specs(&mut self) {
        let ask = self.ask;
        for (key, wants) in ask.extra_specs.iter().map(|(key, value)| (key.as_str(), value.as_str())) {
            match key.split_once(':') {
                Some(("aggregate_instance_extra_specs", key)) => self.aggregate_specs.push((key, wants)),
                Some(("capabilities", key)) => self.capabilities.push((key, wants)),
                Some(("trait", name)) => self.traits.extend(read_trait(name, wants)),
                Some(_) => {}
                // Without a scope it means an aggregate's property, if any aggregate has such a one.
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

    /// What the decision says of a class.
    #[inline]
    pub(super) fn class(&self, number: u32) -> Option<&ClassJudgement> {
        self.classes.get(number as usize)?.as_ref()
    }

    /// What the server needs of a host.
    #[inline]
    pub(super) fn needs(&self, host: &HostId) -> Capacity {
        match self.stays {
            Some((here, more)) if here == *host => more,
            _ => self.needs,
        }
    }

    /// One host.
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

    /// Shows every host, in the order of ids: that of presences too, so that both are walked side by side.
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

/// The hosts that a server takes something of, each once.
fn hosts_of(state: &State, server: ServerId) -> impl Iterator<Item = HostId> + '_ {
    let claims =
        move || state.servers.get(&server).into_iter().flat_map(|s| s.claims()).map(|(host, _)| host);
    // It has three claims at most.
    claims().enumerate().filter(move |(n, host)| !claims().take(*n).any(|h| h == *host)).map(|(_, host)| host)
}
