//! Filters over what hosts have in common: asked once for each class of host.

use super::{extra_specs::matches, filter::Filter, image, plan::Plan, weigh};
use lenticular_model::{
    host::{
        host::{Capacity, Hypervisor, Ratios},
        room::{HostClass, Room},
    },
    ProjectId, State,
};
use std::collections::{BTreeMap, BTreeSet};

/// The metadata of all aggregates of a host: each key with every value that one of them has. A value may be a list.
pub(super) type Metadata<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// A class with what its aggregates say.
pub(super) struct ClassSeen<'a> {
    pub(super) class: &'a HostClass,
    pub(super) metadata: Metadata<'a>,
}

/// What a decision knows of a class.
#[derive(Debug)]
pub(super) struct ClassWord {
    /// The first filter that refuses it, and why.
    pub(super) refused: Option<(Filter, String)>,
    /// How often aggregates let its hosts' resources be given out, if they say so.
    pub(super) ratios: Option<Ratios>,
    /// What each weigher counts.
    pub(super) multipliers: [f64; weigh::COUNT],
}

impl ClassWord {
    /// What a host of the class gives out, by its own ratios and its aggregates'.
    #[inline]
    pub(super) fn give(&self, room: &Room) -> Capacity {
        let own = room.give;
        let Some(ratios) = self.ratios else { return own };
        let by_aggregates = ratios.of(room.net);
        Capacity {
            vcpus: own.vcpus.min(by_aggregates.vcpus),
            memory_mb: own.memory_mb.min(by_aggregates.memory_mb),
            disk_gb: own.disk_gb.min(by_aggregates.disk_gb),
        }
    }
}

type Judge = fn(&Plan<'_>, &ClassSeen<'_>) -> Result<(), String>;

/// The filters, in the order in which they are asked.
pub(super) const FILTERS: &[(Filter, Judge)] = &[
    (Filter::Zone, zone),
    (Filter::Tenancy, tenancy),
    (Filter::ImageIsolation, image_isolation),
    (Filter::ExtraSpecs, extra_specs),
    (Filter::ImageProperties, image_properties),
    (Filter::Capabilities, capabilities),
    (Filter::Traits, traits),
    (Filter::Migration, migration),
    (Filter::Cpu, cpu),
];

