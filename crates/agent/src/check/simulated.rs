//! What the checks of a simulated host find: they pass, unless the host's file of facts says what is wrong.

use lenticular_model::host::evidence::{BRIDGE, CANARY, Evidence, Level, TUNNELS};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Default, Deserialize)]
struct File {
    /// What is wrong, by the name of the check: `bridge`, `tunnels` or `canary`.
    #[serde(default)]
    checks: BTreeMap<String, String>,
}

/// How a simulated host's canary ends.
pub(crate) fn canary(file: &Path) -> Evidence {
    let trouble = read(file).checks.remove(CANARY).map(|trouble| (Level::Fail, trouble));
    super::evidence_of(CANARY, trouble)
}

/// The results. A file that cannot be read says nothing.
pub(crate) fn results(file: &Path) -> Vec<Evidence> {
    let mut troubles = read(file).checks;
    let results = [BRIDGE, TUNNELS].map(|check| {
        let trouble = troubles.remove(check).map(|trouble| (Level::Fail, trouble));
        super::evidence_of(check, trouble)
    });
    results.into()
}

fn read(file: &Path) -> File {
    let read = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
    read.unwrap_or_default()
}
