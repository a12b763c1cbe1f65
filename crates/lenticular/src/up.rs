//! A whole cloud in one process: the control plane, and this machine or simulated ones as its hosts.

use crate::{
    config::{self, OvnServerConfig},
    control_plane::{self, Options},
    data::{write_private, DataDir},
    inside::Inside,
    logging, ovn, own_host, NetworkKind, UpArgs,
};
use anyhow::Result;
use lenticular_agent::{Config, Link, OvnConfig, Physical, SimKnobs, SimNet};
use lenticular_model::network::network::EXTERNAL_PHYSICAL_NETWORK;
use std::{
    io::Write,
    net::Ipv4Addr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{signal, SignalKind},
    sync::watch,
    task::JoinSet,
};

/// How long agents have to end after the order to stop.
const AGENT_GRACE: Duration = Duration::from_secs(5);

/// Runs until it is told to stop.
///
/// # Errors
/// It cannot start, or the store was lost.
pub fn run(data: &Path, args: &UpArgs) -> Result<()> {
    logging::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(up(data, args))
}

#[allow(clippy::disallowed_methods, reason = "how long the start took is measured, not decided by")]
async fn up(data: &Path, args: &UpArgs) -> Result<()> {
    let began = Instant::now();
    let data = DataDir::open(data)?;
    let (stop_sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        told_to_stop().await;
        let _ = stop_sender.send(true);
    });
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
        start_simulated(&mut agents, args.sim_hosts, &plane.app, &stop);
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

/// Starts OVN's central part, if it is wanted; how this machine takes part in it.
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
    ovn::start(data, &own, &plane.app, plane.epoch)?;
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

/// A machine's own agent configuration.
///
/// # Errors
/// The machine has no name.
pub fn this_machine(state: &Path) -> Result<Config> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    anyhow::ensure!(!name.is_empty(), "this machine has no host name; give it one");
    Ok(Config::new(name, state))
}

fn start_simulated(
    agents: &mut JoinSet<Result<()>>,
    count: usize,
    app: &lenticular_api::App,
    stop: &watch::Receiver<bool>,
) {
    let link: Arc<dyn Link> = Arc::new(Inside(app.clone()));
    let net = Arc::new(SimNet::default());
    for number in 1..=count {
        let config = Config::new(format!("sim-{number:04}"), "");
        let knobs = SimKnobs { seed: number as u64, ..SimKnobs::default() };
        let stopped = stopped(stop.clone());
        let work = lenticular_agent::run_sim(config, knobs, net.clone(), link.clone(), stopped);
        agents.spawn(async move { Ok(work.await?) });
    }
}

/// Comes true when the cloud is told to stop.
pub async fn stopped(mut stop: watch::Receiver<bool>) {
    // A sender that is gone means that nobody can tell any more: the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Comes true on SIGTERM or SIGINT.
pub async fn told_to_stop() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; end the process by force");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
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
    // A terminal that is gone is no reason to stop the cloud.
    let _ = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}
