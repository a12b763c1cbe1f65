//! Readiness: whether a host may take servers, and every line that speaks against it.
//!
//! Readiness is derived each time and never stored. It follows from the operators' rules, what the host and its siblings
//! report, whether the host has proved itself as it is now, and the operators' overrides. Whether a host is enabled,
//! silent or fenced comes on top of it: no override helps there, nor for a dark host.
//!
//! ```text
//!  rules ─────────────┐
//!  reported versions ─┤
//!  reported checks ───┼─▶ lines ──▶ none, or all overruled: ready
//!  siblings, admission┤         └─▶ else: not ready
//!  overrides ─────────┘
//! ```
//!
//! A host that is new, has booted or has other versions is not admitted. It is admitted by itself as soon as no line
//! speaks against it, or by an operator.

use super::{
    candidate::HostClass,
    evidence::{BRIDGE, GUESTS, TUNNELS},
    host::Host,
    rule::HostRule,
};
use crate::State;
use std::sync::Arc;

/// One thing that speaks against a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name, which an override can name: `rule bad-kernel`.
    pub name: String,
    /// What is wrong, with the evidence.
    pub text: String,
    /// The check that found it, if it was one.
    pub check: Option<String>,
    /// True if an operator's override overrules it.
    pub overruled: bool,
}

/// What the names of rules' lines begin with.
pub const RULE: &str = "rule ";

/// The name of a rule's line.
pub fn line_of(rule: &HostRule) -> String {
    format!("{RULE}{}", rule.id)
}

/// The name of the line of a host that has not proved itself yet.
pub const ADMISSION: &str = "admission";

/// The name of the line of a dark host: its guests and those of other hosts do not reach each other.
pub const DARK: &str = "dark";
const IS_DARK: &str = "it is dark";

/// What speaks against the hosts of a class: darkness, then rules in the order of their names, then siblings, then the
/// admission that is missing.
pub fn lines(state: &State, class: &HostClass) -> Vec<Line> {
    let line = |name: String, text: String, check: Option<&str>| {
        let (overruled, check) = (class.overruled.contains(&name), check.map(str::to_owned));
        Line { name, text, check, overruled }
    };
    let dark = darkness(state, class);
    let dark = dark.map(|check| line(DARK.to_owned(), IS_DARK.to_owned(), Some(check)));
    let rules = state.host_rules.values().filter(|rule| !rule.draft).filter_map(|rule| {
        let text = format!("{} rule {}: {}", class.breach(rule)?, rule.id, rule.reason);
        Some(line(line_of(rule), text, rule.check()))
    });
    let siblings = COMPARED.iter().filter(|_| !class.admitted).filter_map(|name| {
        Some(line(format!("sibling {name}"), older_than_siblings(state, class, name)?, None))
    });
    let mut lines: Vec<Line> = dark.into_iter().chain(rules).chain(siblings).collect();
    // Where something speaks against a host, it is the reason why the host is not admitted.
    if lines.is_empty() && !class.admitted {
        let text = "it has not proved itself since it booted or was changed";
        lines.push(line(ADMISSION.to_owned(), text.to_owned(), None));
    }
    lines
}

/// The check that shows that the hosts of a class are dark; `None` if they are not.
///
/// - A host whose own switch does not answer is dark, and so is one whose guests fell silent together.
/// - A host that no other host answers is dark if another one, which reaches others, misses it too: else the others may be
///   the cause.
/// - If the tunnels or the guests of many hosts fail together, the cause is elsewhere, and closing all of them helps nobody.
fn darkness(state: &State, class: &HostClass) -> Option<&'static str> {
    if class.fails(BRIDGE) {
        return Some(BRIDGE);
    }
    if class.fails(GUESTS) && many_fail(state, &class.zone, GUESTS).is_none() {
        return Some(GUESTS);
    }
    let name = class.cut_off.as_ref()?;
    let misses = |other: &Arc<Host>| other.is_witness() && other.unreached.contains(name);
    let missed = state.hosts.values().any(misses);
    (missed && many_fail(state, &class.zone, TUNNELS).is_none()).then_some(TUNNELS)
}

/// How many hosts of a zone fail the check (`tunnels` or `guests`), and how many make it, if that is one event: more than one
/// host, and more than one in five. A host whose own switch does not answer has its own trouble.
pub fn many_fail(state: &State, zone: &str, check: &str) -> Option<(u64, u64)> {
    let probed = state.host_table().classes.counted();
    let probed = probed.filter(|(class, _)| class.zone == zone && class.checks.contains_key(check));
    let (failing, all) = probed.fold((0, 0), |(failing, all), (class, hosts)| {
        let fails = class.fails(check) && !class.fails(BRIDGE);
        (failing + if fails { hosts } else { 0 }, all + hosts)
    });
    (failing > 1 && failing * 5 > all).then_some((failing, all))
}

