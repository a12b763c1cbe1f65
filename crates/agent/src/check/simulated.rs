//! What the checks of a simulated host find: they pass, unless the host's file of facts says what is wrong.

use crate::driver::Measured;
use lenticular_model::host::{
    evidence::{BRIDGE, CANARY, Evidence, GUESTS, Level, TUNNELS},
    fact::Facts,
};
use serde::Deserialize;
use std::{collections::BTreeMap, path::Path};

#[derive(Default, Deserialize)]
struct File {
    /// What is wrong, by the name of the check: `bridge`, `tunnels`, `guests` or `canary`.
    #[serde(default)]
    checks: BTreeMap<String, String>,
    /// The names of hosts that do not answer it.
    #[serde(default)]
    unreached: Vec<String>,
}

/// How a simulated host's canary ends.
pub(crate) fn canary(file: &Path) -> Evidence {
    let trouble = read(file).checks.remove(CANARY).map(|trouble| (Level::Fail, trouble));
    super::evidence_of(CANARY, trouble)
}

/// The results. A file that cannot be read says nothing.
pub(crate) fn results(file: &Path) -> Measured {
    let File { checks: mut troubles, unreached } = read(file);
    let results = [BRIDGE, TUNNELS, GUESTS].map(|check| {
        let trouble = troubles.remove(check).map(|trouble| (Level::Fail, trouble));
        super::evidence_of(check, trouble)
    });
    (Facts { unreached: Some(unreached), ..Facts::default() }, results.into())
}

fn read(file: &Path) -> File {
    let read = std::fs::read(file).ok().and_then(|bytes| serde_json::from_slice::<File>(&bytes).ok());
    read.unwrap_or_default()
}
