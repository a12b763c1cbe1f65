//! Filters over single hosts, and the texts of their refusals.

use super::{
    facts::{Facts, Home, HostFacts},
    filter::Filter,
};
use lenticular_model::{
    HostId,
    compute::server_group::Policy,
    host::{candidate::Availability, host::Intent},
};

/// The reason of a refusal. [`text`] makes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The host takes no servers.
    Availability(Availability),
    /// Another host was requested.
    Forced,
    /// The server is on the host.
    Source,
    /// Other hosts cannot send guests to the host.
    Unreachable,
    /// The host's agent is too old for the server.
    OldAgent,
    /// The host has none of the servers that the hint names.
    NotTogether,
    /// The host has one of the servers that the hint names.
    NotApart,
    /// The group is on another host.
    GroupElsewhere,
    /// The group's servers are on several hosts, so no host keeps them together.
    GroupSplit,
    /// The host has this many of the group's servers already.
    GroupFull(u32),
    /// The host takes part in as many moves as the plan permits.
    Busy,
    /// The host has too little of this class of resource.
    Full { class: &'static str, left: u64, needs: u64 },
}

pub(super) type Judge = fn(&Facts<'_>, &HostFacts<'_>) -> Result<(), Why>;

#[inline]
fn compute(_: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match seen.candidate.availability {
        Availability::Yes => Ok(()),
        able => Err(Why::Availability(able)),
    }
}

#[inline]
fn forced(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match facts.forced {
        Some(host) if host != Some(*seen.id) => Err(Why::Forced),
        _ => Ok(()),
    }
}

#[inline]
fn source(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match &facts.ask.moves {
        Some(moves) if moves.from == *seen.id && !moves.may_stay => Err(Why::Source),
        _ => Ok(()),
    }
}

#[inline]
fn reachable(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match &facts.ask.moves {
        Some(moves) if moves.from != *seen.id && !seen.candidate.reachable => Err(Why::Unreachable),
        _ => Ok(()),
    }
}

#[inline]
fn agent(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match seen.candidate.protocol < facts.ask.protocol {
        true => Err(Why::OldAgent),
        false => Ok(()),
    }
}

#[inline]
fn same_host(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match facts.ask.hints.same_host.is_empty() || seen.presence.together {
        true => Ok(()),
        false => Err(Why::NotTogether),
    }
}

#[inline]
fn different_host(_: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match seen.presence.apart {
        true => Err(Why::NotApart),
        false => Ok(()),
    }
}

#[inline]
fn affinity(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match facts.home {
        Home::Anywhere => Ok(()),
        Home::On(host) if host == *seen.id => Ok(()),
        Home::On(_) => Err(Why::GroupElsewhere),
        Home::Split => Err(Why::GroupSplit),
    }
}

#[inline]
fn anti_affinity(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match facts.group {
        Some(group) if group.policy == Policy::AntiAffinity => {
            match seen.presence.members < group.most_on_one_host() {
                true => Ok(()),
                false => Err(Why::GroupFull(seen.presence.members)),
            }
        }
        _ => Ok(()),
    }
}

#[inline]
fn moves(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    match facts.ask.moves.as_ref().is_some_and(|moves| moves.planned.busy.contains(seen.id)) {
        true => Err(Why::Busy),
        false => Ok(()),
    }
}

#[inline]
fn room(class: &'static str, has: u64, taken: u64, needs: u64) -> Result<(), Why> {
    // A need of zero is met on every host, even on an overcommitted host.
    if needs == 0 || taken.saturating_add(needs) <= has {
        return Ok(());
    }
    Err(Why::Full { class, left: has.saturating_sub(taken), needs })
}

#[inline]
fn vcpus(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    room(
        "VCPU",
        seen.class.give(seen.candidate).vcpus,
        seen.candidate.taken.capacity.vcpus,
        facts.needs(seen.id).vcpus,
    )
}

#[inline]
fn memory(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    room(
        "MEMORY_MB",
        seen.class.give(seen.candidate).memory_mb,
        seen.candidate.taken.capacity.memory_mb,
        facts.needs(seen.id).memory_mb,
    )
}

