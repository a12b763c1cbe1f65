//! Rules of operators about hosts: which versions of software a host must have, or must not have, to take servers.

use super::{package::package_of, version::Range};
use crate::{
    AggregateId, HostRuleId, UserId,
    error::{Error, Result},
    index::{Index, Indexed},
    record,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a rule does with the versions in its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// A host with such a version takes no servers.
    Deny,
    /// A host without such a version takes no servers.
    Require,
}

impl Effect {
    /// The word in requests and answers.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Require => "require",
        }
    }

    /// The effect with this word.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Deny, Self::Require].into_iter().find(|effect| effect.name() == name)
    }
}

/// The thing on a host that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// The version with this name, of those that hosts report: `kernel`, `qemu`, …; or `package:` and the name of a package.
    Version(String),
    /// The check with this name. A check counts if a rule requires it.
    Check(String),
}

/// The names of the versions that hosts report.
pub const VERSION_NAMES: &[(&str, &str)] = &[
    ("kernel", "the running kernel, as its package's version"),
    ("kernel-installed", "the newest installed kernel, as its package's version"),
    ("qemu", "the hypervisor"),
    ("agent", "the host's agent"),
    ("microcode", "the microcode of the CPU"),
    ("ovs", "Open vSwitch"),
    ("ovn", "OVN's controller"),
    ("libc", "the C library, as its package's version"),
    ("snapshot", "the snapshot of the repositories that the host's configuration names"),
];

/// The hosts that a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All hosts.
    All,
    /// The hosts of a zone.
    Zone(String),
    /// The hosts of an aggregate.
    Aggregate(AggregateId),
}

record! {
    /// A rule. Its id is its name.
    pub struct HostRule: HostRuleId {
        /// What it does.
        pub effect: Effect,
        /// The thing that it is about.
        pub subject: Subject,
        /// The versions; for a check it has no effect.
        pub range: Range,
        /// The hosts that it is about.
        pub scope: Scope,
        /// The reason, for people.
        pub reason: String,
        /// Where people read more.
        #[serde(default)]
        pub link: Option<String>,
        /// The user who made it.
        pub user_id: UserId,
        /// True if it closes nothing, and only shows what it would close.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub draft: bool,
    }
}

impl HostRule {
    /// The check that the rule requires, if it is about one.
    pub fn check(&self) -> Option<&str> {
        match &self.subject {
            Subject::Check(name) => Some(name),
            Subject::Version(_) => None,
        }
    }

    /// The package whose version it is about, if it is about one.
    pub fn package(&self) -> Option<&str> {
        match &self.subject {
            Subject::Version(name) => package_of(name),
            Subject::Check(_) => None,
        }
    }
}

impl Indexed for HostRule {
    fn index(index: &mut Index, _seq: u64, old: Option<&Self>, new: Option<&Self>) {
        if let Some(rule) = new.or(old) {
            // Nobody is judged by a draft.
            let judges = new.filter(|rule| !rule.draft);
            index.host_table.set_rule(rule.id.clone(), judges.cloned().map(Arc::new));
        }
    }
}

/// The longest reason or link, in bytes.
pub const TEXT_BYTES_MAX: usize = 1_024;

/// Refuses a reason that people cannot read wherever it is shown: of a rule, an override or an admission.
///
/// # Errors
/// It is empty or too long, or has characters that a terminal obeys or that turn the direction of a text.
pub fn check_reason(reason: &str) -> Result<()> {
    match reason.trim().is_empty() || reason.len() > TEXT_BYTES_MAX || reason.chars().any(is_hidden) {
        true => Err(Error::invalid(format!(
            "Give a reason of 1 to {TEXT_BYTES_MAX} bytes, without control characters."
        ))),
        false => Ok(()),
    }
}

/// Refuses a link that no browser opens.
///
/// # Errors
/// It is no web address, is too long, or has blanks or hidden characters.
pub fn check_link(link: &str) -> Result<()> {
    let rest = link.strip_prefix("https://").or_else(|| link.strip_prefix("http://"));
    let fits = |rest: &str| !rest.is_empty() && !rest.contains(' ') && !rest.chars().any(is_hidden);
    match link.len() <= TEXT_BYTES_MAX && rest.is_some_and(fits) {
        true => Ok(()),
        false => Err(Error::invalid("A rule's link begins with https:// or http://, and has no blanks.")),
    }
}

fn is_hidden(c: char) -> bool {
    c.is_control()
        || ['\u{2028}', '\u{2029}', char::REPLACEMENT_CHARACTER].contains(&c)
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}
