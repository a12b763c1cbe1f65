//! Where a server goes: filters and weighers over all hosts, under the names that Nova's operators know, with the
//! verdict on every host kept.

use lenticular_model::{
    flavor::Size,
    host::{Host, Intent},
    index::Taken,
    HostId, State,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a server needs of its host.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// What it takes.
    pub size: Option<Size>,
    /// The zone its owner asked for.
    pub zone: Option<String>,
    /// The one host that an operator asked for.
    pub host: Option<String>,
    /// The CPU architecture that its image is for.
    pub arch: Option<String>,
}

/// Hosts that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: String,
    /// Why, for the operator.
    pub reason: String,
    /// Which hosts.
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
    /// The rest, by reason.
    pub refused: Vec<Refusal>,
}

/// How many of the hosts that passed are kept in a verdict.
pub const ACCEPTED_MAX: usize = 20;

impl Verdict {
    /// What a tenant may read of it: counts for each reason, no host's name.
    pub fn summary(&self) -> String {
        if self.refused.is_empty() {
            return "No valid host was found. The cloud has no hosts; its operator must add one.".to_owned();
        }
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for refusal in &self.refused {
            *counts.entry(&refusal.filter).or_default() += refusal.hosts.len();
        }
        let list: Vec<String> =
            counts.iter().map(|(filter, n)| format!("{n} refused by {filter} ({})", plain(filter))).collect();
        format!("No valid host was found. Of {} hosts: {}.", counts.values().sum::<usize>(), list.join(", "))
    }
}

/// What a filter means, for someone who does not know Nova's names.
fn plain(filter: &str) -> &'static str {
    match filter {
        "ComputeFilter" => "disabled or out of order",
        "AvailabilityZoneFilter" => "in another zone",
        "ForcedHostFilter" => "not the host asked for",
        "ImagePropertiesFilter" => "another CPU architecture",
        "VCPU" => "too few CPUs left",
        "MEMORY_MB" => "too little memory left",
        "DISK_GB" => "too little disk left",
        _ => "unsuitable",
    }
}

/// Chooses a host. Pure: the same state and ask give the same verdict.
pub fn schedule(state: &State, ask: &Ask) -> (Option<HostId>, Verdict) {
    let mut accepted: Vec<(f64, &Host)> = Vec::new();
    let mut refused: BTreeMap<(&'static str, String), Vec<String>> = BTreeMap::new();
    for id in state.index.host_names.values() {
        let Some(host) = state.hosts.get(id) else { continue };
        let taken = state.index.host_usage.get(id).copied().unwrap_or_default();
        match filter(host, &taken, ask) {
            Ok(()) => accepted.push((weigh(host, &taken), host)),
            Err((filter, reason)) => refused.entry((filter, reason)).or_default().push(host.name.clone()),
        }
    }
    // The heaviest first; among equals the first by name, so that the choice can be repeated.
    accepted.sort_by(|(a, x), (b, y)| b.total_cmp(a).then_with(|| x.name.cmp(&y.name)));
    let chosen = accepted.first().map(|(_, host)| *host);
    let verdict = Verdict {
        chosen: chosen.map(|h| h.name.clone()),
        accepted: accepted.iter().take(ACCEPTED_MAX).map(|(w, h)| (h.name.clone(), *w)).collect(),
        accepted_count: accepted.len(),
        refused: refused
            .into_iter()
            .map(|((filter, reason), hosts)| Refusal { filter: filter.to_owned(), reason, hosts })
            .collect(),
    };
    (chosen.map(|h| h.id), verdict)
}

type Refused = (&'static str, String);

fn filter(host: &Host, taken: &Taken, ask: &Ask) -> Result<(), Refused> {
    compute_filter(host)?;
    if let Some(wanted) = ask.host.as_ref().filter(|wanted| **wanted != host.name) {
        return Err(("ForcedHostFilter", format!("the request asked for host {wanted}")));
    }
    if let Some(zone) = ask.zone.as_ref().filter(|zone| **zone != host.zone) {
        return Err(("AvailabilityZoneFilter", format!("is in zone {}, not {zone}", host.zone)));
    }
    if let Some(arch) = ask.arch.as_ref().filter(|arch| **arch != host.hypervisor.arch) {
        return Err((
            "ImagePropertiesFilter",
            format!("is {}, the image needs {arch}", host.hypervisor.arch),
        ));
    }
    let Some(size) = ask.size else { return Ok(()) };
    let room = |class: &'static str, has: u64, taken: u64, needs: u64| {
        if taken.saturating_add(needs) <= has {
            return Ok(());
        }
        Err((class, format!("has {} {class} left, {needs} needed", has.saturating_sub(taken))))
    };
    room("VCPU", host.vcpus_to_give(), taken.capacity.vcpus, u64::from(size.vcpus))?;
    room("MEMORY_MB", host.capacity.memory_mb, taken.capacity.memory_mb, u64::from(size.ram_mb))?;
    room("DISK_GB", host.capacity.disk_gb, taken.capacity.disk_gb, size.all_disk_gb())
}

fn compute_filter(host: &Host) -> Result<(), Refused> {
    if let Intent::Disabled { reason } = &host.intent {
        let reason = reason.as_deref().unwrap_or("no reason given");
        return Err(("ComputeFilter", format!("is disabled: {reason}")));
    }
    if let Some(since) = host.silent_since {
        return Err(("ComputeFilter", format!("is silent since {}", since.iso())));
    }
    match &host.hypervisor.trouble {
        Some(trouble) => Err(("ComputeFilter", format!("cannot run guests: {trouble}"))),
        None => Ok(()),
    }
}

/// Nova's RAMWeigher, as the share of memory that is free, less a little for each server so that equals spread.
fn weigh(host: &Host, taken: &Taken) -> f64 {
    let free = host.capacity.memory_mb.saturating_sub(taken.capacity.memory_mb) as f64;
    free / (host.capacity.memory_mb.max(1) as f64) - taken.servers as f64 * 1e-6
}
