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
    /// Where it comes from, if it moves.
    pub moves: Option<Moves>,
}

/// What a server that moves needs of its target beside what a new one does.
#[derive(Debug, Clone)]
pub struct Moves {
    /// Where it is.
    pub from: HostId,
    /// True if it runs on while it moves.
    pub live: bool,
    /// True if it may stay there.
    pub may_stay: bool,
    /// What it takes there now.
    pub has: Size,
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

impl Verdict {
    /// What an operator may read of it: every host that was refused, and why.
    pub fn explain(&self) -> String {
        let list =
            |r: &Refusal| format!("{}: {} {} ({})", r.hosts.join(", "), r.filter, r.reason, plain(&r.filter));
        let reasons: Vec<String> = self.refused.iter().map(list).collect();
        match reasons.is_empty() {
            true => self.summary(),
            false => format!("No valid host was found. {}.", reasons.join("; ")),
        }
    }
}

/// What a filter means, for someone who does not know Nova's names.
fn plain(filter: &str) -> &'static str {
    match filter {
        "ComputeFilter" => "disabled or out of order",
        "AvailabilityZoneFilter" => "in another zone",
        "ForcedHostFilter" => "not the host asked for",
        "ImagePropertiesFilter" => "another CPU architecture",
        "SameHostFilter" => "the one it is on",
        "MigrationFilter" => "unable to take over a guest",
        "CPUCompatibilityFilter" => "another CPU",
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
        match filter(host, &taken, ask).and_then(|()| move_filter(state, host, ask)) {
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
    // On its own host it needs only what it has not yet.
    let stays = ask.moves.as_ref().filter(|moves| moves.from == host.id);
    let size = stays.map_or(size, |moves| size.beyond(&moves.has));
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

/// What a host must be to take a guest over from another.
fn move_filter(state: &State, host: &Host, ask: &Ask) -> Result<(), Refused> {
    let Some(moves) = &ask.moves else { return Ok(()) };
    if host.id == moves.from {
        return match moves.may_stay {
            true => Ok(()),
            false => Err(("SameHostFilter", "is where the server is".to_owned())),
        };
    }
    if host.peer_address.is_empty() {
        let why = "its agent does not listen for other hosts, so no guest can be brought there";
        return Err(("MigrationFilter", why.to_owned()));
    }
    let Some(from) = state.hosts.get(&moves.from) else { return Ok(()) };
    let (has, had) = (&host.hypervisor, &from.hypervisor);
    if has.driver != had.driver {
        let why = format!("runs {}, and the guest comes from {}", has.driver, had.driver);
        return Err(("MigrationFilter", why));
    }
    if !moves.live {
        return Ok(());
    }
    if has.version < had.version {
        let why = format!("its hypervisor {} is older than the source's {}", has.version, had.version);
        return Err(("MigrationFilter", why));
    }
    // With emulation all hosts of a version show guests the same CPU.
    let same_cpu = has.acceleration == had.acceleration
        && has.arch == had.arch
        && (has.acceleration != "kvm" || has.cpu_model == had.cpu_model);
    if !same_cpu {
        let cpu = |h: &lenticular_model::host::Hypervisor| {
            format!("{} {} ({})", h.arch, h.cpu_model, h.acceleration)
        };
        return Err(("CPUCompatibilityFilter", format!("has {}, the guest runs on {}", cpu(has), cpu(had))));
    }
    Ok(())
}

fn compute_filter(host: &Host) -> Result<(), Refused> {
    if let Intent::Disabled { reason } = &host.intent {
        let reason = reason.as_deref().unwrap_or("no reason given");
        return Err(("ComputeFilter", format!("is disabled: {reason}")));
    }
    if let Some(fence) = &host.fence {
        return Err(("ComputeFilter", format!("was declared off at {}", fence.at.iso())));
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
