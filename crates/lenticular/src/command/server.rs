//! `lenticular server --config`: the control plane, in a process without hosts.

use crate::{
    config::{self, ServerConfig},
    control_plane::{self, Options},
    data::{DataDir, write_private},
    ovn, runtime, stop,
};
use anyhow::Result;
use std::path::Path;

/// Runs a control plane until the stop signal.
///
/// # Errors
/// The control plane cannot start, or the store was lost.
pub(crate) fn run(path: &Path) -> Result<()> {
    let config: ServerConfig = config::read(path)?;
    runtime::run(async {
        let stop = stop::on_signal();
        let data = DataDir::open(&config.data)?;
        let options = Options {
            data: &data,
            listen: config.listen,
            agent_listen: config.agent_listen,
            agent_names: &config.agent_names,
            public_url: config.public_url.as_deref(),
            store: config.store.as_deref(),
            fencing: config.fencing.clone(),
            settings: config.settings.clone(),
        };
        let plane = control_plane::start(&options).await?;
        if let Some(ovn) = &config.ovn {
            ovn::start(&data, ovn, &plane.app)?;
        }
        write_private(&data.path("lenticular.pid"), &format!("{}\n", std::process::id()))?;
        tracing::info!(url = plane.url, agents = plane.agent_url, "the control plane is up");
        let served = plane.serve(stop).await;
        let _ = std::fs::remove_file(data.path("lenticular.pid"));
        served
    })
}
