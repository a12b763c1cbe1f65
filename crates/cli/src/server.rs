//! Servers: `lenticular server`, and where a server is.

use crate::{
    CloudArgs,
    client::{Client, escape},
    cloud,
    disk::{self, DiskCommand},
    explain::{self, ExplainArgs},
    journal::{self, JournalArgs},
    table::{Screen, Table},
};
use anyhow::Result;
use clap::Subcommand;
use lenticular_wire::operator::{Explanation, JournalLine, Where};
use std::io::Write;

/// The commands for servers.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// Shows a server's host, whether the server runs there, and its earlier hosts.
    Where {
        /// Its id, or its name if no other has it.
        server: String,
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Shows for each host why the scheduler chose or refused it, then and now.
    Explain(ExplainArgs),
    /// Lists the disks that a server left behind, and goes back to an older disk.
    Disk {
        /// What to do.
        #[command(subcommand)]
        command: DiskCommand,
    },
    /// Shows when a server changed, who changed it, and what changed.
    Journal(JournalArgs),
}

/// Answers a question about a server.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn server(command: &ServerCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let mut screen = Screen::new(out);
    let path = |server: &str, what: &str| format!("/operator/v1/servers/{}/{what}", escape(server));
    match command {
        ServerCommand::Where { server, json } => {
            let whereabouts = client.get::<Where>(&path(server, "where"))?;
            match json {
                true => screen.json(&whereabouts),
                false => show(&whereabouts, &mut screen),
            }
        }
        ServerCommand::Explain(args) => {
            let host = args.host.as_ref().map(|name| format!("&host={}", escape(name)));
            let query = format!("explain?hosts={}{}", args.hosts, host.unwrap_or_default());
            let explanation = client.get::<Explanation>(&path(&args.server, &query))?;
            match args.json {
                true => screen.json(&explanation),
                false => explain::show(&explanation, args, &mut screen),
            }
        }
        ServerCommand::Disk { command } => disk::disk(command, &client, &mut screen),
        ServerCommand::Journal(args) => {
            let lines = client.get::<Vec<JournalLine>>(&path(&args.server, "journal"))?;
            match args.json {
                true => screen.json(&lines),
                false => journal::show(&lines, args.all, &mut screen),
            }
        }
    }
}

fn show<W: Write>(w: &Where, screen: &mut Screen<W>) -> Result<()> {
    let mut table = Table::pairs();
    table.row(["server", &format!("{} ({})", w.name, w.id)]);
    table.row(["status", &format!("{}, wanted {}", w.status, w.wanted)]);
    table.row(["assigned to", w.host.as_deref().unwrap_or("-")]);
    table.row(["runs there", if w.powered { "yes, when last seen" } else { "no, when last seen" }]);
    table.row(["host last heard of", w.host_heard_at.as_deref().unwrap_or("-")]);
    if let Some(since) = &w.host_silent_since {
        table.row(["host silent since", since]);
    }
    table.row(["disk generation", &w.disk_generation.to_string()]);
    table.row(["addresses", &w.addresses.join(" ")]);
    if let Some(forward) = &w.ssh_forward {
        let (host, port) = forward.rsplit_once(':').unwrap_or((forward, "22"));
        table.row(["ssh", &format!("ssh -p {port} lenticular@{host}")]);
    }
    if let Some(m) = &w.moving {
        table.row(["moving to", &format!("{} ({}): {}", m.to, m.status, m.step)]);
        let (done, all, dirty) = (m.bytes.0 >> 20, m.bytes.1 >> 20, m.dirty_bytes_per_s >> 20);
        let end = m.expected_end.as_ref().map(|end| format!(", done at {end}")).unwrap_or_default();
        table.row(["progress", &format!("{done} of {all} MiB, guest rewrites {dirty} MiB/s{end}")]);
        table.row(["given up at", &m.deadline]);
    }
    for disk in &w.left_behind {
        let fate = disk.kept_until.as_ref().map_or("to be removed".to_owned(), |t| format!("kept until {t}"));
        let what = format!("{}, generation {}, {fate} ({})", disk.host, disk.generation, disk.why);
        table.row(["disk left on", &what]);
    }
    for (until, host) in &w.history {
        table.row([&format!("until {until}"), host]);
    }
    table.print(screen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_wire::operator::{DiskView, MoveView};

    #[test]
    fn whereabouts_are_a_table() {
        let still = Where {
            id: "11e4a1f0-6b1c-4c53-9f7d-2d5a8c0b9e31".to_owned(),
            name: "web-1".to_owned(),
            status: "ACTIVE".to_owned(),
            wanted: "running".to_owned(),
            host: Some("rack-1-host-07".to_owned()),
            disk_generation: 3,
            powered: true,
            host_heard_at: Some("2026-11-30T10:00:03Z".to_owned()),
            host_silent_since: None,
            addresses: vec!["10.0.0.17".to_owned(), "fd00:10::f816:3eff:fe1d:5a7c".to_owned()],
            ssh_forward: Some("127.0.0.1:40022".to_owned()),
            history: vec![("2026-11-29T22:10:41Z".to_owned(), "rack-2-host-11".to_owned())],
            moving: None,
            left_behind: Vec::new(),
        };
        insta::assert_snapshot!("a_server_that_runs", Screen::printed(|screen| show(&still, screen)));
        let moves = Where {
            status: "MIGRATING".to_owned(),
            host_silent_since: Some("2026-11-30T10:00:40Z".to_owned()),
            ssh_forward: None,
            moving: Some(MoveView {
                to: "rack-1-host-08".to_owned(),
                status: "running".to_owned(),
                step: "the guest's memory is copied while it runs".to_owned(),
                bytes: (3_221_225_472, 9_663_676_416),
                dirty_bytes_per_s: 52_428_800,
                expected_end: Some("2026-11-30T10:01:12Z".to_owned()),
                deadline: "2026-11-30T10:30:00Z".to_owned(),
            }),
            left_behind: vec![DiskView {
                kind: "root".to_owned(),
                id: "5b9c7a0e-3f61-4b0c-9d0e-8a6f1c2b4d5e".to_owned(),
                host: "rack-2-host-11".to_owned(),
                generation: 2,
                kept_until: Some("2026-12-07T09:15:22Z".to_owned()),
                why: "evacuated from a host that was declared off".to_owned(),
            }],
            ..still
        };
        insta::assert_snapshot!("a_server_that_moves", Screen::printed(|screen| show(&moves, screen)));
    }
}
