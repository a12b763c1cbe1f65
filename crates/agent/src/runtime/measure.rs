//! Measures the host's facts, and tests what the host must be able to do.

use super::Runtime;
use crate::{
    Config,
    check::{self, evidence_of},
    core::silence::Silences,
    driver::{Drivers, Measured},
    machine,
    packages::PackageReader,
    software, version,
};
use lenticular_model::{
    Timestamp,
    host::{
        evidence::{CLOCK, Evidence, HYPERVISOR, Level, NETWORK},
        fact::Facts,
    },
};
use std::{net::SocketAddr, sync::Arc};

/// What earlier looks at the host left for the next ones.
#[derive(Default)]
pub(super) struct Looks {
    /// What reads the host's packages.
    pub(super) packages: Arc<PackageReader>,
    /// The packages that the last look was told to look for.
    pub(super) named: Vec<String>,
    /// How the host's clock compares with the control plane's.
    pub(super) clock: check::clock::Clock,
    /// Which guests answer.
    pub(super) silences: Silences,
}

/// Measures everything. With `again`, tests whose results were saved are made once more.
///
/// # Errors
/// The hypervisor driver could not look at all.
pub(super) async fn measure(
    config: &Config,
    drivers: &Drivers,
    boot_id: &str,
    (reader, named): (&PackageReader, &[String]),
    again: bool,
) -> Result<Measured, crate::core::Failure> {
    let verified = drivers.hypervisor.verify(again).await?;
    let (mut hypervisor, mut cannot_run) = (verified.described, verified.trouble);
    let wiring = drivers.network.describe().await.map(|wiring| hypervisor.wiring = wiring);
    if let Err(failure) = &wiring {
        tracing::error!(%failure, "guests cannot be connected on this host");
        cannot_run.get_or_insert(failure.to_string());
    }
    let peer = drivers.moves.address();
    let (of_software, updates) = software::look(config, &hypervisor, reader, named, !again).await;
    let found = || machine::capacity(&config.state_dir, config.reserved_memory_mb);
    let mut facts = Facts {
        boot_id: Some(boot_id.to_owned()),
        // Where other hosts reach the host is where people do.
        address: Some(
            peer.parse::<SocketAddr>().map_or_else(|_| config.address.clone(), |at| at.ip().to_string()),
        ),
        peer_address: Some(peer),
        capacity: Some(config.capacity.unwrap_or_else(found)),
        // Without a look at the network, the earlier description stays.
        hypervisor: wiring.is_ok().then_some(hypervisor),
        kernel: Some(machine::kernel()),
        agent: Some(env!("CARGO_PKG_VERSION").to_owned()),
        checked: None,
        canary: None,
        unreached: None,
        booted_at: machine::booted_at(),
        package_format: Some(version::package_format()),
        actions: Some(config.actions.keys().cloned().collect()),
        action: None,
        ..of_software
    };
    let network = drivers.network.trouble().borrow().clone();
    let mut seen = vec![evidence(HYPERVISOR, cannot_run), evidence(NETWORK, network)];
    seen.extend(updates);
    if facts.hypervisor.as_ref().is_some_and(|hypervisor| hypervisor.wiring.driver == "sim") {
        let (more, of_probe) = check::simulated::results(&config.facts_file);
        facts.update(more);
        seen.extend(of_probe);
    }
    Ok((facts, seen))
}

/// The result of a check, its text no longer than the control plane takes.
pub(super) fn evidence(check: &str, trouble: Option<String>) -> Evidence {
    evidence_of(check, trouble.map(|trouble| (Level::Fail, trouble)))
}

impl Runtime {
    /// Begins the check that is due, if any.
    pub(super) fn begin_check(&mut self) {
        let Some(number) = self.core.host.begin_check() else { return };
        tracing::info!(number, "the host is checked, as ordered");
        let (config, drivers, boot_id) = (self.config.clone(), self.drivers.clone(), self.boot_id.clone());
        let has_own_checks = !self.own_checks.is_empty();
        let (reader, named) = (self.looks.packages.clone(), self.core.host.ruled_packages().to_vec());
        self.checks.spawn(async move {
            // A separate task, so that a driver's panic is a failed check and not a lost one.
            let looked = tokio::spawn(async move {
                let (facts, mut evidence) =
                    measure(&config, &drivers, &boot_id, (&reader, &named), true).await?;
                if has_own_checks {
                    evidence.extend(check::make_all(&config).await);
                }
                Ok((facts, evidence))
            });
            let lost = |error: tokio::task::JoinError| {
                Err(crate::core::Failure::new("The host's agent failed at the check.", error.to_string()))
            };
            (number, looked.await.unwrap_or_else(lost))
        });
    }

