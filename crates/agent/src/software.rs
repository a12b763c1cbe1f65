//! The software of this host, as facts: the versions of what runs, its packages, and the repositories' snapshot.

use crate::{
    Config,
    check::{evidence_of, pending_of},
    driver::Measured,
    machine,
    packages::{self, Found, PackageReader},
    version,
};
use lenticular_model::host::{fact::Facts, host::Hypervisor, version::CONFIGURATION};

/// The check whether updates for security wait.
const UPDATES: &str = "updates";

/// The check how old the repositories' snapshot is.
const REPOSITORY: &str = "repository";

/// Looks at the versions of software, and at packages: of those that rules name, the versions. A quick look, for the agent's
/// start, does not ask which updates wait.
pub(crate) async fn look(
    config: &Config,
    hypervisor: &Hypervisor,
    reader: &PackageReader,
    named: &[String],
    quick: bool,
) -> Measured {
    let mut found = match hypervisor.driver == "qemu" {
        true => reader.read(named, quick).await,
        // Simulated hosts have no packages but those of their file.
        false => Found { versions: packages::none_installed(named), ..Found::default() },
    };
    let mut evidence = Vec::new();
    if let Some(repository) = &config.repository {
        let snapshot = repository.snapshot().await;
        evidence.push(evidence_of(REPOSITORY, repository.judge(&snapshot, machine::now())));
        found.versions.extend(snapshot.map(|snapshot| ("snapshot".to_owned(), snapshot.id)));
    }
    if !config.digest.is_empty() {
        found.versions.insert(CONFIGURATION.to_owned(), config.digest.clone());
    }
    evidence.extend(match found.packages.as_ref().map(|packages| packages.updates) {
        Some(Some(_)) => Some(evidence_of(UPDATES, packages::check_updates(found.packages.as_ref()))),
        // The last result holds until the next look.
        Some(None) if quick => Some(pending_of(UPDATES)),
        _ => None,
    });
    let versions = version::versions(&config.facts_file, hypervisor, found.versions).await;
    let facts = Facts { versions: Some(versions), packages: found.packages, ..Facts::default() };
    (facts, evidence)
}
