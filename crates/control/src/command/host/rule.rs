//! Rules about hosts: what a new rule would close, its creation as a draft or in force, and its removal.

use lenticular_model::{
    HostId, HostRuleId, State, Txn,
    error::{Error, Result},
    host::{
        candidate::Availability,
        evidence::{CANARY, HYPERVISOR, NETWORK},
        host::Host,
        package::{PACKAGE, PACKAGES_MAX, check_package},
        readiness,
        rule::{Effect, HostRule, Scope, Subject, VERSION_NAMES, check_link, check_reason},
        version::Range,
    },
    index::Taken,
    policy::{self, Action, Caller},
};
use std::collections::{BTreeMap, BTreeSet};

/// A request for a rule.
#[derive(Debug, Clone)]
pub struct NewRule {
    /// Its name; empty to make one of the effect and the subject.
    pub name: String,
    /// What it does.
    pub effect: Effect,
    /// The thing that it is about.
    pub subject: Subject,
    /// The versions.
    pub range: Range,
    /// The hosts that it is about.
    pub scope: Scope,
    /// The reason.
    pub reason: String,
    /// Where people read more.
    pub link: Option<String>,
    /// Whether it closes nothing yet, and only shows what it would close.
    pub draft: bool,
}

/// What a rule changes for the hosts, at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Effects {
    /// Hosts that take servers now and would not with the rule.
    pub closes: Vec<HostId>,
    /// Hosts of the rule's scope that do not report what the rule is about.
    pub unknown: Vec<HostId>,
    /// Why the rule closes more than goes without saying; empty if it does not.
    pub too_much: Vec<String>,
}

/// The most rules: each placement looks at all of them, and each may name another package.
const RULES_MAX: usize = PACKAGES_MAX;

/// The rule as it would be, and what it would change.
///
/// # Errors
/// The caller may not, or the rule makes no sense.
pub fn preview(state: &State, caller: &Caller, new: &NewRule) -> Result<(HostRule, Effects)> {
    policy::check(caller, Action::HostRuleWrite, None)?;
    check(state, new)?;
    let rule = record(state, caller, new);
    let effects = effects(state, &rule);
    Ok((rule, effects))
}

/// Adds a rule: all hosts are judged by it from this commit on. Returns it, and what it changed.
///
/// # Errors
/// The caller may not, or the rule makes no sense. Or it closes much, and the caller does not say `yes_close`.
pub fn add(
    txn: &mut Txn<'_>,
    caller: &Caller,
    new: &NewRule,
    yes_close: bool,
) -> Result<(HostRule, Effects)> {
    let (rule, effects) = preview(txn, caller, new)?;
    if !rule.draft && !yes_close {
        check_extent(&rule, &effects)?;
    }
    let rule = HostRule { created_at: txn.now, ..rule };
    txn.put(rule.clone());
    Ok((rule, effects))
}

/// Puts a draft in force: all hosts are judged by it from this commit on. Returns it, and what it changed.
///
/// # Errors
/// The caller may not, there is no such rule, or it is in force already. Or it closes much, and the caller does not say
/// `yes_close`.
pub fn enforce(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: &HostRuleId,
    yes_close: bool,
) -> Result<(HostRule, Effects)> {
    policy::check(caller, Action::HostRuleWrite, None)?;
    let rule = txn.host_rules.get(id).ok_or_else(|| Error::not_found("Rule", id))?;
    if !rule.draft {
        return Err(Error::conflict(format!("Rule {id} is in force already.")));
    }
    // Who puts it in force answers for it.
    let user_id = caller.user_id;
    let rule = HostRule { draft: false, user_id, updated_at: Some(txn.now), ..HostRule::clone(rule) };
    let effects = effects(txn, &rule);
    if !yes_close {
        check_extent(&rule, &effects)?;
    }
    txn.put(rule.clone());
    Ok((rule, effects))
}