impl<'a> ClassSeen<'a> {
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

/// What a decision says of a class of hosts.
pub(super) fn word(plan: &Plan<'_>, class: &HostClass) -> ClassWord {
    let seen = ClassSeen::new(plan.state, class);
    let refusal = |(filter, judge): &(Filter, Judge)| judge(plan, &seen).err().map(|why| (*filter, why));
    ClassWord {
        refused: FILTERS.iter().find_map(refusal),
        ratios: ratios(&seen),
        multipliers: weigh::multipliers(plan, &seen),
    }
}

/// What aggregates say of overcommitment, as Nova's AggregateCoreFilter, AggregateRamFilter and AggregateDiskFilter
/// read it.
fn ratios(seen: &ClassSeen<'_>) -> Option<Ratios> {
    let ratio = |key: &str| seen.lowest(key).filter(|ratio| *ratio > 0.0);
    let said = ["cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio"].map(ratio);
    let [cpu, ram, disk] = said.map(|ratio| ratio.unwrap_or(f64::INFINITY));
    said.iter().any(Option::is_some).then_some(Ratios { cpu, ram, disk })
}

fn zone(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    match &plan.ask.zone {
        Some(zone) if *zone != seen.class.zone => Err(format!("is in zone {}, not {zone}", seen.class.zone)),
        _ => Ok(()),
    }
}

/// Keys that begin so name the projects that an aggregate is for.
const TENANT_KEY: &str = "filter_tenant_id";

fn tenancy(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    let lists = seen.metadata.iter().filter(|(key, _)| key.starts_with(TENANT_KEY));
    let mut given = lists.flat_map(|(_, projects)| projects).peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let own = |text: &&str| text.parse::<ProjectId>().ok().is_some_and(|id| Some(id) == plan.ask.project);
    match given.copied().any(|text| own(&text)) {
        true => Ok(()),
        false => Err("is in an aggregate that is reserved for other projects".to_owned()),
    }
}

fn image_isolation(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    let Some(image) = &plan.ask.image else { return Ok(()) };
    let wrong = seen.metadata.iter().find_map(|(key, allowed)| {
        let value = image.properties.get(*key).filter(|value| !value.is_empty())?;
        (!allowed.contains(value.as_str())).then_some((key, value))
    });
    match wrong {
        Some((key, value)) => Err(format!("is in an aggregate for images of another {key} than {value}")),
        None => Ok(()),
    }
}

fn extra_specs(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    for (key, wants) in &plan.aggregate_specs {
        match seen.metadata.get(key) {
            None => return Err(format!("is in no aggregate with {key}, the flavor needs '{wants}'")),
            Some(values) if !values.iter().any(|has| matches(has, wants)) => {
                let has: Vec<&str> = values.iter().copied().collect();
                return Err(format!("has {key}={}, the flavor needs '{wants}'", has.join(",")));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

fn image_properties(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    let hypervisor = &seen.class.hypervisor;
    if let Some(arch) = &plan.ask.arch {
        image::check_arch(hypervisor, arch)?;
    }
    plan.ask.image.as_ref().map_or(Ok(()), |image| image::check(hypervisor, image))
}

/// What `capabilities:<key>` asks of; `None` if there is no such thing.
fn capability(of: &Hypervisor, key: &str) -> Option<String> {
    Some(match key {
        "hypervisor_type" => of.kind().to_owned(),
        "hypervisor_version" => of.version.to_string(),
        "cpu_info:arch" => of.arch.clone(),
        "cpu_info:model" => of.cpu_model.clone(),
        "driver" => of.driver.clone(),
        "acceleration" => of.acceleration.clone(),
        _ => return None,
    })
}

fn capabilities(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    for (key, wants) in &plan.capabilities {
        match capability(&seen.class.hypervisor, key) {
            Some(has) if matches(&has, wants) => {}
            Some(has) => return Err(format!("has the {key} '{has}', the flavor needs '{wants}'")),
            None => return Err(format!("has no capability {key}, the flavor needs '{wants}'")),
        }
    }
    Ok(())
}

fn traits(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    if plan.traits.is_empty() {
        return Ok(());
    }
    let has = seen.class.hypervisor.traits();
    for (name, required) in &plan.traits {
        match (has.contains(name), required) {
            (false, true) => return Err(format!("lacks the trait {name}")),
            (true, false) => return Err(format!("has the trait {name}, which is forbidden")),
            _ => {}
        }
    }
    Ok(())
}

/// What a hypervisor must be to take a guest over from another.
fn migration(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    let (Some(moves), Some(had)) = (&plan.ask.moves, plan.source) else { return Ok(()) };
    let has = &seen.class.hypervisor;
    if has.driver != had.driver {
        return Err(format!("runs {}, and the guest comes from {}", has.driver, had.driver));
    }
    if moves.live && has.version < had.version {
        let why = format!("its hypervisor {} is older than the source's {}", has.version, had.version);
        return Err(why);
    }
    Ok(())
}

fn cpu(plan: &Plan<'_>, seen: &ClassSeen<'_>) -> Result<(), String> {
    let Some(had) = plan.source.filter(|_| plan.ask.moves.as_ref().is_some_and(|moves| moves.live)) else {
        return Ok(());
    };
    let has = &seen.class.hypervisor;
    // With emulation all hosts of a version show guests the same CPU.
    let same = has.acceleration == had.acceleration
        && has.arch == had.arch
        && (has.acceleration != "kvm" || has.cpu_model == had.cpu_model);
    if same {
        return Ok(());
    }
    let cpu = |h: &Hypervisor| format!("{} {} ({})", h.arch, h.cpu_model, h.acceleration);
    Err(format!("has {}, the guest runs on {}", cpu(has), cpu(had)))
}
