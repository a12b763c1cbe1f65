//! The disks that a server left behind: `lenticular server disk`.

use crate::{
    client::{Client, escape},
    table::{Screen, Table, always, dropped},
};
use anyhow::Result;
use clap::Subcommand;
use lenticular_wire::operator::{DiskView, RestoreAsk, Where};
use std::io::Write;

/// The commands for disks that a server left behind.
#[derive(Debug, Clone, Subcommand)]
pub enum DiskCommand {
    /// Lists the disks, each with its host and the end of its keeping.
    List {
        /// The server's id, or its name if no other has it.
        server: String,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Goes back to an older disk, and gives up what the server wrote since. The server must be stopped. Its present disk
    /// is kept.
    Restore {
        /// The server's id, or its name if no other has it.
        server: String,
        /// The disk's id, from `server disk list`.
        disk: String,
    },
}

/// Lists disks, or goes back to one.
pub fn disk<W: Write>(command: &DiskCommand, client: &Client, screen: &mut Screen<W>) -> Result<()> {
    let path = |server: &str, what: &str| format!("/operator/v1/servers/{}/{what}", escape(server));
    match command {
        DiskCommand::List { server, json } => {
            let left = client.get::<Where>(&path(server, "where"))?.left_behind;
            match json {
                true => screen.json(&left),
                false => show(&left, screen),
            }
        }
        DiskCommand::Restore { server, disk } => {
            let ask = RestoreAsk { disk: disk.clone() };
            show(&client.post::<Vec<DiskView>>(&path(server, "disks/restore"), &ask)?, screen)
        }
    }
}

fn show<W: Write>(disks: &[DiskView], screen: &mut Screen<W>) -> Result<()> {
    let columns = [
        always("disk"),
        dropped(2, "kind"),
        always("host"),
        dropped(1, "generation"),
        always("kept until"),
        always("why"),
    ];
    let mut table = Table::new(&columns);
    for d in disks {
        let kept = d.kept_until.as_deref().unwrap_or("to be removed");
        table.row([&d.id, &d.kind, &d.host, &d.generation.to_string(), kept, &d.why]);
    }
    table.print(screen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_left_behind_are_a_table() {
        let disk = |id: &str, host: &str, generation, kept_until: Option<&str>, why: &str| DiskView {
            kind: "root".to_owned(),
            id: id.to_owned(),
            host: host.to_owned(),
            generation,
            kept_until: kept_until.map(str::to_owned),
            why: why.to_owned(),
        };
        let disks = [
            disk(
                "5b9c7a0e-3f61-4b0c-9d0e-8a6f1c2b4d5e",
                "rack-1-host-07",
                3,
                Some("2026-12-07T09:15:22Z"),
                "evacuated from a host that was declared off",
            ),
            disk("0f3d2c1b-6a5e-4d7c-8b9a-1e2f3a4b5c6d", "rack-2-host-11", 2, None, "moved away"),
        ];
        insta::assert_snapshot!(Screen::printed(|screen| show(&disks, screen)));
    }
}
