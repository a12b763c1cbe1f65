//! The agent's start: locks its state directory, reads its state, and finds the running guests.

use super::{
    AgentError, Runtime,
    measure::{Looks, measure},
    work,
};
use crate::{
    Config, check,
    core::{Core, FoundGuest},
    driver::{Drivers, Release},
    files,
    link::Link,
};
use lenticular_model::{
    DiskId, ServerId,
    host::{
        evidence::{BRIDGE, CANARY, GUESTS, TUNNELS},
        fact::Facts,
    },
};
use rustix::{fs::FlockOperation, io::Errno};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};

impl Runtime {
    /// The agent with everything that was found, ready to run. `state_file` is the file of its saved state, if
    /// any.
    pub(crate) async fn open(
        config: Config,
        link: Arc<dyn Link>,
        drivers: Drivers,
        releases: mpsc::Receiver<Release>,
        boot_id: String,
        state_file: Option<PathBuf>,
    ) -> Result<Self, AgentError> {
        // The saved state.
        let mut core = match &state_file {
            Some(path) => read(path, &boot_id, config.parallel_max)?,
            None => Core::new(boot_id.clone(), config.parallel_max),
        };
        let looks = first_look(&mut core, &config, &drivers, &boot_id).await?;
        // A simulated host, which saves nothing, has nothing to check.
        let results = mpsc::channel(16);
        let mut own_checks = JoinSet::new();
        if state_file.is_some() {
            core.host.measured(Facts::default(), check::pending(&config));
            own_checks = check::begin(&config, &results.0);
        }
        recall_orders(&mut core, &drivers).await;
        find_guests(&mut core, &drivers).await?;
        // The runtime, which watches the running guests.
        let fuse = super::work::Fuse::new(config.dies_after_steps);
        let network_trouble = drivers.network.trouble();
        let runtime = Self {
            config,
            link,
            drivers,
            boot_id,
            state_file,
            core,
            unsaved: true,
            held: Vec::new(),
            steps: JoinSet::new(),
            fuse,
            cancels: HashMap::new(),
            forces: HashMap::new(),
            answers: JoinSet::new(),
            fetches: Arc::default(),
            consoles: Arc::default(),
            checks: JoinSet::new(),
            versions: JoinSet::new(),
            looks,
            canaries: JoinSet::new(),
            held_action: None,
            actions: JoinSet::new(),
            own_checks,
            results,
            probed: None,
            exits: mpsc::unbounded_channel(),
            releases,
            accepted: Vec::new(),
            progress: Arc::default(),
            welcome: None,
            network_trouble,
            report_number: 0,
            failures: 0,
            disowned: 0,
            ignored: 0,
            report: None,
            report_not_before: None,
            patient_until: None,
        };
        for id in runtime.core.servers() {
            runtime.watch(id);
        }
        Ok(runtime)
    }
}

/// Measures the host's facts. Returns what later looks begin with.
async fn first_look(
    core: &mut Core,
    config: &Config,
    drivers: &Drivers,
    boot_id: &str,
) -> Result<Looks, AgentError> {
    let looks = Looks { named: core.host.ruled_packages().to_vec(), ..Looks::default() };
    let (facts, evidence) = measure(config, drivers, boot_id, (&looks.packages, &looks.named), false).await?;
    core.host.measured(facts, evidence);
    Ok(looks)
}

/// Of what the host was ordered to prove, the last result holds until there is another one.
async fn recall_orders(core: &mut Core, drivers: &Drivers) {
    if core.host.probe().is_some() && drivers.network.beats().is_some() {
        core.host.measured(Facts::default(), [BRIDGE, TUNNELS, GUESTS].map(check::pending_of).into());
    }
    // A canary whose agent ended is no guest.
    if let Some(canary) = core.host.canary() {
        core.host.measured(Facts::default(), vec![check::pending_of(CANARY)]);
        if let Err(failure) = super::canary::clear(drivers, canary).await {
            tracing::warn!(%failure, "what a canary left cannot be removed");
        }
    }
}

