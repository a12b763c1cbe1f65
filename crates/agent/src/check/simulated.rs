//! What the checks of a simulated host find: they pass, unless the host's file of facts says what is wrong.

use lenticular_model::host::evidence::{BRIDGE, Evidence, Level, TUNNELS};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Default, Deserialize)]
struct File {
    /// What is wrong, by the name of the check: `bridge` or `tunnels`.
    #[serde(default)]
    checks: BTreeMap<String, String>,
}

/// The results. A file that cannot be read says nothing.
pub(crate) fn results(file: &Path) -> Vec<Evidence> {
    let read = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
    let mut troubles = read.unwrap_or_default().checks;
    let results = [BRIDGE, TUNNELS].map(|check| {
        let trouble = troubles.remove(check).map(|trouble| (Level::Fail, trouble));
        super::evidence_of(check, trouble)
    });
    results.into()
}
