//! `lenticular agent`: a host's agent, in a process without a control plane.

use crate::{
    clock,
    config::{self, AgentConfig},
    host::{own_host, this_machine},
    runtime,
    stop::{self, stopped},
};
use anyhow::{Context, Result};
use lenticular_agent::{Identity, Joining};
use lenticular_wire::enrol::JoinToken;
use std::path::Path;

/// Runs a host's agent until the stop signal; guests continue to run.
///
/// # Errors
/// The agent has no identity and cannot join, or cannot start.
pub(crate) fn run(file: Option<&Path>, said: AgentConfig) -> Result<()> {
    let (config, digest) = match file {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            (said.or(config::read(path)?), lenticular_agent::digest(&text))
        }
        None => (said, String::new()),
    };
    let state = config.state.clone().context("name the directory for the agent's state with --state")?;
    let mut host = this_machine(&state)?;
    host.zone = config.zone.clone().unwrap_or(host.zone);
    host.ovn = config.ovn()?;
    host.checks = config.plugins()?;
    host.actions = config.host_actions()?;
    host.repository = config.repository()?;
    host.digest = digest;
    host.dies_after_steps = std::env::var("LENTICULAR_DIES_AFTER_STEPS").ok().and_then(|n| n.parse().ok());
    runtime::run(async {
        let stop = stop::on_signal();
        let identity = tokio::select! {
            identity = identity(&config, &state, &host.host_name) => identity?,
            () = stopped(stop.clone()) => return Ok(()),
        };
        host.host_name = identity.host_name();
        let control_plane = config.join.unwrap_or_else(|| identity.control_plane());
        own_host::work(host, &control_plane, identity, config.peer_listen, stop).await
    })
}

/// The host's saved identity, or a new identity for its token.
async fn identity(config: &AgentConfig, state: &Path, machine: &str) -> Result<Identity> {
    let token: Option<JoinToken> = config.token.as_deref().map(str::parse).transpose()?;
    let known = Identity::load(state, clock::clock());
    let usable = match &known {
        // A token that stays in the configuration was used already; a new token means a new enrolment.
        Ok(Some(known)) => token.as_ref().is_none_or(|token| known.is_of_token(token)),
        _ => false,
    };
    let Some(token) = token.filter(|_| !usable) else {
        let known = known?.with_context(|| {
            format!(
                "this host has no identity in {}. Make a token with `lenticular host enrol`, and start the agent with \
                 --join and --token",
                state.display()
            )
        })?;
        let name = known.host_name();
        if let Some(other) = config.name.as_ref().filter(|other| **other != name) {
            anyhow::bail!(
                "this host was enrolled as {name}, not as {other}. Use a token for {other} to rename it"
            );
        }
        known.check_time()?;
        return Ok(known);
    };
    let known = known.ok().flatten();
    let control_plane = config.join.clone().or_else(|| known.as_ref().map(Identity::control_plane));
    let known_name = || known.as_ref().map(Identity::host_name);
    let joining = Joining {
        control_plane: control_plane.context("say where to join with --join https://ADDR:PORT")?,
        token,
        host_name: config.name.clone().or_else(known_name).unwrap_or_else(|| machine.to_owned()),
    };
    Ok(lenticular_agent::join(state, &joining, clock::clock()).await?)
}
