//! What can be done with projects: emptying one in an order that works.

use crate::{
    CloudArgs,
    client::{self, Client},
    cloud,
    table::{Screen, Table, always},
};
use anyhow::{Result, bail};
use clap::Subcommand;
use lenticular_wire::operator::{ProjectThing, PurgeAsk, Purged};
use std::{
    io::Write,
    time::{Duration, Instant},
};

/// The pause between two questions whether servers are gone.
const PAUSE: Duration = Duration::from_millis(300);

/// The commands for projects.
#[derive(Debug, Clone, Subcommand)]
pub enum ProjectCommand {
    /// Removes all resources of a project, and the project: servers, networks, routers, images and all others.
    Purge {
        /// Its id, or its name if no other has it.
        project: String,
        /// Only lists the resources, in the order of their removal.
        #[arg(long)]
        dry_run: bool,
        /// Keeps the project itself, empty.
        #[arg(long)]
        keep_project: bool,
        /// How many seconds to wait for hosts to confirm that servers are gone.
        #[arg(long, default_value_t = 600)]
        wait: u64,
    },
}

/// Carries out a command on a project.
///
/// # Errors
/// The cloud cannot be reached, or refuses, or a resource of the project cannot be removed.
pub fn project(command: &ProjectCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let ProjectCommand::Purge { project, dry_run, keep_project, wait } = command;
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    let path = format!("/operator/v1/projects/{}/purge", client::escape(project));
    let ask = PurgeAsk { dry_run: *dry_run, keep_project: *keep_project };
    if *dry_run {
        return things(&client.post::<Purged>(&path, &ask)?.left, &mut screen);
    }
    let until = Instant::now() + Duration::from_secs(*wait);
    let state = loop {
        let state = client.post::<Purged>(&path, &ask)?;
        for gone in &state.removed {
            screen.line(&format!("removed {} {} {}", gone.noun, gone.id, gone.name))?;
        }
        if state.left.is_empty() || (!state.under_way && state.removed.is_empty()) || Instant::now() > until {
            break state;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "hosts tell the cloud, not this, that servers are gone"
        )]
        std::thread::sleep(PAUSE);
    };
    if !state.left.is_empty() {
        left(&state.left, &mut screen)?;
        bail!("{} things of project {} are left, for the reasons above", state.left.len(), state.id);
    }
    if *keep_project {
        return screen.line(&format!("project {} is empty", state.name));
    }
    client.delete(&format!("/identity/v3/projects/{}", state.id))?;
    screen.line(&format!("removed project {} {}", state.id, state.name))
}

/// Prints resources in the order of their removal.
fn things<W: Write>(things: &[ProjectThing], screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::new(&[always("what"), always("id"), always("name")]);
    for thing in things {
        table.row([&thing.noun, &thing.id, &thing.name]);
    }
    table.print(screen)
}

/// Prints the remaining resources with reasons. The reasons are long and name ids, so each resource has lines and
/// not a row.
fn left<W: Write>(things: &[ProjectThing], screen: &mut Screen<W>) -> Result<()> {
    for thing in things {
        let why = thing.why.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        screen.line(&format!("left {} {} {}{why}", thing.noun, thing.id, thing.name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing(noun: &str, id: &str, name: &str, why: Option<&str>) -> ProjectThing {
        let why = why.map(str::to_owned);
        ProjectThing { noun: noun.to_owned(), id: id.to_owned(), name: name.to_owned(), why }
    }

    #[test]
    fn what_a_project_has_is_listed() {
        let all = [
            thing("server", "11e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31", "web-1", None),
            thing("floating IP", "22e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31", "203.0.113.17", None),
        ];
        insta::assert_snapshot!("a_dry_run", Screen::printed(|screen| things(&all, screen)));
        let all = [
            thing(
                "server",
                "11e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31",
                "web-1",
                Some("Its host has not confirmed yet that it is gone."),
            ),
            thing(
                "security group",
                "22e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31",
                "default",
                Some("Security Group 22e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31 in use."),
            ),
        ];
        insta::assert_snapshot!("what_is_left", Screen::printed(|screen| super::left(&all, screen)));
    }
}
