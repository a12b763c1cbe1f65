//! Evidence: the results of the checks that a host's agent makes there.

use crate::{
    Timestamp,
    error::{Error, Result},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The check whether the host can run guests.
pub const HYPERVISOR: &str = "hypervisor";
/// The check whether the networks of the host's guests follow changes.
pub const NETWORK: &str = "network";

/// The check whether the host's own switch answers its probe port.
pub const BRIDGE: &str = "bridge";
/// The check whether the probe ports of other hosts answer, through the tunnels.
pub const TUNNELS: &str = "tunnels";

/// The check whether the host's guests answer.
pub const GUESTS: &str = "guests";

/// The check whether the host can run a guest, from its building to its removal.
pub const CANARY: &str = "canary";

/// The check whether the host's clock agrees with the control plane's.
pub const CLOCK: &str = "clock";

/// The longest text of a fact or of evidence, in bytes.
pub const TEXT_BYTES_MAX: usize = 4_096;
/// The most checks of a host.
const CHECKS_MAX: usize = 256;
/// The longest name of a check, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// How bad the trouble is that a check found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The host did not pass.
    #[default]
    Fail,
    /// The host passed, and somebody should look.
    Warn,
    /// Nobody knows whether the host passed.
    Unknown,
    /// The check was not made since the agent's start: its last result holds.
    Pending,
}

impl Level {
    fn is_fail(&self) -> bool {
        *self == Self::Fail
    }
}

/// The result of one check on a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The name of the check.
    pub check: String,
    /// What is wrong and what to do; `None` if the host passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How bad the trouble is.
    #[serde(default, skip_serializing_if = "Level::is_fail")]
    pub level: Level,
}

impl Evidence {
    /// The result of a check that the host passed, or failed with this trouble.
    pub fn new(check: &str, trouble: Option<String>) -> Self {
        Self { check: check.to_owned(), trouble, level: Level::Fail }
    }
}

/// The last result of a check, as the host's record has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong and what to do; `None` if the host passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How bad the trouble is.
    #[serde(default, skip_serializing_if = "Level::is_fail")]
    pub level: Level,
    /// When the result became this one.
    pub since: Timestamp,
}

impl Finding {
    /// True if the host passed, perhaps with a warning.
    pub fn has_passed(&self) -> bool {
        self.trouble.is_none() || self.level == Level::Warn
    }
}

/// The last results, by the name of the check.
pub type Findings = BTreeMap<String, Finding>;

/// Refuses evidence that no agent gives.
///
/// # Errors
/// There are too many checks, or a name or a text is too long.
pub fn check_evidence(evidence: &[Evidence]) -> Result<()> {
    check_count(evidence.len())?;
    for Evidence { check, trouble, .. } in evidence {
        if check.is_empty() || check.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!(
                "A check's name has 1 to {NAME_BYTES_MAX} bytes, not {}.",
                check.len()
            )));
        }
        check_text(check, trouble.as_deref().unwrap_or_default())?;
    }
    Ok(())
}

/// Refuses more checks than a host has.
///
/// # Errors
/// There are too many.
pub fn check_count(checks: usize) -> Result<()> {
    match checks > CHECKS_MAX {
        true => Err(Error::invalid(format!("A host has at most {CHECKS_MAX} checks, not {checks}."))),
        false => Ok(()),
    }
}

/// Refuses a text that is too long.
pub(super) fn check_text(name: &str, text: &str) -> Result<()> {
    check_length(name, text.len())
}

/// Refuses a text of this many bytes, if it is too long.
pub(super) fn check_length(name: &str, length: usize) -> Result<()> {
    match length > TEXT_BYTES_MAX {
        true => Err(Error::invalid(format!(
            "'{name}' of the host has {length} bytes; at most {TEXT_BYTES_MAX} are taken."
        ))),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_that_no_agent_gives_is_refused() {
        let long = "x".repeat(TEXT_BYTES_MAX + 1);
        let evidence = Evidence::new;
        assert!(check_evidence(&[evidence("", None)]).is_err());
        assert!(check_evidence(&[evidence("clock", Some(long))]).is_err());
        assert!(check_evidence(&vec![evidence("clock", None); CHECKS_MAX + 1]).is_err());
        assert!(check_evidence(&[evidence("clock", None)]).is_ok());
    }
}