/// Refuses a rule that closes more than goes without saying.
fn check_extent(rule: &HostRule, effects: &Effects) -> Result<()> {
    let Effects { closes, unknown, too_much } = effects;
    let unknown: Vec<&HostId> = unknown.iter().filter(|host| closes.contains(host)).collect();
    // Hosts say the version of a package when a rule is about it, so the first rule closes all of them for a moment.
    if let Some(package) = rule.package().filter(|_| !unknown.is_empty()) {
        return Err(Error::conflict(format!(
            "Hosts that do not say their version of {package}: {}. The rule would close them. Nothing was changed. Hosts \
             say it within a minute of a rule that asks: add the rule with --draft, look at `lenticular rule list`, and then \
             use `lenticular rule enforce`. With --yes-close the rule is in force at once.",
            unknown.len()
        )));
    }
    match too_much.is_empty() {
        true => Ok(()),
        false => Err(Error::conflict(format!(
            "The rule closes too much: {}. Nothing was changed. See what it would close as a draft (--draft, and \
             `lenticular rule list`), and repeat this with --yes-close if it is meant.",
            too_much.join("; ")
        ))),
    }
}

/// Removes a rule.
///
/// # Errors
/// The caller may not, or there is no such rule.
pub fn remove(txn: &mut Txn<'_>, caller: &Caller, id: &HostRuleId) -> Result<()> {
    policy::check(caller, Action::HostRuleWrite, None)?;
    let Some(rule) = txn.delete::<HostRule>(id) else { return Err(Error::not_found("Rule", id)) };
    // Another rule may get the name.
    let line = readiness::line_of(&rule);
    let overruled = txn.hosts.values().filter(|host| host.overrides.contains_key(&line));
    for host in overruled.map(|host| host.id).collect::<Vec<_>>() {
        txn.update::<Host>(&host, |host| drop(host.overrides.remove(&line)));
    }
    Ok(())
}

fn record(state: &State, caller: &Caller, new: &NewRule) -> HostRule {
    HostRule {
        id: name(state, new),
        created_at: Default::default(),
        updated_at: None,
        effect: new.effect,
        subject: new.subject.clone(),
        range: new.range.clone(),
        scope: new.scope.clone(),
        reason: new.reason.clone(),
        link: new.link.clone(),
        user_id: caller.user_id,
        draft: new.draft,
        unknown: Default::default(),
    }
}

/// The name that the request gives, or the first free one of the effect and the subject.
fn name(state: &State, new: &NewRule) -> HostRuleId {
    if !new.name.is_empty() {
        return new.name.as_str().into();
    }
    let (Subject::Version(subject) | Subject::Check(subject)) = &new.subject;
    let base = format!("{}-{}", new.effect.name(), subject.replace(':', "-").replace('+', "_"));
    let numbered = (2..).map(|n| HostRuleId::from(format!("{base}-{n}").as_str()));
    let mut names = std::iter::once(HostRuleId::from(base.as_str())).chain(numbered);
    names.find(|id| !state.host_rules.contains_key(id)).unwrap_or_else(|| base.as_str().into())
}

fn check(state: &State, new: &NewRule) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // A command line takes what begins with a hyphen for an option.
    let begins = |name: &str| name.starts_with(|c: char| c.is_ascii_alphanumeric());
    let is_name = |name: &str| name.len() <= 64 && begins(name) && name.chars().all(fits);
    if !new.name.is_empty() && !is_name(&new.name) {
        return Err(Error::invalid(
            "A rule's name has at most 64 letters, digits, hyphens, underscores and dots, and begins with a letter or a digit.",
        ));
    }
    if state.host_rules.contains_key(&HostRuleId::from(new.name.as_str())) {
        return Err(Error::conflict(format!(
            "There is a rule {} already. Remove it, or take another name.",
            new.name
        )));
    }
    if state.host_rules.len() >= RULES_MAX {
        return Err(Error::conflict(format!(
            "There are {RULES_MAX} rules, the most. Remove rules that are over."
        )));
    }
    check_reason(&new.reason)?;
    new.link.as_deref().map_or(Ok(()), check_link)?;
    check_subject(state, new)?;
    match &new.scope {
        Scope::Zone(zone) if !state.host_table().has_zone(zone) => {
            Err(Error::invalid(format!("There is no zone {zone}, or it has no hosts.")))
        }
        Scope::Aggregate(id) if !state.aggregates.contains_key(id) => {
            Err(Error::invalid(format!("There is no aggregate {id}.")))
        }
        _ => Ok(()),
    }
}

