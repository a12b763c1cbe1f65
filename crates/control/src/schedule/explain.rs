//! Every filter's answer about every host, for people: the same filters, without stopping at the first refusal.

use super::{
    RequestSpec, class,
    facts::{ClassFacts, Facts, HostFacts, capacity},
    filter::Filter,
    host, read,
    weigh::{self, Passed, Weigher},
};
use lenticular_model::{HostId, State, index::Taken};
use std::collections::BTreeMap;

/// A filter's answer about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The filter.
    pub filter: &'static str,
    /// The reason of the refusal; `None` if the host passes.
    pub refusal: Option<String>,
}

/// All answers about a host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostWord {
    /// The host.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its weight among the hosts that pass; `None` if it does not pass.
    pub weight: Option<f64>,
    /// Each weigher's part of the weight.
    pub weighers: Vec<Weigher>,
    /// Every filter's answer, in the order of the filters.
    pub words: Vec<Word>,
}

/// Every filter's answer about every host: first the hosts that pass, the best first; then the others by name.
///
/// A server that has a host is weighed as if it had none, like at its placement. So these weights can be compared
/// with the recorded verdict's weights.
pub fn explain(state: &State, ask: &RequestSpec) -> Vec<HostWord> {
    let facts = read(state, ask);
    let own = own(state, ask);
    let mut passed = Vec::new();
    let mut all: BTreeMap<HostId, HostWord> = BTreeMap::new();
    facts.each_host(|seen| {
        if host::judge(&facts, seen).is_none() {
            let host = Passed::of(seen);
            passed.push(
                own.iter().filter(|(id, _)| id == seen.id).fold(host, |host, (_, part)| host.without(part)),
            );
        }
        let name = state.hosts.get(seen.id).map(|host| host.name.clone()).unwrap_or_default();
        all.insert(
            *seen.id,
            HostWord { id: *seen.id, name, weight: None, weighers: Vec::new(), words: words(&facts, seen) },
        );
    });
    let count = passed.len();
    let mut weighers = weigh::weighers(&passed);
    let mut sorted: Vec<HostWord> = Vec::with_capacity(all.len());
    for (id, weight) in weigh::best(&passed, count) {
        let weighers = weighers.remove(&id).unwrap_or_default();
        sorted.extend(all.remove(&id).map(|word| HostWord { weight: Some(weight), weighers, ..word }));
    }
    let mut rest: Vec<HostWord> = all.into_values().collect();
    rest.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.extend(rest);
    sorted
}

/// The resources that the server already takes, by host.
fn own(state: &State, ask: &RequestSpec) -> Vec<(HostId, Taken)> {
    let Some(server) = ask.server.and_then(|id| state.servers.get(&id)) else { return Vec::new() };
    let busy = u64::from(server.is_busy());
    let taken = |(host, size)| (host, Taken { capacity: capacity(size), servers: 1, busy });
    server.claims().map(taken).collect()
}

fn words(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Vec<Word> {
    let mut found: BTreeMap<Filter, Option<String>> = BTreeMap::new();
    for (filter, judge) in host::FILTERS {
        found.insert(*filter, judge(facts, seen).err().map(|why| host::text(facts, *seen.id, why)));
    }
    if let Some(class) = facts.state.host_table().classes.get(seen.candidate.class) {
        let of_class = ClassFacts::new(facts.state, seen.candidate.class, class);
        for (filter, judge) in class::FILTERS {
            found.insert(*filter, judge(facts, &of_class).err());
        }
    }
    found.into_iter().map(|(filter, refusal)| Word { filter: filter.name(), refusal }).collect()
}
