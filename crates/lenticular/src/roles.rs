//! The control plane and an agent, each in a process of its own.

use crate::{
    config::{self, AgentConfig, ServerConfig},
    control_plane::{self, Options},
    data::{write_private, DataDir},
    logging,
    up::{read_secret, stopped, this_machine, told_to_stop},
};
use anyhow::Result;
use lenticular_agent::HttpLink;
use std::{path::Path, sync::Arc};
use tokio::sync::watch;

fn runtime() -> Result<tokio::runtime::Runtime> {
    logging::start();
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

fn stop_on_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        told_to_stop().await;
        let _ = sender.send(true);
    });
    receiver
}

/// Runs a control plane until it is told to stop.
///
/// # Errors
/// It cannot start, or the store was lost.
pub fn server(path: &Path) -> Result<()> {
    let config: ServerConfig = config::read(path)?;
    runtime()?.block_on(async {
        let stop = stop_on_signal();
        let data = DataDir::open(&config.data)?;
        let options = Options {
            data: &data,
            listen: config.listen,
            public_url: config.public_url.as_deref(),
            store: config.store.as_deref(),
        };
        let plane = control_plane::start(&options).await?;
        write_private(&data.path("lenticular.pid"), &format!("{}\n", std::process::id()))?;
        tracing::info!(url = plane.url, "the control plane is up");
        let served = plane.serve(stop).await;
        let _ = std::fs::remove_file(data.path("lenticular.pid"));
        served
    })
}

/// Runs a host's agent until it is told to stop; guests run on.
///
/// # Errors
/// It cannot start.
pub fn agent(path: &Path) -> Result<()> {
    let config: AgentConfig = config::read(path)?;
    let link = HttpLink::new(&config.control_plane, &read_secret(&config.secret_file)?)?;
    let mut host = this_machine(&config.state)?;
    host.host_name = config.name.unwrap_or(host.host_name);
    host.zone = config.zone;
    runtime()?.block_on(async {
        let stop = stop_on_signal();
        lenticular_agent::run_qemu(host, Arc::new(link), None, stopped(stop)).await?;
        Ok(())
    })
}
