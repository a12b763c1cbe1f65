//! What can be done with projects: emptying one in an order that works.

use crate::{client, client::Client, cloud, show, CloudArgs};
use anyhow::{bail, Result};
use clap::Subcommand;
use lenticular_wire::operator::{PurgeAsk, Purged};
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// How often it is looked whether servers are gone.
const PAUSE: Duration = Duration::from_millis(300);

/// What can be done with projects.
#[derive(Debug, Clone, Subcommand)]
pub enum ProjectCommand {
    /// Removes everything that a project has, and the project: servers, networks, routers, images and all else.
    Purge {
        /// Its id, or its name if no other has it.
        project: String,
        /// Only show what there is, in the order in which it would go.
        #[arg(long)]
        dry_run: bool,
        /// Leave the project itself, empty.
        #[arg(long)]
        keep_project: bool,
        /// How many seconds to wait for hosts to confirm that servers are gone.
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
}

/// Does something with a project.
///
/// # Errors
/// The cloud cannot be reached, or refuses, or something of the project cannot be removed.
pub fn project(command: &ProjectCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let ProjectCommand::Purge { project, dry_run, keep_project, wait } = command;
    let client = Client::login(&cloud::find(cloud)?)?;
    let path = format!("/operator/v1/projects/{}/purge", client::escape(project));
    let ask = PurgeAsk { dry_run: *dry_run, keep_project: *keep_project };
    if *dry_run {
        return show::things(&client.post::<Purged>(&path, &ask)?.left, out);
    }
    let until = Instant::now() + Duration::from_secs(*wait);
    let state = loop {
        let state = client.post::<Purged>(&path, &ask)?;
        for gone in &state.removed {
            writeln!(out, "removed {} {} {}", gone.noun, gone.id, show::printable(&gone.name))?;
        }
        if state.left.is_empty() || (!state.under_way && state.removed.is_empty()) || Instant::now() > until {
            break state;
        }
        #[allow(
            clippy::disallowed_methods,
            reason = "hosts tell the cloud, not this, that servers are gone"
        )]
        std::thread::sleep(PAUSE);
    };
    if !state.left.is_empty() {
        show::things(&state.left, out)?;
        bail!("{} things of project {} are left; the last column says why", state.left.len(), state.id);
    }
    let name = show::printable(&state.name);
    if *keep_project {
        return Ok(writeln!(out, "project {name} is empty")?);
    }
    client.delete(&format!("/identity/v3/projects/{}", state.id))?;
    Ok(writeln!(out, "removed project {} {name}", state.id)?)
}
