//! The own host of a cloud in one process: it enrols automatically, and works like any other host.

use crate::{clock, stop::stopped};
use anyhow::{Context, Result};
use lenticular_agent::{Config, HttpLink, Identity, Joining, TlsTransport};
use lenticular_api::App;
use lenticular_control::command::host::enrolment::admitted;
use std::{net::SocketAddr, sync::Arc};
use tokio::sync::watch;

/// Works as the cloud's own host until the stop signal; guests continue to run.
///
/// # Errors
/// The host cannot be enrolled, or its state cannot be used.
pub(crate) async fn run(app: App, url: String, config: Config, stop: watch::Receiver<bool>) -> Result<()> {
    let identity = tokio::select! {
        identity = identity(&app, &url, &config) => identity?,
        () = stopped(stop.clone()) => return Ok(()),
    };
    work(config, &url, identity, None, stop).await
}

/// Works as an enrolled host until the stop signal; guests continue to run.
///
/// # Errors
/// The URL is not a control plane's, or the agent cannot start.
pub(crate) async fn work(
    host: Config,
    url: &str,
    identity: Identity,
    peer_listen: Option<SocketAddr>,
    stop: watch::Receiver<bool>,
) -> Result<()> {
    let link = Arc::new(HttpLink::new(url, identity.clone())?);
    let control_plane = url.trim_start_matches("https://").trim_end_matches('/');
    let transport = TlsTransport::open(identity, peer_listen, control_plane)
        .await
        .context("cannot listen for other hosts; say where with --peer-listen")?;
    tokio::select! {
        done = lenticular_agent::run_qemu(host, link.clone(), Some(Arc::new(transport)), stopped(stop)) => Ok(done?),
        () = link.keep_identity() => Ok(()),
    }
}

/// The saved identity, if the cloud still knows it; otherwise a new identity. The user who runs this process owns
/// both the cloud and the host, so no operator has to approve: not after a restore, nor for a data directory from
/// before enrolment.
async fn identity(app: &App, url: &str, config: &Config) -> Result<Identity> {
    match Identity::load(&config.state_dir, clock::clock()) {
        Ok(Some(known)) if is_good(app, &known, &config.host_name) => return Ok(known),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the own host is enrolled anew"),
    }
    let joining = Joining {
        control_plane: url.to_owned(),
        token: app.own_token(&config.host_name).await?,
        host_name: config.host_name.clone(),
    };
    Ok(lenticular_agent::join(&config.state_dir, &joining, clock::clock()).await?)
}

fn is_good(app: &App, known: &Identity, host_name: &str) -> bool {
    let shown = known.certificate();
    let same_ca = known.ca() == app.authority.certificate();
    let admitted = admitted(&app.store.state(), &shown.name, &shown.serial).is_ok();
    shown.name == host_name && same_ca && admitted && known.check_time().is_ok()
}
