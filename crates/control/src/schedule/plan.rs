//! A request to the scheduler, read once: what is looked up for it holds for every host.

use super::{
    class::{self, ClassWord},
    host::Seen,
    Ask,
};
use lenticular_model::{
    compute::{
        flavor::Size,
        server_group::{Policy, ServerGroup},
    },
    host::host::{Capacity, Hypervisor},
    HostId, ServerId, State,
};
use std::collections::BTreeMap;

/// What is known of a host from the servers on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
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

/// A request, read.
pub(super) struct Plan<'a> {
    pub(super) state: &'a State,
    pub(super) ask: &'a Ask,
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
    places: Vec<(HostId, Place)>,
    needs: Capacity,
    /// What it needs where it is: only what it has not yet.
    stays: Option<(HostId, Capacity)>,
    /// By the class's number.
    classes: Vec<Option<ClassWord>>,
}

impl<'a> Plan<'a> {
    pub(super) fn new(state: &'a State, ask: &'a Ask) -> Self {
        let group = ask.group.and_then(|id| state.server_groups.get(&id)).map(|group| &**group);
        let size = |size: Option<Size>| size.map(capacity).unwrap_or_default();
        let moves = ask.moves.as_ref();
        let mut plan = Self {
            state,
            ask,
            forced: ask.host.as_ref().map(|name| state.host_named(name).map(|host| host.id)),
            source: moves.and_then(|m| state.hosts.get(&m.from)).map(|host| &host.hypervisor),
            aggregate_specs: Vec::new(),
            capabilities: Vec::new(),
            traits: Vec::new(),
            group,
            home: Home::Anywhere,
            places: Vec::new(),
            needs: size(ask.size),
            stays: moves.map(|m| (m.from, size(ask.size.map(|size| size.beyond(&m.has))))),
            classes: Vec::new(),
        };
        plan.read_specs();
        plan.read_places();
        plan.read_classes();
        plan
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

    fn read_places(&mut self) {
        let (state, ask) = (self.state, self.ask);
        let mut places: BTreeMap<HostId, Place> = BTreeMap::new();
        let members =
            self.group.into_iter().flat_map(|group| state.servers_of_group(group.id)).map(|server| server.id);
        for member in members.filter(|member| Some(*member) != ask.server) {
            for host in hosts_of(state, member) {
                places.entry(host).or_default().members += 1;
            }
        }
        if self.group.is_some_and(|group| group.policy == Policy::Affinity) {
            let mut hosts = places.keys();
            self.home = match (hosts.next(), hosts.next()) {
                (None, _) => Home::Anywhere,
                (Some(host), None) => Home::On(*host),
                (Some(_), Some(_)) => Home::Split,
            };
        }
        let here = |server: &ServerId| state.servers.get(server).and_then(|s| s.host_id);
        for host in ask.hints.same_host.iter().filter_map(here) {
            places.entry(host).or_default().together = true;
        }
        for host in ask.hints.different_host.iter().flat_map(|server| hosts_of(state, *server)) {
            places.entry(host).or_default().apart = true;
        }
        self.places = places.into_iter().collect();
    }

    fn read_classes(&mut self) {
        let classes = &self.state.rooms().classes;
        let mut words = Vec::new();
        for (number, class) in classes.iter() {
            let number = number as usize;
            if words.len() <= number {
                words.resize_with(number + 1, || None);
            }
            words[number] = Some(class::word(self, class));
        }
        self.classes = words;
    }

    /// What the decision says of a class.
    #[inline]
    pub(super) fn class(&self, number: u32) -> Option<&ClassWord> {
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
    pub(super) fn seen<'s>(&'s self, id: &'s HostId) -> Option<Seen<'s>> {
        let room = self.state.rooms().hosts.get(id)?;
        let place = self.places.binary_search_by_key(id, |(host, _)| *host).ok().map(|n| self.places[n].1);
        Some(Seen { id, room, place: place.unwrap_or_default(), class: self.class(room.class)? })
    }

    /// Shows every host, in the order of ids: that of places too, so that both are walked side by side.
    #[inline]
    pub(super) fn each_host<'s>(&'s self, mut look: impl FnMut(&Seen<'s>)) {
        let mut places = self.places.iter();
        let mut next = places.next();
        for (id, room) in &self.state.rooms().hosts {
            let Some(class) = self.class(room.class) else { continue };
            let mut place = Place::default();
            while let Some((host, known)) = next.filter(|(host, _)| host <= id) {
                if host == id {
                    place = *known;
                }
                next = places.next();
            }
            look(&Seen { id, room, place, class });
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