/// The versions that a new host is compared in with its siblings.
const COMPARED: &[&str] = &["kernel", "qemu", "ovn"];

/// What is older on hosts of this class than on half of their siblings: the admitted hosts of their aggregates, or of their
/// zone if there are none. Nobody has to know of a fault: the siblings run something newer. A host that proved itself
/// with this version before has not changed in it.
fn older_than_siblings(state: &State, class: &HostClass, name: &str) -> Option<String> {
    let own = class.versions.get(name).filter(|own| class.proven.get(name) != Some(own))?;
    let in_zone = |other: &HostClass| other.zone == class.zone;
    let beside = |other: &HostClass| other.aggregates.iter().any(|id| class.aggregates.contains(id));
    let (siblings, of) = match compare(state, class, (name, own), &beside) {
        Siblings { all: 0, .. } => {
            (compare(state, class, (name, own), &in_zone), format!("zone {}", class.zone))
        }
        siblings => (siblings, "its aggregates".to_owned()),
    };
    let Siblings { all, newer, newest } = siblings;
    let newest = newest.filter(|_| newer * 2 >= all)?;
    Some(format!(
        "{name} {own} is older than what {newer} of the {all} admitted hosts of {of} run, such as {newest}"
    ))
}

/// Siblings that report a version: how many, how many have a newer one, and the newest.
struct Siblings<'a> {
    all: u64,
    newer: u64,
    newest: Option<&'a String>,
}

fn compare<'a>(
    state: &'a State,
    class: &HostClass,
    (name, own): (&str, &String),
    is_sibling: &dyn Fn(&HostClass) -> bool,
) -> Siblings<'a> {
    let format = class.package_format;
    let mut found = Siblings { all: 0, newer: 0, newest: None };
    for (other, hosts) in state.host_table().classes.counted() {
        if !other.admitted || other.package_format != format || !is_sibling(other) {
            continue;
        }
        let Some(version) = other.versions.get(name) else { continue };
        found.all += hosts;
        if format.compare(version, own).is_gt() {
            found.newer += hosts;
            found.newest = match found.newest {
                Some(newest) if format.compare(version, newest).is_le() => Some(newest),
                _ => Some(version),
            };
        }
    }
    found
}

/// What speaks against one host. Lines about checks have the host's own words.
pub fn of_host(state: &State, host: &Host) -> Vec<Line> {
    let number = state.host_table().hosts.get(&host.id).map(|candidate| candidate.class);
    let class = number.and_then(|number| state.host_table().classes.get(number));
    let mut all = class.map(|class| lines(state, class)).unwrap_or_default();
    for line in &mut all {
        let found = line.check.as_ref().and_then(|check| host.evidence.get(check));
        if let Some(trouble) = found.and_then(|found| found.trouble.as_ref()) {
            line.text = format!("{} ({trouble})", line.text);
        }
    }
    all
}

/// The first line that keeps the hosts of the class with this number from being ready, as a sentence after a host's name.
pub fn refusal(state: &State, number: u32) -> Option<String> {
    let class = state.host_table().classes.get(number)?;
    // Nothing speaks against most hosts, and every placement asks.
    let breaks_rules = state.host_table().classes.breaks_rules(number);
    if !breaks_rules && class.admitted && ![BRIDGE, GUESTS, TUNNELS].iter().any(|check| class.fails(check)) {
        return None;
    }
    // The first line of all, which nobody overrules.
    let dark = darkness(state, class).map(|_| IS_DARK.to_owned());
    let first = || lines(state, class).into_iter().find(|line| !line.overruled).map(|line| line.text);
    dark.or_else(first).map(|text| format!("is not ready: {text}"))
}

/// The same for one host.
pub fn refusal_of_host(state: &State, host: &Host) -> Option<String> {
    let standing = of_host(state, host).into_iter().find(|line| !line.overruled)?;
    Some(format!("not ready: {}", standing.text))
}

/// True if a host takes servers as far as its operator and its readiness go: it is enabled, and nothing stands against it.
pub fn is_open(state: &State, host: &Host) -> bool {
    host.is_enabled() && refusal_of_host(state, host).is_none()
}
