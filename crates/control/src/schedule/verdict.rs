//! What the scheduler says of a decision: the hosts that passed, and how many each filter refused, with a few by name.

use super::{
    facts::Facts,
    filter::{plain, Filter},
    host,
};
use lenticular_model::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hosts that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: String,
    /// Why, for the operator.
    pub reason: String,
    /// Which hosts; of many only a few.
    pub hosts: Vec<String>,
}

/// Why a server went where it did, or nowhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The host that was chosen.
    pub chosen: Option<String>,
    /// Hosts that passed, best first, with their weight; at most [`ACCEPTED_MAX`].
    pub accepted: Vec<(String, f64)>,
    /// How many passed.
    pub accepted_count: usize,
    /// Hosts that did not, by reason: at most [`SAMPLES_MAX`] for each filter.
    pub refused: Vec<Refusal>,
    /// How many each filter refused; in verdicts of older binaries empty, and all of them are named.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
}

/// How many of the hosts that passed are kept in a verdict.
pub const ACCEPTED_MAX: usize = 20;

/// How many of the hosts that a filter refused are kept in a verdict that found no host.
pub const SAMPLES_MAX: usize = 20;

/// The same for a verdict that found one, if many were refused.
const SAMPLES_FOUND_MAX: usize = 1;

/// The refusals of a decision: all counted, a few noted.
#[derive(Default)]
pub(super) struct Refused {
    counts: [usize; Filter::ALL.len()],
    samples: Vec<(Filter, HostId)>,
}

impl Refused {
    pub(super) fn note(&mut self, filter: Filter, host: HostId) {
        let count = &mut self.counts[filter as usize];
        *count += 1;
        if *count <= SAMPLES_MAX {
            self.samples.push((filter, host));
        }
    }
}

/// Puts a decision in words.
pub(super) fn verdict(
    facts: &Facts<'_>,
    best: &[(HostId, f64)],
    accepted_count: usize,
    refused: &Refused,
) -> Verdict {
    let name =
        |id: &HostId| facts.state.hosts.get(id).map_or_else(|| id.to_string(), |host| host.name.clone());
    let accepted: Vec<(String, f64)> = best.iter().map(|(id, weight)| (name(id), *weight)).collect();
    let all: usize = refused.counts.iter().sum();
    let most = if best.is_empty() || all <= SAMPLES_MAX { SAMPLES_MAX } else { SAMPLES_FOUND_MAX };
    let mut kept = [0; Filter::ALL.len()];
    let mut reasons: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
    for (filter, id) in &refused.samples {
        kept[*filter as usize] += 1;
        if kept[*filter as usize] <= most {
            reasons.entry((filter.name(), host::reason(facts, *id, *filter))).or_default().push(name(id));
        }
    }
    let refusals = reasons.into_iter().map(|((filter, reason), mut hosts)| {
        hosts.sort_unstable();
        Refusal { filter: filter.to_owned(), reason, hosts }
    });
    let counted = Filter::ALL.iter().zip(refused.counts).filter(|(_, n)| *n > 0);
    Verdict {
        chosen: accepted.first().map(|(name, _)| name.clone()),
        accepted,
        accepted_count,
        refused: refusals.collect(),
        counts: counted.map(|(filter, n)| (filter.name().to_owned(), n)).collect(),
    }
}

impl Verdict {
    /// How many hosts each filter refused.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts: BTreeMap<&str, usize> = self.counts.iter().map(|(f, n)| (f.as_str(), *n)).collect();
        if counts.is_empty() {
            for refusal in &self.refused {
                *counts.entry(&refusal.filter).or_default() += refusal.hosts.len();
            }
        }
        counts
    }

    /// What a tenant may read of it: counts for each reason, no host's name.
    pub fn summary(&self) -> String {
        let counts = self.counts();
        if counts.is_empty() {
            return "No valid host was found. The cloud has no hosts; its operator must add one.".to_owned();
        }
        let list: Vec<String> =
            counts.iter().map(|(filter, n)| format!("{n} refused by {filter} ({})", plain(filter))).collect();
        format!("No valid host was found. Of {} hosts: {}.", counts.values().sum::<usize>(), list.join(", "))
    }

    /// What an operator may read of it: hosts that were refused, and why; of many a few, and how many more.
    pub fn explain(&self) -> String {
        let list =
            |r: &Refusal| format!("{}: {} {} ({})", r.hosts.join(", "), r.filter, r.reason, plain(&r.filter));
        let mut reasons: Vec<String> = self.refused.iter().map(list).collect();
        if reasons.is_empty() {
            return self.summary();
        }
        let named: usize = self.refused.iter().map(|r| r.hosts.len()).sum();
        let more = self.counts().values().sum::<usize>().saturating_sub(named);
        if more > 0 {
            reasons.push(format!("and {more} more hosts"));
        }
        format!("No valid host was found. {}.", reasons.join("; "))
    }
}
