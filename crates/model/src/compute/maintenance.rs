//! Maintenance: what a server's owner allows when its host is drained.

use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The metadata key under which an owner says it.
pub const MAINTENANCE: &str = "lenticular:maintenance";

/// What an owner allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Maintenance {
    /// The guest is moved while it runs. A stopped server is moved as it is.
    #[default]
    Live,
    /// The guest is stopped, moved and started again.
    Cold,
    /// The same: the guest may be stopped.
    Stop,
    /// The server stays where it is until its owner moves or stops to forbid it.
    None,
}

impl Maintenance {
    /// Every value, under its name.
    const ALL: [(&'static str, Self); 4] =
        [("live", Self::Live), ("cold", Self::Cold), ("stop", Self::Stop), ("none", Self::None)];

    /// The value with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// What a server's metadata say. Without a word of its owner, a guest is moved while it runs.
    pub fn of(metadata: &BTreeMap<String, String>) -> Self {
        metadata.get(MAINTENANCE).and_then(|name| Self::from_name(name)).unwrap_or_default()
    }
}

/// Checks what metadata say about maintenance.
///
/// # Errors
/// The value is none of those that there are.
pub fn check(metadata: &BTreeMap<String, String>) -> Result<()> {
    match metadata.get(MAINTENANCE) {
        Some(name) if Maintenance::from_name(name).is_none() => Err(Error::invalid(format!(
            "The metadata key {MAINTENANCE} is 'live', 'cold', 'stop' or 'none', not '{name}'."
        ))),
        _ => Ok(()),
    }
}