#[inline]
fn disk(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Result<(), Why> {
    room(
        "DISK_GB",
        seen.class.give(seen.candidate).disk_gb,
        seen.candidate.taken.capacity.disk_gb,
        facts.needs(seen.id).disk_gb,
    )
}

/// Declares the filters over hosts, before and after the filters over their classes, in one list: each is asked, and each
/// can say why.
macro_rules! filters {
    ($($first:ident $judge_first:ident)*; $($then:ident $judge_then:ident)*) => {
        pub(super) const FILTERS: &[(Filter, Judge)] =
            &[$((Filter::$first, $judge_first),)* $((Filter::$then, $judge_then),)*];

        /// The first filter that refuses a host, if any. The reason is found later, only for kept refusals.
        #[inline]
        pub(super) fn judge(facts: &Facts<'_>, seen: &HostFacts<'_>) -> Option<Filter> {
            $(if $judge_first(facts, seen).is_err() { return Some(Filter::$first); })*
            if let Some((filter, _)) = &seen.class.refused {
                return Some(*filter);
            }
            $(if $judge_then(facts, seen).is_err() { return Some(Filter::$then); })*
            None
        }
    };
}

filters! {
    Compute compute ForcedHost forced;
    SourceHost source Reach reachable Agent agent SameHost same_host DifferentHost different_host Affinity affinity
    AntiAffinity anti_affinity Vcpus vcpus Memory memory Disk disk Moves moves
}

/// The reason why a filter refuses a host; empty if it does not.
pub(super) fn reason(facts: &Facts<'_>, id: HostId, filter: Filter) -> String {
    let Some(seen) = facts.seen(&id) else { return String::new() };
    if let Some((by_class, why)) = &seen.class.refused
        && *by_class == filter
    {
        return why.clone();
    }
    let judge = FILTERS.iter().find(|(of, _)| *of == filter).map(|(_, judge)| judge);
    let why = judge.and_then(|judge| judge(facts, &seen).err());
    why.map(|why| text(facts, id, why)).unwrap_or_default()
}

/// The text of a refusal.
pub(super) fn text(facts: &Facts<'_>, id: HostId, why: Why) -> String {
    match why {
        Why::Availability(able) => unable(facts, id, able),
        Why::Forced => format!("the request asked for host {}", facts.ask.host.as_deref().unwrap_or_default()),
        Why::Source => "has the server already".to_owned(),
        Why::Unreachable => {
            "its agent does not listen for other hosts, so no guest can be brought there".to_owned()
        }
        Why::OldAgent => "has an agent that is too old for the server, or that has not registered since the control plane's update; \
             update or start the agent"
                .to_owned(),
        Why::NotTogether => "has none of the servers that same_host names".to_owned(),
        Why::NotApart => "has one of the servers that different_host names".to_owned(),
        Why::GroupElsewhere => "does not have the server group's servers".to_owned(),
        Why::GroupSplit => {
            "cannot have the whole server group: its servers are on several hosts, or one of them is on its way"
                .to_owned()
        }
        Why::GroupFull(members) => format!("has {members} of the server group already"),
        Why::Busy => "takes part in as many moves as are allowed at a time".to_owned(),
        Why::Full { class, left, needs } => format!("has {left} {class} left, {needs} needed"),
    }
}

fn unable(facts: &Facts<'_>, id: HostId, able: Availability) -> String {
    let Some(host) = facts.state.hosts.get(&id) else { return "is gone".to_owned() };
    match (able, &host.intent, host.silent_since, host.hypervisor_trouble()) {
        (Availability::Disabled, Intent::Disabled { reason }, ..) => {
            format!("is disabled: {}", reason.as_deref().unwrap_or("no reason given"))
        }
        (Availability::Disabled, Intent::Draining { .. }, ..) => "is being drained".to_owned(),
        (Availability::Disabled, Intent::Drained { aborted: false, .. }, ..) => "was drained".to_owned(),
        (Availability::Disabled, Intent::Drained { .. }, ..) => {
            "was closed by a plan that was aborted".to_owned()
        }
        (Availability::Silent, ..) if host.fence.is_some() => "was declared to be off".to_owned(),
        (Availability::Silent, _, Some(since), _) => format!("is silent since {}", since.iso()),
        (Availability::Trouble, .., Some(trouble)) => format!("cannot run guests: {trouble}"),
        _ => "takes no servers".to_owned(),
    }
}