/// Tells the core of all disks and processes on this host, known or unknown.
async fn find_guests(core: &mut Core, drivers: &Drivers) -> Result<(), AgentError> {
    let mut disks: BTreeMap<ServerId, BTreeMap<DiskId, u64>> = BTreeMap::new();
    for (server, disk, generation) in drivers.disks.list().await? {
        disks.entry(server).or_default().insert(disk, generation);
    }
    let processes = drivers.hypervisor.list().await?;
    let all: BTreeSet<ServerId> = core.servers().chain(disks.keys().copied()).chain(processes).collect();
    let mut looking = JoinSet::new();
    for id in all {
        let (driver, drivers) = (drivers.hypervisor.clone(), drivers.clone());
        looking.spawn(async move {
            let (process, memory) = (driver.find(id).await, driver.find_memory(id, None).await);
            // A copy that an earlier agent began is of no use.
            if let Err(failure) = work::clear_copy(&drivers, id).await {
                tracing::warn!(server = %id, %failure, "a copy of a disk is left over");
            }
            (id, process, memory)
        });
    }
    while let Some(found) = looking.join_next().await {
        let (id, process, memory) =
            found.map_err(|e| crate::core::Failure::new("a look failed", e.to_string()))?;
        let disks = disks.remove(&id).unwrap_or_default();
        core.found(id, FoundGuest { disks, process: process?, memory: memory? });
    }
    Ok(())
}

/// The first format of the state with moves between hosts. Before it, no host could hand a guest over, so an
/// older state has nothing that must be remembered.
const FIRST_WITH_MOVES: u32 = 2;

#[derive(serde::Deserialize)]
struct Format {
    version: u32,
}

fn read(path: &Path, boot_id: &str, parallel_max: usize) -> Result<Core, AgentError> {
    let trouble = |why: String, remedy| AgentError::State { path: path.display().to_string(), why, remedy };
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Core::new(boot_id.to_owned(), parallel_max))
        }
        Err(error) => Err(trouble(error.to_string(), "Let the agent's user read it.")),
        Ok(bytes) => {
            let remedy =
                "Move it away to continue without it: guests are found again by their disks and processes.";
            if serde_json::from_slice(&bytes).is_ok_and(|Format { version }| version < FIRST_WITH_MOVES) {
                // The control plane tells again everything that disks and processes do not show.
                tracing::warn!(path = %path.display(), "an older version's state is passed over; guests are found again");
                return Ok(Core::new(boot_id.to_owned(), parallel_max));
            }
            let snapshot = serde_json::from_slice(&bytes).map_err(|e| trouble(e.to_string(), remedy))?;
            Core::restore(snapshot, boot_id.to_owned(), parallel_max)
                .map_err(|e| trouble(e.to_string(), "Nothing was changed."))
        }
    }
}

/// How long an earlier agent has to let the state directory go: the kernel needs up to seconds to close what a killed one
/// had open.
const LET_GO_WITHIN: Duration = Duration::from_secs(10);
const LET_GO_LOOK: Duration = Duration::from_millis(50);

/// Locks the state directory for this agent, while the file is open.
///
/// # Errors
/// The directory cannot be used, or another agent works with it and goes on.
pub(crate) async fn take_state_dir(dir: &Path) -> Result<File, AgentError> {
    let trouble = |why: String, remedy| AgentError::State { path: dir.display().to_string(), why, remedy };
    std::fs::create_dir_all(dir)
        .map_err(|e| trouble(e.to_string(), "Make it, for the agent's user to write."))?;
    let lock = files::create(&dir.join("lock"))
        .map_err(|e| trouble(e.to_string(), "Let the agent's user write there."))?;
    let try_lock = || rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive);
    let let_go = async {
        while try_lock() == Err(Errno::WOULDBLOCK) {
            tokio::time::sleep(LET_GO_LOOK).await;
        }
    };
    // How it ended is seen by one more try: a lock that is held is taken again.
    let _ = tokio::time::timeout(LET_GO_WITHIN, let_go).await;
    try_lock().map_err(|error| {
        trouble(
            format!("it is locked ({error})"),
            "Another agent works with it: stop that one, or use another directory.",
        )
    })?;
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_agent_waits_for_an_earlier_one_that_ends_and_for_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let first = take_state_dir(dir.path()).await.unwrap();
        let refused = take_state_dir(dir.path()).await.unwrap_err().to_string();
        assert!(refused.contains("Another agent works with it"), "{refused}");
        let (second, ()) = tokio::join!(take_state_dir(dir.path()), async {
            tokio::time::sleep(LET_GO_WITHIN / 2).await;
            drop(first);
        });
        second.unwrap();
    }

    #[test]
    fn the_state_of_an_older_version_is_passed_over_and_that_of_a_newer_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.json");
        std::fs::write(&path, r#"{"version": 1, "boot_id": "a", "guests": [["x", {"order": {}}]]}"#).unwrap();
        assert_eq!(read(&path, "a", 1).unwrap().servers().count(), 0);
        let newer =
            r#"{"version": 99, "boot_id": "a", "incarnation": null, "applied_upto": 0, "guests": []}"#;
        std::fs::write(&path, newer).unwrap();
        assert!(read(&path, "a", 1).unwrap_err().to_string().contains("format 99"));
    }
}
