//! Readiness of hosts: the operators' rules, overrides, and the state of the cloud.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A request for a rule, or for a look at what the rule would close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleAsk {
    /// Its name; empty to get one of the effect and the subject.
    #[serde(default)]
    pub name: String,
    /// `deny` or `require`.
    pub effect: String,
    /// The name of a version that hosts report (`kernel`), `package:` and the name of a package, or `check:` and the name of
    /// a check.
    pub subject: String,
    /// The range of versions, such as `>=3.13.0-24 <3.13.0-46`; `*` for every version.
    #[serde(default = "every_version")]
    pub range: String,
    /// Only the hosts of this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// Only the hosts of this aggregate, by its name.
    #[serde(default)]
    pub aggregate: Option<String>,
    /// The reason, for people.
    pub reason: String,
    /// Where people read more.
    #[serde(default)]
    pub link: Option<String>,
    /// True to see what the rule would close, without adding it.
    #[serde(default)]
    pub dry_run: bool,
    /// True to add a draft: a rule that closes nothing, and shows what it would close.
    #[serde(default)]
    pub draft: bool,
    /// True to add a rule that closes more than a third of a zone, or leaves no room for the servers of one host.
    #[serde(default)]
    pub yes_close: bool,
}

/// A request to put a draft in force.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EnforceAsk {
    /// True to enforce a rule that closes more than a third of a zone, or leaves no room for the servers of one host.
    #[serde(default)]
    pub yes_close: bool,
}

fn every_version() -> String {
    "*".to_owned()
}

/// A request to label a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LabelAsk {
    /// The labels to set, by their names. An empty value removes the label.
    pub labels: BTreeMap<String, String>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleView {
    /// Its name.
    pub name: String,
    /// `deny` or `require`.
    pub effect: String,
    /// The name of a version, or `check:` and the name of a check.
    pub subject: String,
    /// The range of versions.
    pub range: String,
    /// The hosts that it is about: `all hosts`, `zone …` or `aggregate …`.
    pub scope: String,
    /// The reason.
    pub reason: String,
    /// Where people read more.
    pub link: Option<String>,
    /// The name of the user who made it.
    pub by: String,
    /// When it was made; `null` for a rule that was not added.
    pub since: Option<String>,
    /// True if it closes nothing, and only shows what it would close.
    #[serde(default)]
    pub draft: bool,
    /// The hosts that break it now.
    pub hosts: Vec<String>,
    /// Those of them that do not report what the rule is about.
    #[serde(default)]
    pub unknown: Vec<String>,
}

/// A host that a rule closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedHost {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// How many servers run on there.
    pub servers: u64,
}

/// A rule, and what it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RuleEffects {
    /// The rule.
    pub rule: RuleView,
    /// True if the rule was added.
    pub added: bool,
    /// The hosts that took servers, and do not with the rule.
    pub closes: Vec<ClosedHost>,
    /// Hosts that do not report what the rule is about.
    pub unknown: Vec<String>,
    /// Why the rule needs `yes_close`; empty if it does not.
    pub too_much: Vec<String>,
}

/// A request to overrule a line of a host's readiness, or to end that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OverrideAsk {
    /// The line's name: `rule bad-kernel`.
    pub line: String,
    /// The reason, for people. Without one the override ends.
    #[serde(default)]
    pub reason: Option<String>,
    /// How long it lasts, in seconds; at most a day.
    #[serde(default)]
    pub for_s: i64,
}

/// A request to admit a host in spite of what speaks against it as a host that has not proved itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdmitAsk {
    /// The reason, for people.
    pub reason: String,
}

/// A request to keep new servers away from a host, or to end that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CordonAsk {
    /// True if the host takes no more servers.
    pub cordoned: bool,
    /// The reason, for people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A line that speaks against a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReadinessLine {
    /// Its name, which an override names.
    pub name: String,
    /// What is wrong, with the evidence.
    pub text: String,
    /// The override, if an operator overrules the line.
    pub overruled: Option<OverrideView>,
}

/// An override.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OverrideView {
    /// The host.
    pub host: String,
    /// The line's name.
    pub line: String,
    /// The reason.
    pub reason: String,
    /// The name of the operator.
    pub by: String,
    /// When it ends.
    pub until: String,
}

/// Hosts that take no servers, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClosedFor {
    /// `off`, `silent`, `disabled`, `out of order`, or a line's name.
    pub what: String,
    /// The hosts.
    pub hosts: Vec<String>,
    /// The reason of the first host.
    pub why: String,
}

/// The state of the cloud: what an operator looks at first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusView {
    /// How many hosts there are.
    pub hosts: usize,
    /// How many of them take servers.
    pub ready: usize,
    /// The others, by reason.
    pub closed: Vec<ClosedFor>,
    /// The overrides that hold.
    pub overrides: Vec<OverrideView>,
    /// What happens to many hosts together, as sentences.
    #[serde(default)]
    pub events: Vec<String>,
}