fn check_subject(state: &State, new: &NewRule) -> Result<()> {
    if let Subject::Version(name) = &new.subject
        && let Some(package) = name.strip_prefix(PACKAGE)
    {
        return check_package(package);
    }
    match &new.subject {
        Subject::Version(name) if VERSION_NAMES.iter().all(|(known, _)| known != name) => {
            let names: Vec<&str> = VERSION_NAMES.iter().map(|(name, _)| *name).collect();
            Err(Error::invalid(format!(
                "Hosts report no version of {name}. They report: {}, and package:NAME.",
                names.join(", ")
            )))
        }
        Subject::Check(_) if new.effect == Effect::Deny => {
            Err(Error::invalid("A check can only be required: a host that fails it takes no servers then."))
        }
        Subject::Check(_) if new.range.to_string() != "*" => {
            Err(Error::invalid("A check has no versions: leave the range out."))
        }
        Subject::Check(name) => {
            let own = state.hosts.values().flat_map(|host| host.evidence.keys().map(String::as_str));
            let known: BTreeSet<&str> = own.chain([CANARY, HYPERVISOR, NETWORK]).collect();
            let list = || known.iter().copied().collect::<Vec<_>>().join(", ");
            match known.contains(name.as_str()) {
                true => Ok(()),
                false => {
                    Err(Error::invalid(format!("No host makes a check {name}. Hosts make: {}.", list())))
                }
            }
        }
        Subject::Version(_) => Ok(()),
    }
}

/// A zone, before and after.
#[derive(Default)]
struct Zone {
    open: usize,
    closed: usize,
    left_mb: u64,
    most_taken_mb: u64,
}

fn effects(state: &State, rule: &HostRule) -> Effects {
    let mut effects = Effects::default();
    let mut zones: BTreeMap<&str, Zone> = BTreeMap::new();
    let mut judged: BTreeMap<u32, (bool, Option<String>)> = BTreeMap::new();
    for host in state.hosts_by_name() {
        let Some(candidate) = state.host_table().hosts.get(&host.id) else { continue };
        let Some(class) = state.host_table().classes.get(candidate.class) else { continue };
        let (open, breach) = judged
            .entry(candidate.class)
            .or_insert_with(|| (readiness::refusal(state, candidate.class).is_none(), class.breach(rule)));
        if breach.is_some() && class.lacks(&rule.subject) {
            effects.unknown.push(host.id);
        }
        if !*open || candidate.availability != Availability::Yes {
            continue;
        }
        let zone = zones.entry(&class.zone).or_default();
        zone.open += 1;
        if breach.is_some() {
            zone.closed += 1;
            effects.closes.push(host.id);
        } else {
            let Taken { capacity, .. } = candidate.taken;
            zone.left_mb += candidate.give.memory_mb.saturating_sub(capacity.memory_mb);
            zone.most_taken_mb = zone.most_taken_mb.max(capacity.memory_mb);
        }
    }
    effects.too_much = zones.iter().filter_map(|(name, zone)| too_much(name, zone)).collect();
    effects
}

/// Why it is too much for a zone: more than a third of its open hosts are closed, or the rest has no room for the servers
/// of one more host.
fn too_much(name: &str, zone: &Zone) -> Option<String> {
    let Zone { open, closed, left_mb, most_taken_mb } = zone;
    if closed * 3 > *open {
        return Some(format!("{closed} of the {open} hosts of zone {name} that take servers"));
    }
    // One of the hosts that stay open may fail: its servers must find room on the others.
    let no_room = *closed > 0 && left_mb < most_taken_mb;
    no_room.then(|| {
        format!("in zone {name} {left_mb} MiB would be left, and a host that stays open has servers of {most_taken_mb} MiB")
    })
}
