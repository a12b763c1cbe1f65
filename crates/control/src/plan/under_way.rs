//! The moves that are under way, counted by host, rack, gateway and zone, against a plan's limits.

use lenticular_model::{HostId, State, host::host::Host, ops::limits::Limits};
use std::collections::{BTreeMap, BTreeSet};

/// Hosts that fail together, or are loaded together: those of a rack, of a gateway or of a zone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Domain {
    Rack(String),
    Gateway(String),
    Zone(String),
}

/// The moves that are under way.
#[derive(Debug, Clone, Default)]
pub struct UnderWay {
    hosts: BTreeMap<HostId, u32>,
    domains: BTreeMap<Domain, u32>,
}

impl UnderWay {
    /// Counts all moves: those of plans, and those that users and operators asked for.
    pub fn of(state: &State) -> Self {
        let mut counts = Self::default();
        for migration in state.moves_under_way() {
            counts.add(state, migration.from, migration.to);
        }
        counts
    }

    /// Counts one more move. A move within a rack or a zone counts once there.
    pub fn add(&mut self, state: &State, from: HostId, to: HostId) {
        let ends: BTreeSet<HostId> = [from, to].into();
        let domains: BTreeSet<Domain> =
            ends.iter().filter_map(|host| state.hosts.get(host)).flat_map(|host| domains(host)).collect();
        ends.into_iter().for_each(|host| *self.hosts.entry(host).or_default() += 1);
        domains.into_iter().for_each(|domain| *self.domains.entry(domain).or_default() += 1);
    }

    /// Why no more move may begin at a host; `None` if one may.
    pub fn refusal(&self, limits: &Limits, host: &Host) -> Option<String> {
        let here = self.hosts.get(&host.id).copied().unwrap_or_default();
        if here >= limits.per_host {
            let (name, most) = (&host.name, limits.per_host);
            return Some(format!("host {name} takes part in {here} moves; at most {most} at a time"));
        }
        let full = |domain: Domain| {
            let (moves, most) = (self.domains.get(&domain).copied().unwrap_or_default(), domain.most(limits));
            (moves >= most)
                .then(|| format!("{} takes part in {moves} moves; at most {most} at a time", domain.name()))
        };
        domains(host).find_map(full)
    }

    /// The hosts at which no more move may begin.
    pub fn busy(&self, state: &State, limits: &Limits) -> BTreeSet<HostId> {
        let is_full = |(domain, moves): (&Domain, &u32)| *moves >= domain.most(limits);
        if self.domains.iter().any(is_full) {
            let busy = state.hosts.values().filter(|host| self.refusal(limits, host).is_some());
            return busy.map(|host| host.id).collect();
        }
        let full = self.hosts.iter().filter(|(_, moves)| **moves >= limits.per_host);
        full.map(|(host, _)| *host).collect()
    }
}

impl Domain {
    fn most(&self, limits: &Limits) -> u32 {
        match self {
            Self::Rack(_) | Self::Gateway(_) => limits.per_rack,
            Self::Zone(_) => limits.per_zone,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Rack(name) => format!("rack {name}"),
            Self::Gateway(name) => format!("gateway {name}"),
            Self::Zone(name) => format!("zone {name}"),
        }
    }
}

fn domains(host: &Host) -> impl Iterator<Item = Domain> {
    let label = |name: &str| host.labels.get(name).cloned();
    let racks = label("rack").map(Domain::Rack).into_iter().chain(label("gateway").map(Domain::Gateway));
    racks.chain([Domain::Zone(host.zone.clone())])
}
