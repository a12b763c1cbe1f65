//! Readiness: whether a host may take servers, and every line that speaks against it.
//!
//! Readiness is derived each time and never stored. It follows from the operators' rules, what the host reports, and
//! the operators' overrides. Whether a host is enabled, silent or fenced comes on top of it: no override helps there.
//!
//! ```text
//!  rules ─────────────┐
//!  reported versions ─┼─▶ lines ──▶ none, or all overruled: ready
//!  reported checks ───┤         └─▶ else: not ready
//!  overrides ─────────┘
//! ```

use super::{
    candidate::HostClass,
    host::Host,
    rule::{Effect, HostRule, Scope, Subject},
};
use crate::State;

/// One thing that speaks against a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its name, which an override can name: `rule bad-kernel`.
    pub name: String,
    /// What is wrong, with the evidence.
    pub text: String,
    /// True if an operator's override overrules it.
    pub overruled: bool,
}

/// The name of a rule's line.
pub fn line_of(rule: &HostRule) -> String {
    format!("rule {}", rule.id)
}

/// What speaks against the hosts of a class, in the order of the rules' names.
pub fn lines(state: &State, class: &HostClass) -> Vec<Line> {
    let broken = state.host_rules.values().filter_map(|rule| Some((rule, breach(rule, class)?)));
    let line = |(rule, breach): (&std::sync::Arc<HostRule>, String)| {
        let name = line_of(rule);
        let overruled = class.overruled.contains(&name);
        Line { text: format!("{breach} rule {}: {}", rule.id, rule.reason), name, overruled }
    };
    broken.map(line).collect()
}

/// What speaks against one host.
pub fn of_host(state: &State, host: &Host) -> Vec<Line> {
    let number = state.host_table().hosts.get(&host.id).map(|candidate| candidate.class);
    let class = number.and_then(|number| state.host_table().classes.get(number));
    class.map(|class| lines(state, class)).unwrap_or_default()
}

/// The first line that keeps the hosts of a class from being ready, as a sentence after a host's name.
pub fn refusal(state: &State, class: &HostClass) -> Option<String> {
    // Most clouds have no rules, and every placement asks.
    if state.host_rules.is_empty() {
        return None;
    }
    let standing = lines(state, class).into_iter().find(|line| !line.overruled)?;
    Some(format!("is not ready: {}", standing.text))
}

/// The same for one host.
pub fn refusal_of_host(state: &State, host: &Host) -> Option<String> {
    let standing = of_host(state, host).into_iter().find(|line| !line.overruled)?;
    Some(format!("not ready: {}", standing.text))
}

/// How the hosts of a class break a rule, up to the rule's name; `None` if they keep it. What a host does not report
/// is unknown, and unknown never passes.
pub fn breach(rule: &HostRule, class: &HostClass) -> Option<String> {
    let concerned = match &rule.scope {
        Scope::All => true,
        Scope::Zone(zone) => class.zone == *zone,
        Scope::Aggregate(id) => class.aggregates.contains(id),
    };
    if !concerned {
        return None;
    }
    match &rule.subject {
        Subject::Version(name) => match class.versions.get(name) {
            None => Some(format!("the host does not say its version of {name}, which is asked for by")),
            Some(version) => {
                let inside = rule.range.contains(class.package_format, version);
                match (rule.effect, inside) {
                    (Effect::Deny, true) => Some(format!("{name} {version} is denied by")),
                    (Effect::Require, false) => {
                        Some(format!("{name} {version} is not '{}', which is required by", rule.range))
                    }
                    _ => None,
                }
            }
        },
        Subject::Check(name) => match class.checks.get(name) {
            None => Some(format!("the host does not make the check {name}, which is required by")),
            Some(false) => Some(format!("the check {name} failed, which is required by")),
            Some(true) => None,
        },
    }
}
