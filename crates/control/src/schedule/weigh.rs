//! Weighers: they choose the best of the hosts that passed. Each measure is scaled to 0 (the least of those hosts)
//! to 1 (the most). As in Nova, the sum of the scaled measures, each times its multiplier, decides.

use super::facts::{ClassFacts, ClassJudgement, Facts, HostFacts, WEIGHERS};
use lenticular_model::{HostId, compute::server_group::Policy, host::candidate::Candidate, index::Taken};
use std::collections::BTreeMap;

/// The weighers' names, as in Nova, each with its measure.
const NAMES: [(&str, &str); WEIGHERS] = [
    ("RAMWeigher", "MiB of memory free"),
    ("CPUWeigher", "virtual CPUs free"),
    ("DiskWeigher", "GiB of disk free"),
    ("IoOpsWeigher", "servers being made or moved"),
    ("ServerGroupWeigher", "servers of the group"),
];

/// The aggregates' metadata key for each weigher's multiplier, and the default multiplier. The last weigher is the
/// server group's, which has a key for each policy.
const MULTIPLIERS: [(&str, f64); WEIGHERS - 1] = [
    ("ram_weight_multiplier", 1.0),
    ("cpu_weight_multiplier", 1.0),
    ("disk_weight_multiplier", 1.0),
    // Hosts with work under way are avoided.
    ("io_ops_weight_multiplier", -1.0),
];

/// Each weigher's multiplier for hosts of a class: the lowest value of the aggregates, else the default.
pub(super) fn multipliers(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> [f64; WEIGHERS] {
    let said = |key: &str, usual: f64| seen.lowest(key).unwrap_or(usual);
    let [ram, cpu, disk, io_ops] = MULTIPLIERS.map(|(key, usual)| said(key, usual));
    let group = match facts.group.map(|group| group.policy) {
        Some(Policy::SoftAffinity) => said("soft_affinity_weight_multiplier", 1.0),
        // The measure is the number of members; fewer is better.
        Some(Policy::SoftAntiAffinity) => -said("soft_anti_affinity_weight_multiplier", 1.0),
        Some(Policy::Affinity | Policy::AntiAffinity) | None => 0.0,
    };
    [ram, cpu, disk, io_ops, group]
}

/// A measured host that passed. There may be ten thousand of them, so it is small.
#[derive(Clone, Copy)]
pub(super) struct Passed<'a> {
    id: &'a HostId,
    candidate: &'a Candidate,
    class: &'a ClassJudgement,
    measured: [f32; WEIGHERS],
}

impl<'a> Passed<'a> {
    #[inline]
    pub(super) fn of(seen: &HostFacts<'a>) -> Self {
        let (give, taken) = (seen.class.give(seen.candidate), seen.candidate.taken);
        // Processors convert signed numbers faster.
        let free = |has: u64, taken: u64| has.saturating_sub(taken) as i64 as f32;
        let measured = [
            free(give.memory_mb, taken.capacity.memory_mb),
            free(give.vcpus, taken.capacity.vcpus),
            free(give.disk_gb, taken.capacity.disk_gb),
            taken.busy as i64 as f32,
            seen.presence.members as f32,
        ];
        Self { id: seen.id, candidate: seen.candidate, class: seen.class, measured }
    }

    /// The same host without this part of its taken resources.
    pub(super) fn without(mut self, part: &Taken) -> Self {
        let freed = [part.capacity.memory_mb, part.capacity.vcpus, part.capacity.disk_gb];
        for (measured, freed) in self.measured.iter_mut().zip(freed) {
            *measured += freed as f32;
        }
        self.measured[3] -= part.busy as f32;
        self
    }

    /// The measure of each weigher that counts, and its part of the weight.
    fn weighed(&self, span: &Span, scale: &[f64; WEIGHERS]) -> Vec<Weigher> {
        let counting = (0..WEIGHERS).filter(|n| self.class.multipliers[*n] != 0.0);
        let weigher = |n: usize| Weigher {
            name: NAMES[n].0,
            unit: NAMES[n].1,
            measured: f64::from(self.measured[n]),
            adds: self.share(n, span, scale),
        };
        counting.map(weigher).collect()
    }

    /// One weigher's part of the weight.
    #[inline]
    fn share(&self, n: usize, span: &Span, scale: &[f64; WEIGHERS]) -> f64 {
        self.class.multipliers[n] * f64::from(self.measured[n] - span.low[n]) * scale[n]
    }
}

/// A weigher's result for a host.
#[derive(Debug, Clone, PartialEq)]
pub struct Weigher {
    /// Its name.
    pub name: &'static str,
    /// The unit of the measure.
    pub unit: &'static str,
    /// The measure of the host.
    pub measured: f64,
    /// Its part of the host's weight.
    pub adds: f64,
}

/// Each weigher's result for each host that passed.
pub(super) fn weighers(passed: &[Passed<'_>]) -> BTreeMap<HostId, Vec<Weigher>> {
    let span = Span::of(passed);
    let scale = span.scale();
    passed.iter().map(|host| (*host.id, host.weighed(&span, &scale))).collect()
}

/// The least and the greatest measures of all hosts that passed.
struct Span {
    low: [f32; WEIGHERS],
    high: [f32; WEIGHERS],
}

impl Span {
    fn of(passed: &[Passed<'_>]) -> Self {
        let mut span = Self { low: [f32::INFINITY; WEIGHERS], high: [f32::NEG_INFINITY; WEIGHERS] };
        for host in passed {
            for (n, measured) in host.measured.into_iter().enumerate() {
                // Comparisons, unlike min and max, need no handling of NaN.
                span.low[n] = if measured < span.low[n] { measured } else { span.low[n] };
                span.high[n] = if measured > span.high[n] { measured } else { span.high[n] };
            }
        }
        span
    }

    /// The factor for each weigher's measure; 0 if all hosts are equal.
    fn scale(&self) -> [f64; WEIGHERS] {
        std::array::from_fn(|n| {
            let wide = f64::from(self.high[n]) - f64::from(self.low[n]);
            if wide > 0.0 { 1.0 / wide } else { 0.0 }
        })
    }
}

/// A host with its weight and its number. The number decides between equal weights, so that the choice is
/// repeatable.
#[derive(Clone, Copy)]
struct Weighed<'a> {
    weight: f64,
    number: u64,
    id: &'a HostId,
}

impl Weighed<'_> {
    fn order(&self, other: &Self) -> std::cmp::Ordering {
        other.weight.total_cmp(&self.weight).then(self.number.cmp(&other.number))
    }
}

/// The best hosts, at most `most`, the best first, each with its weight.
pub(super) fn best(passed: &[Passed<'_>], most: usize) -> Vec<(HostId, f64)> {
    let span = Span::of(passed);
    let scale = span.scale();
    // Keeps at most twice the wanted number, because no caller needs the order of the rest.
    let mut kept: Vec<Weighed<'_>> = Vec::with_capacity(most * 2);
    let mut least: Option<Weighed<'_>> = None;
    for host in passed {
        let weight: f64 = (0..WEIGHERS).map(|n| host.share(n, &span, &scale)).sum();
        let weighed = Weighed { weight, number: host.candidate.number, id: host.id };
        if least.is_some_and(|least| weighed.order(&least).is_ge()) {
            continue;
        }
        kept.push(weighed);
        if kept.len() == most * 2 {
            kept.sort_unstable_by(Weighed::order);
            kept.truncate(most);
            least = kept.last().copied();
        }
    }
    kept.sort_unstable_by(Weighed::order);
    kept.truncate(most);
    kept.into_iter().map(|host| (*host.id, host.weight)).collect()
}
