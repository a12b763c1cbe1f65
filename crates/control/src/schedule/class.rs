//! Filters over the properties that hosts of a class share; each runs once for each class.

use super::{
    extra_specs::matches,
    facts::{ClassFacts, ClassJudgement, Facts},
    filter::Filter,
    image, weigh,
};
use lenticular_model::{
    ProjectId,
    host::{
        candidate::HostClass,
        host::{Hypervisor, Ratios},
        readiness,
    },
};

type Judge = fn(&Facts<'_>, &ClassFacts<'_>) -> Result<(), String>;

/// The filters, in the order in which they run.
pub(super) const FILTERS: &[(Filter, Judge)] = &[
    (Filter::Readiness, ready),
    (Filter::Zone, zone),
    (Filter::Target, target),
    (Filter::Tenancy, tenancy),
    (Filter::ImageIsolation, image_isolation),
    (Filter::ExtraSpecs, extra_specs),
    (Filter::ImageProperties, image_properties),
    (Filter::Capabilities, capabilities),
    (Filter::Traits, traits),
    (Filter::Migration, migration),
    (Filter::Cpu, cpu),
];

/// The judgement of each class of hosts, by the class's number.
pub(super) fn judge_all(facts: &Facts<'_>) -> Vec<Option<ClassJudgement>> {
    let mut judged = Vec::new();
    for (number, class) in facts.state.host_table().classes.iter() {
        let at = number as usize;
        if judged.len() <= at {
            judged.resize_with(at + 1, || None);
        }
        judged[at] = Some(judge(facts, number, class));
    }
    judged
}

fn judge(facts: &Facts<'_>, number: u32, class: &HostClass) -> ClassJudgement {
    let seen = ClassFacts::new(facts.state, number, class);
    let refusal = |(filter, ask): &(Filter, Judge)| ask(facts, &seen).err().map(|why| (*filter, why));
    ClassJudgement {
        refused: FILTERS.iter().find_map(refusal),
        ratios: ratios(&seen),
        multipliers: weigh::multipliers(facts, &seen),
    }
}

/// The overcommitment ratios of aggregates, read like Nova's AggregateCoreFilter, AggregateRamFilter and
/// AggregateDiskFilter.
fn ratios(seen: &ClassFacts<'_>) -> Option<Ratios> {
    let ratio = |key: &str| seen.lowest(key).filter(|ratio| *ratio > 0.0);
    let said = ["cpu_allocation_ratio", "ram_allocation_ratio", "disk_allocation_ratio"].map(ratio);
    let [cpu, ram, disk] = said.map(|ratio| ratio.unwrap_or(f64::INFINITY));
    said.iter().any(Option::is_some).then_some(Ratios { cpu, ram, disk })
}

fn ready(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    readiness::refusal(facts.state, seen.number).map_or(Ok(()), Err)
}

fn zone(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    match &facts.ask.zone {
        Some(zone) if *zone != seen.class.zone => Err(format!("is in zone {}, not {zone}", seen.class.zone)),
        _ => Ok(()),
    }
}

fn target(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let Some(to) = facts.ask.moves.as_ref().and_then(|moves| moves.planned.to) else { return Ok(()) };
    if seen.class.aggregates.contains(&to) {
        return Ok(());
    }
    let name = facts.state.aggregates.get(&to).map_or_else(|| to.to_string(), |to| to.name.clone());
    Err(format!("is not in aggregate {name}"))
}

/// Keys with this prefix name the projects that an aggregate is reserved for.
const TENANT_KEY: &str = "filter_tenant_id";

fn tenancy(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let lists = seen.metadata.iter().filter(|(key, _)| key.starts_with(TENANT_KEY));
    let mut given = lists.flat_map(|(_, projects)| projects).peekable();
    if given.peek().is_none() {
        return Ok(());
    }
    let own = |text: &&str| text.parse::<ProjectId>().ok().is_some_and(|id| Some(id) == facts.ask.project);
    match given.copied().any(|text| own(&text)) {
        true => Ok(()),
        false => Err("is in an aggregate that is reserved for other projects".to_owned()),
    }
}

fn image_isolation(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let Some(image) = &facts.ask.image else { return Ok(()) };
    let wrong = seen.metadata.iter().find_map(|(key, allowed)| {
        let value = image.properties.get(*key).filter(|value| !value.is_empty())?;
        (!allowed.contains(value.as_str())).then_some((key, value))
    });
    match wrong {
        Some((key, value)) => Err(format!("is in an aggregate for images of another {key} than {value}")),
        None => Ok(()),
    }
}

fn extra_specs(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    for (key, wants) in &facts.aggregate_specs {
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

fn image_properties(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let hypervisor = &seen.class.hypervisor;
    if let Some(arch) = &facts.ask.arch {
        image::check_arch(hypervisor, arch)?;
    }
    facts.ask.image.as_ref().map_or(Ok(()), |image| image::check(hypervisor, image))
}

/// The capability that `capabilities:<key>` names; `None` if it does not exist.
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

fn capabilities(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    for (key, wants) in &facts.capabilities {
        match capability(&seen.class.hypervisor, key) {
            Some(has) if matches(&has, wants) => {}
            Some(has) => return Err(format!("has the {key} '{has}', the flavor needs '{wants}'")),
            None => return Err(format!("has no capability {key}, the flavor needs '{wants}'")),
        }
    }
    Ok(())
}

fn traits(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    if facts.traits.is_empty() {
        return Ok(());
    }
    let has = seen.class.hypervisor.traits();
    for (name, required) in &facts.traits {
        match (has.contains(name), required) {
            (false, true) => return Err(format!("lacks the trait {name}")),
            (true, false) => return Err(format!("has the trait {name}, which is forbidden")),
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a hypervisor can take over a guest from another.
fn migration(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let (Some(moves), Some(had)) = (&facts.ask.moves, facts.source) else { return Ok(()) };
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

fn cpu(facts: &Facts<'_>, seen: &ClassFacts<'_>) -> Result<(), String> {
    let Some(had) = facts.source.filter(|_| facts.ask.moves.as_ref().is_some_and(|moves| moves.live)) else {
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