    /// Has the network ask the hosts that the order names.
    pub(super) fn order_probe(&mut self) {
        let wanted = self.core.host.probe();
        if self.probed.as_ref() != wanted {
            self.probed = wanted.cloned();
            self.drivers.network.probe(self.probed.clone(), &self.results.0);
        }
    }

    /// Takes in results of the host's own checks and of the network's probe, if they are news.
    pub(super) fn own_checks_ended(&mut self, (facts, evidence): Measured) {
        self.core.host.measured(facts, Vec::new());
        for seen in evidence.into_iter().filter(|seen| !self.core.host.is_known(seen)).collect::<Vec<_>>() {
            match &seen.trouble {
                Some(trouble) => {
                    tracing::warn!(check = seen.check, level = ?seen.level, trouble, "a check found trouble")
                }
                None => tracing::info!(check = seen.check, "a check passed"),
            }
            self.core.host.measured(Facts::default(), vec![seen]);
        }
    }

    /// Looks at the versions again: packages change while the agent runs.
    pub(super) fn look_at_versions(&mut self) {
        let Some(hypervisor) = self.core.host.hypervisor().cloned().filter(|_| self.versions.is_empty())
        else {
            return;
        };
        if hypervisor.wiring.driver == "sim" {
            let (facts, evidence) = check::simulated::results(&self.config.facts_file);
            self.core.host.measured(facts, evidence);
        }
        let (config, reader) = (self.config.clone(), self.looks.packages.clone());
        self.looks.named = self.core.host.ruled_packages().to_vec();
        let named = self.looks.named.clone();
        self.versions
            .spawn(async move { software::look(&config, &hypervisor, &reader, &named, false).await });
    }

    /// Compares the host's clock with the control plane's time in an answer.
    pub(super) fn compare_clocks(&mut self, at: Option<Timestamp>) {
        // A simulated host has no clock of its own.
        let Some(at) = at.filter(|_| self.state_file.is_some()) else { return };
        let Some(verdict) = self.looks.clock.answered(machine::now().since_ms(at)) else { return };
        self.own_checks_ended((Facts::default(), vec![evidence_of(CLOCK, verdict)]));
    }

    /// Asks the guests that should answer, and takes in who has answered the last question.
    pub(super) fn ask_guests(&mut self) {
        // Only hosts that other hosts ask are told what it takes to be dark.
        let Some(lone_project) = self.core.host.probe().map(|order| order.lone_project) else { return };
        let asked = self.core.guests_to_ask();
        let Some(answered) = self.drivers.network.ask_guests(&asked) else { return };
        let seen = self.looks.silences.look(&asked, &answered, lone_project);
        for (server, answers) in self.looks.silences.news() {
            tracing::info!(%server, answers, "a guest answers at its tap, or no longer");
        }
        self.own_checks_ended((Facts::default(), seen.into_iter().collect()));
    }

    /// Looks at once when rules name other packages.
    pub(super) fn look_at_packages(&mut self) {
        if self.looks.named != self.core.host.ruled_packages() {
            self.look_at_versions();
        }
    }

    /// Takes in the versions. Only a change is told.
    pub(super) fn versions_seen(&mut self, seen: Result<Measured, tokio::task::JoinError>) {
        match seen {
            Ok((facts, evidence)) => self.core.host.measured(facts, evidence),
            Err(error) => tracing::error!(%error, "the versions of software could not be looked at"),
        }
    }

    /// Takes in the results of a check. A check that could not be made counts as carried out, and says why.
    pub(super) fn check_ended(
        &mut self,
        ended: Result<(u64, Result<Measured, crate::core::Failure>), tokio::task::JoinError>,
    ) {
        match ended {
            Ok((number, Ok((facts, evidence)))) => {
                self.core.checked(number, facts, evidence);
                // Rules may have named other packages since the check began.
                self.look_at_versions();
            }
            Ok((number, Err(failure))) => {
                let why = evidence(HYPERVISOR, Some(failure.to_string()));
                self.core.checked(number, Facts::default(), vec![why]);
            }
            Err(error) => tracing::error!(%error, "a check of the host was lost"),
        }
    }

    /// The network got into trouble, or out of trouble.
    pub(super) fn network_changed(&mut self) {
        let trouble = self.network_trouble.borrow_and_update().clone();
        match &trouble {
            Some(trouble) => tracing::warn!(trouble, "guests' networks do not follow changes"),
            None => tracing::info!("guests' networks follow changes again"),
        }
        self.core.host.measured(Facts::default(), vec![evidence(NETWORK, trouble)]);
    }
}
