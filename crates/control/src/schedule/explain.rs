//! Every filter's word on every host, for people: the same filters, asked without stopping at the first that refuses.

use super::{
    class::{self, ClassSeen},
    filter::Filter,
    host::{self, Seen},
    judge,
    plan::Plan,
    weigh::{self, Passed},
    Ask,
};
use lenticular_model::{HostId, State};
use std::collections::BTreeMap;

/// A filter's word on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// The filter.
    pub filter: &'static str,
    /// Why it refuses; `None` if it does not.
    pub refusal: Option<String>,
}

/// All words on a host.
#[derive(Debug, Clone, PartialEq)]
pub struct HostWord {
    /// Which.
    pub id: HostId,
    /// Its name.
    pub name: String,
    /// Its weight among those that pass; `None` if it does not.
    pub weight: Option<f64>,
    /// Every filter's word, in the order in which they are asked.
    pub words: Vec<Word>,
}

/// What every filter says of every host: those that pass first, the best of them first; then the rest by name.
pub fn explain(state: &State, ask: &Ask) -> Vec<HostWord> {
    let plan = Plan::new(state, ask);
    let mut passed = Vec::new();
    let mut all: BTreeMap<HostId, HostWord> = BTreeMap::new();
    plan.each_host(|seen| {
        if judge(&plan, seen).is_none() {
            passed.push(Passed::of(seen));
        }
        let name = state.hosts.get(seen.id).map(|host| host.name.clone()).unwrap_or_default();
        all.insert(*seen.id, HostWord { id: *seen.id, name, weight: None, words: words(&plan, seen) });
    });
    let count = passed.len();
    let mut sorted: Vec<HostWord> = Vec::with_capacity(all.len());
    for (id, weight) in weigh::best(&passed, count) {
        sorted.extend(all.remove(&id).map(|word| HostWord { weight: Some(weight), ..word }));
    }
    let mut rest: Vec<HostWord> = all.into_values().collect();
    rest.sort_by(|a, b| a.name.cmp(&b.name));
    sorted.extend(rest);
    sorted
}

fn words(plan: &Plan<'_>, seen: &Seen<'_>) -> Vec<Word> {
    let mut found: BTreeMap<Filter, Option<String>> = BTreeMap::new();
    for (filter, judge) in host::FILTERS {
        found.insert(*filter, judge(plan, seen).err().map(|why| host::text(plan, *seen.id, why)));
    }
    if let Some(class) = plan.state.rooms().classes.get(seen.room.class) {
        let of_class = ClassSeen::new(plan.state, class);
        for (filter, judge) in class::FILTERS {
            found.insert(*filter, judge(plan, &of_class).err());
        }
    }
    found.into_iter().map(|(filter, refusal)| Word { filter: filter.name(), refusal }).collect()
}
