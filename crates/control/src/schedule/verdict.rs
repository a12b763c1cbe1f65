//! The result of a decision: the hosts that passed, and the number that each filter refused, with a few names.

use super::{
    facts::Facts,
    filter::{Filter, plain},
    host,
};
use lenticular_model::HostId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Hosts that were refused for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The filter.
    pub filter: String,
    /// The reason, for the operator.
    pub reason: String,
    /// The hosts; only a few of many.
    pub hosts: Vec<String>,
}

/// The reasons for a server's placement, or for finding no host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The host that was chosen.
    pub chosen: Option<String>,
    /// Hosts that passed, best first, with their weight; at most [`ACCEPTED_MAX`].
    pub accepted: Vec<(String, f64)>,
    /// The number of hosts that passed.
    pub accepted_count: usize,
    /// Hosts that did not pass, by reason: at most [`SAMPLES_MAX`] for each filter.
    pub refused: Vec<Refusal>,
    /// The number of hosts that each filter refused. Older verdicts have none, but name all hosts.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
}

/// The number of passed hosts that a verdict keeps.
pub const ACCEPTED_MAX: usize = 20;

/// The number of refused hosts per filter that a verdict without a host keeps.
pub const SAMPLES_MAX: usize = 20;

/// The same number for a verdict with a host, if many hosts were refused.
const SAMPLES_FOUND_MAX: usize = 1;

/// The refusals of a decision: all counted, a few recorded.
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

/// Makes the verdict of a decision.
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
    /// The number of hosts that each filter refused.
    pub fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts: BTreeMap<&str, usize> = self.counts.iter().map(|(f, n)| (f.as_str(), *n)).collect();
        if counts.is_empty() {
            for refusal in &self.refused {
                *counts.entry(&refusal.filter).or_default() += refusal.hosts.len();
            }
        }
        counts
    }

    /// The text for a tenant: a count for each reason, without names of hosts.
    pub fn summary(&self) -> String {
        let counts = self.counts();
        if counts.is_empty() {
            return "No valid host was found. The cloud has no hosts; its operator must add one.".to_owned();
        }
        let list: Vec<String> =
            counts.iter().map(|(filter, n)| format!("{n} refused by {filter} ({})", plain(filter))).collect();
        format!("No valid host was found. Of {} hosts: {}.", counts.values().sum::<usize>(), list.join(", "))
    }

    /// The text for an operator: refused hosts and the reasons; a few names, and the number of the others.
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
