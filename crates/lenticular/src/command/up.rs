//! A whole cloud in one process: the control plane, and this machine or simulated ones as its hosts.

use crate::{
    config::{self, NetworkKind, OvnServerConfig},
    control_plane::{self, Options},
    data::{DataDir, write_private},
    host::{in_process_link::InProcessLink, own_host, this_machine},
    ovn, runtime,
    stop::{on_signal, stopped},
};
use anyhow::Result;
use ipnet::IpNet;
use lenticular_agent::{Config, Link, OvnConfig, Physical, SimKnobs, SimNet};
use lenticular_model::network::network::EXTERNAL_PHYSICAL_NETWORK;
use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet};

/// The options of a whole cloud in one process.
#[derive(Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// Simulated hosts in place of this machine.
    #[arg(long, default_value_t = 0)]
    pub sim_hosts: usize,
    /// The address for clients; port 0 means any free port.
    #[arg(long, default_value = "127.0.0.1:9170")]
    pub listen: SocketAddr,
    /// The address for agents of other hosts; by default on 127.0.0.1, one port above the clients' port.
    #[arg(long)]
    pub agent_listen: Option<SocketAddr>,
    /// A name or address that agents use for this machine, beside the address that they connect to. May be
    /// repeated.
    #[arg(long = "agent-name", value_name = "NAME")]
    pub agent_names: Vec<String>,
    /// The URL that clients get, if it differs from the listening address.
    #[arg(long)]
    pub public_url: Option<String>,
    /// A file with limits and rules, in TOML; docs/operate/settings.md has them all.
    #[arg(long)]
    pub settings: Option<PathBuf>,
    /// A PostgreSQL connection string, in place of the SQLite file in the data directory.
    #[arg(long)]
    pub store: Option<String>,
    /// The network driver: OVN, which needs root, or QEMU's user networking.
    #[arg(long, value_enum, default_value_t = NetworkKind::User)]
    pub network: NetworkKind,
    /// This machine's own address in the external network, with OVN.
    #[arg(long, default_value = "172.24.4.1/24")]
    pub external_address: IpNet,
}

impl UpArgs {
    /// The address for agents. Clouds on one machine differ in the clients' port, and so in this port, too.
    pub(crate) fn agent_listen(&self) -> SocketAddr {
        let port = match self.listen.port() {
            0 => 0,
            port => port.checked_add(1).unwrap_or(0),
        };
        self.agent_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// How long agents have to end after the stop signal.
const AGENT_GRACE: Duration = Duration::from_secs(5);

/// Runs a cloud until the stop signal.
///
/// # Errors
/// The cloud cannot start, or the store was lost.
pub(crate) fn run(data: &Path, args: &UpArgs) -> Result<()> {
    runtime::run(up(data, args))
}

async fn up(data: &Path, args: &UpArgs) -> Result<()> {
    let began = Instant::now();
    let data = DataDir::open(data)?;
    let stop = on_signal();
    let options = Options {
        data: &data,
        listen: args.listen,
        agent_listen: args.agent_listen(),
        agent_names: &args.agent_names,
        public_url: args.public_url.as_deref(),
        store: args.store.as_deref(),
        fencing: Default::default(),
        settings: args.settings.as_deref().map(config::read).transpose()?.unwrap_or_default(),
    };
    let plane = control_plane::start(&options).await?;
    let ovn = start_ovn(&data, args, &plane)?;
    write_private(&data.path("lenticular.pid"), &format!("{}\n", std::process::id()))?;
    say(&data, &plane.url, args, began.elapsed());
    let mut agents = JoinSet::new();
    if args.sim_hosts > 0 {
        start_simulated(&mut agents, args.sim_hosts, &data, &plane.app, &stop);
    } else {
        let config = Config { ovn, ..this_machine(&data.path("agent"))? };
        let (app, url) = (plane.app.clone(), plane.local_agent_url.clone());
        agents.spawn(own_host::run(app, url, config, stop.clone()));
    }
    let mut served = tokio::spawn(plane.serve(stop.clone()));
    let result = loop {
        tokio::select! {
            served = &mut served => break served?,
            Some(agent) = agents.join_next() => match agent {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(error = format!("{error:#}"), "the agent ended; the control plane goes on without it"),
                Err(error) => tracing::error!(%error, "the agent failed; the control plane goes on without it"),
            },
        }
    };
    let _ = tokio::time::timeout(AGENT_GRACE, async { while agents.join_next().await.is_some() {} }).await;
    let _ = std::fs::remove_file(data.path("lenticular.pid"));
    result
}

/// Starts OVN's central part, if configured. Returns this machine's part in OVN.
fn start_ovn(
    data: &DataDir,
    args: &UpArgs,
    plane: &control_plane::ControlPlane,
) -> Result<Option<OvnConfig>> {
    if args.network != NetworkKind::Ovn {
        return Ok(None);
    }
    anyhow::ensure!(rustix::process::geteuid().is_root(), "--network ovn needs root");
    let own = OvnServerConfig::default();
    ovn::start(data, &own, &plane.app)?;
    if args.sim_hosts > 0 {
        return Ok(None);
    }
    let socket = ovn::dir(&data.path("")).canonicalize()?.join("sb.sock");
    let external = Physical {
        name: EXTERNAL_PHYSICAL_NETWORK.to_owned(),
        device: None,
        address: Some(args.external_address),
    };
    Ok(Some(OvnConfig {
        southbound: format!("unix:{}", socket.display()),
        southbound_ca: None,
        encap_ip: Ipv4Addr::LOCALHOST.into(),
        underlay: None,
        physical: vec![external],
    }))
}

fn start_simulated(
    agents: &mut JoinSet<Result<()>>,
    count: usize,
    data: &DataDir,
    app: &lenticular_api::App,
    stop: &watch::Receiver<bool>,
) {
    let link: Arc<dyn Link> = Arc::new(InProcessLink(app.clone()));
    let net = Arc::new(SimNet::default());
    for number in 1..=count {
        let name = format!("sim-{number:04}");
        let facts_file = data.path("facts").join(format!("{name}.json"));
        let config = Config { facts_file, ..Config::new(name, "") };
        let knobs = SimKnobs { seed: number as u64, ..SimKnobs::default() };
        let stopped = stopped(stop.clone());
        let work = lenticular_agent::run_sim(config, knobs, net.clone(), link.clone(), stopped);
        agents.spawn(async move { Ok(work.await?) });
    }
}

fn say(data: &DataDir, url: &str, args: &UpArgs, took: Duration) {
    let clouds = data.path("clouds.yaml");
    let hosts = match args.sim_hosts {
        0 => "this machine".to_owned(),
        n => format!("{n} simulated hosts"),
    };
    let text = format!(
        "lenticular is up at {url} on {hosts}, after {} ms.\n\n    export OS_CLIENT_CONFIG_FILE={} \
         OS_CLOUD=lenticular\n    openstack server list\n\n",
        took.as_millis(),
        clouds.display()
    );
    // A closed terminal is no reason to stop the cloud.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}
