//! A host's agent: carries out the control plane's orders for guests, and reports their state.
//!
//! [`core`] decides, [`driver`] acts, the runtime connects both with the control plane by a [`Link`].
//!
//! Architecture invariant: the agent decides no policy. It starts, stops and removes guests only on orders, and
//! neither its own end nor the control plane's end affects a running guest.

#![warn(unreachable_pub)]

mod check;
mod config_drive;
pub mod core;
pub mod daemon;
pub mod driver;
mod endpoint;
mod exec;
mod file_body;
mod files;
mod held;
mod http_link;
pub mod identity;
mod iso;
mod link;
mod machine;
mod metadata;
mod packages;
pub mod peer;
mod peer_tls;
mod power_off;
mod runtime;
mod software;
#[cfg(test)]
mod testing;
mod version;

pub use check::{
    plugin::Plugin,
    repository::{Repository, SnapshotSource},
};
pub use driver::{
    ovn_net::{OvnConfig, Physical, end_own_switch, end_switch},
    sim::{Knob, SimKnobs, SimNet},
};
pub use http_link::HttpLink;
pub use identity::{Clock, Identity, IdentityError, Joining, join};
pub use link::{Call, Chunks, Link, LinkError};
pub use packages::digest;
pub use peer_tls::TlsTransport;
pub use power_off::power_off;
pub use runtime::{AgentError, action::HostAction};

use driver::{
    Drivers, Network, migrator::QemuMigrator, ovn_net::OvnNetwork, qcow2::Qcow2Disks, qemu::Qemu,
    sim::SimHost, user_fence, user_net::UserNetwork,
};
use lenticular_model::host::host::Capacity;
use peer::Transport;
use runtime::{Runtime, take_state_dir};
use std::{collections::BTreeMap, future::Future, path::PathBuf, sync::Arc, time::Duration};

/// The agent's configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host's name, unique in the cloud.
    pub host_name: String,
    /// The host's address, for operators.
    pub address: String,
    /// The availability zone of a new host.
    pub zone: String,
    /// The directory of state, bases and guests.
    pub state_dir: PathBuf,
    /// The host's capacity; `None` to detect it.
    pub capacity: Option<Capacity>,
    /// Memory reserved for the host itself, in MiB, if the capacity is detected.
    pub reserved_memory_mb: u64,
    /// How many guests are prepared or started at once.
    pub parallel_max: usize,
    /// How long a guest has to shut down before it is ended.
    pub shutdown_grace: Duration,
    /// For tests: the agent dies after this many steps, before it records the result of the last step. So after a
    /// restart it does that step twice.
    pub dies_after_steps: Option<u64>,
    /// The checks by plugins, by their names.
    pub checks: BTreeMap<String, Plugin>,
    /// The actions that the control plane may order, by their names.
    pub actions: BTreeMap<String, HostAction>,
    /// Where the host says which snapshot of the repositories it installs from, if it does.
    pub repository: Option<Repository>,
    /// A digest of the agent's configuration file; empty without one.
    pub digest: String,
    /// A file with versions of software that only the operator knows; it need not exist.
    pub facts_file: PathBuf,
    /// How the host takes part in OVN; QEMU's user networking without it.
    pub ovn: Option<OvnConfig>,
}

impl Config {
    /// The default configuration for this host name and state directory.
    pub fn new(host_name: impl Into<String>, state_dir: impl Into<PathBuf>) -> Self {
        let state_dir = state_dir.into();
        Self {
            host_name: host_name.into(),
            address: "127.0.0.1".to_owned(),
            zone: lenticular_model::host::host::DEFAULT_ZONE.to_owned(),
            checks: BTreeMap::new(),
            actions: BTreeMap::new(),
            repository: None,
            digest: String::new(),
            facts_file: state_dir.join("facts.json"),
            state_dir,
            capacity: None,
            reserved_memory_mb: 512,
            parallel_max: 4,
            shutdown_grace: Duration::from_secs(60),
            dies_after_steps: None,
            ovn: None,
        }
    }
}

/// Works as a host that runs guests with QEMU, until `shutdown` resolves. Guests continue to run. Without a
/// transport to other hosts, no guest moves.
///
/// # Errors
/// The state directory cannot be used, or the running guests cannot be found. A missing QEMU is no error: the
/// host's registration says so, and each start fails with the reason.
pub async fn run_qemu(
    config: Config,
    link: Arc<dyn Link>,
    transport: Option<Arc<dyn Transport>>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let _lock = take_state_dir(&config.state_dir).await?;
    let unusable = |error: std::io::Error| AgentError::State {
        path: config.state_dir.display().to_string(),
        why: error.to_string(),
        remedy: "Let the agent's user write there.",
    };
    let disks = Arc::new(Qcow2Disks::new(&config.state_dir).map_err(unusable)?);
    let hypervisor = Arc::new(Qemu::new(&config.state_dir, config.shutdown_grace).map_err(unusable)?);
    let (migrator, releases) = QemuMigrator::new(hypervisor.clone(), disks.clone(), transport);
    let moves = migrator.clone();
    let network: Arc<dyn Network> = match &config.ovn {
        Some(ovn) => {
            let started =
                OvnNetwork::start(&config.state_dir, &config.host_name, ovn.clone(), link.clone()).await;
            Arc::new(started.map_err(AgentError::Network)?)
        }
        None => {
            user_fence::put_up(&config.state_dir).await;
            Arc::new(UserNetwork)
        }
    };
    let drivers = Drivers { hypervisor, disks, network, moves };
    let state_file = config.state_dir.join("agent.json");
    let boot_id = version::boot_id(&config.facts_file);
    let runtime = Runtime::open(config, link, drivers, releases, boot_id, Some(state_file)).await?;
    tokio::select! {
        () = runtime.run(shutdown) => {}
        () = migrator.serve() => {}
    }
    Ok(())
}

/// Works as a simulated host, which saves nothing, until `shutdown` resolves.
///
/// # Errors
/// None known for a simulated host.
pub async fn run_sim(
    config: Config,
    knobs: SimKnobs,
    net: Arc<SimNet>,
    link: Arc<dyn Link>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let (host, releases) = SimHost::new(config.host_name.clone(), knobs, net);
    let host = Arc::new(host);
    let drivers =
        Drivers { hypervisor: host.clone(), disks: host.clone(), network: host.clone(), moves: host };
    // Its guests end with this process, so each run counts as another boot of the host.
    let mut boot = [0; 8];
    let _ = getrandom::fill(&mut boot);
    let boot_id = format!("sim-{:016x}", u64::from_le_bytes(boot));
    let config = Config { capacity: Some(config.capacity.unwrap_or(SIM_CAPACITY)), ..config };
    let runtime = Runtime::open(config, link, drivers, releases, boot_id, None).await?;
    runtime.run(shutdown).await;
    Ok(())
}

/// A simulated host's default capacity.
const SIM_CAPACITY: Capacity = Capacity { vcpus: 64, memory_mb: 512 * 1024, disk_gb: 4096 };
