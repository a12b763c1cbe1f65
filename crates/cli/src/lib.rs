//! The operator's command line: what it can be asked, and how answers are printed. It speaks HTTP and nothing else.

mod client;
mod cloud;
mod plain;
mod project;
mod show;

pub use plain::{plain, Plain};

use anyhow::Result;
use clap::{Args, Subcommand};
use client::Client;
use lenticular_wire::operator::{
    DiskView, EnrolAsk, EnrolToken, Explanation, FenceAsk, HostDetail, HostView, JournalLine, RestoreAsk,
    RetireAsk, RetiredView, Where,
};
pub use project::{project, ProjectCommand};
use std::{io::Write, path::PathBuf};

/// Which cloud is asked.
#[derive(Debug, Clone, Args)]
pub struct CloudArgs {
    /// The entry of clouds.yaml (OS_CLOUD; else `lenticular`).
    #[arg(long, global = true)]
    pub os_cloud: Option<String>,
    /// The data directory whose clouds.yaml is read, if no other is named.
    #[arg(long, global = true, default_value = default_data())]
    pub data: PathBuf,
}

/// The data directory of a cloud that was told no other.
pub fn default_data() -> &'static str {
    "./data"
}

/// What can be asked about servers.
#[derive(Debug, Clone, Subcommand)]
pub enum ServerCommand {
    /// Where a server is, from every side.
    Where {
        /// Its id, or its name if no other has it.
        server: String,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Why a server is where it is, or nowhere; and what every filter says of each host now.
    Explain {
        /// Its id, or its name if no other has it.
        server: String,
        /// Show what every filter says of this host alone.
        #[arg(long)]
        host: Option<String>,
        /// Show what every filter says of so many hosts, the best first.
        #[arg(long, default_value_t = 20)]
        hosts: u64,
    },
    /// The disks that a server left behind, and going back to one.
    Disk {
        /// What to do.
        #[command(subcommand)]
        command: DiskCommand,
    },
    /// Everything that ever changed a server: who, when, on which request.
    Journal {
        /// Its id, or its name if no other has it.
        server: String,
    },
}

/// What can be done with the disks that a server left behind.
#[derive(Debug, Clone, Subcommand)]
pub enum DiskCommand {
    /// Where they lie, and until when they are kept.
    List {
        /// The server's id, or its name if no other has it.
        server: String,
    },
    /// Goes back to one: what the server wrote since is given up. The server must be stopped; what it has now is kept.
    Restore {
        /// The server's id, or its name if no other has it.
        server: String,
        /// The disk's id.
        disk: String,
    },
}

/// What can be asked about hosts, and done to them.
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// All hosts: what each has, what is taken, and whether it may take more.
    List {
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// All that is known of one host: what runs there, what comes, what was left behind.
    Show {
        /// Its name.
        name: String,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Makes a token that lets one host in, once.
    Enrol {
        /// The only name that it is good for; any that no host has, if not said.
        name: Option<String>,
        /// How long it can be used: 90s, 30m, 1h, 2d.
        #[arg(long, default_value = "1h", value_parser = seconds)]
        valid_for: i64,
        /// Let it replace the host of that name, whose certificate ends with that.
        #[arg(long, requires = "name")]
        replace: bool,
        /// Print JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Takes a host out for good: it must have no servers. Its certificate is revoked.
    Retire {
        /// Its name.
        name: String,
        /// It is lost, and the disks of the servers there with it. Only for a host that is silent.
        #[arg(long)]
        force: bool,
    },
    /// Declares a host to be off: it counts as down until that is taken back, and its servers can be evacuated.
    Fence {
        /// Its name.
        name: String,
        /// Its disks are lost with it: its servers can only be made anew from their images. Only for a silent host.
        #[arg(long)]
        disks_lost: bool,
        /// A fencing driver of the control plane's configuration, which switches it off first and makes sure of that.
        #[arg(long, value_name = "DRIVER")]
        by: Option<String>,
    },
    /// Takes the word back that a host is off.
    Unfence {
        /// Its name.
        name: String,
    },
    /// Has a disk removed that was found on a host and that no record explains; a guest that runs on it, too.
    GiveUp {
        /// The disk's id, from `host show`.
        disk: String,
    },
    /// Agents that were refused: who, when and why.
    Refusals,
}

/// Reads a time such as `90s`, `30m`, `1h` or `2d`.
fn seconds(text: &str) -> Result<i64, String> {
    let unit = text.char_indices().next_back().map_or(0, |(at, _)| at);
    let (number, unit) = text.split_at(unit);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 24 * 3_600,
        _ => return Err("it needs a unit: 90s, 30m, 1h, 2d".to_owned()),
    };
    let number: i64 = number.parse().map_err(|_| format!("'{number}' is no number"))?;
    number.checked_mul(unit).filter(|s| *s > 0).ok_or_else(|| "it is out of range".to_owned())
}

/// Answers a question about a server.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn server(command: &ServerCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    let get = |server: &str, what: &str| format!("/operator/v1/servers/{}/{what}", client::escape(server));
    match command {
        ServerCommand::Where { server, json } => {
            let whereabouts = client.get::<Where>(&get(server, "where"))?;
            match json {
                true => Ok(writeln!(out, "{}", serde_json::to_string_pretty(&whereabouts)?)?),
                false => show::whereabouts(&whereabouts, out),
            }
        }
        ServerCommand::Explain { server, host, hosts } => {
            let host = host.as_ref().map(|name| format!("&host={}", client::escape(name)));
            let path = format!("{}?hosts={hosts}{}", get(server, "explain"), host.unwrap_or_default());
            show::explanation(&client.get::<Explanation>(&path)?, out)
        }
        ServerCommand::Disk { command: DiskCommand::List { server } } => {
            show::disks(&client.get::<Where>(&get(server, "where"))?.left_behind, out)
        }
        ServerCommand::Disk { command: DiskCommand::Restore { server, disk } } => {
            let ask = RestoreAsk { disk: disk.clone() };
            show::disks(&client.post::<Vec<DiskView>>(&get(server, "disks/restore"), &ask)?, out)
        }
        ServerCommand::Journal { server } => {
            show::journal(&client.get::<Vec<JournalLine>>(&get(server, "journal"))?, out)
        }
    }
}

fn fence(client: &Client, name: &str, ask: FenceAsk, out: &mut impl Write) -> Result<()> {
    let path = format!("/operator/v1/hosts/{}/fence", client::escape(name));
    show::hosts(&[client.post::<HostView>(&path, &ask)?], out)
}

/// Answers a question about hosts, or does something to one.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn host(command: &HostCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    match command {
        HostCommand::List { json } => {
            let hosts = client.get::<Vec<HostView>>("/operator/v1/hosts")?;
            match json {
                true => Ok(writeln!(out, "{}", serde_json::to_string_pretty(&hosts)?)?),
                false => show::hosts(&hosts, out),
            }
        }
        HostCommand::Enrol { name, valid_for, replace, json } => {
            let ask = EnrolAsk { name: name.clone(), valid_for_s: *valid_for, replace: *replace };
            let made: EnrolToken = client.post("/operator/v1/hosts/enrol", &ask)?;
            match json {
                true => Ok(writeln!(out, "{}", serde_json::to_string_pretty(&made)?)?),
                false => show::token(&made, out),
            }
        }
        HostCommand::Retire { name, force } => {
            let path = format!("/operator/v1/hosts/{}/retire", client::escape(name));
            show::retired(&client.post::<RetiredView>(&path, &RetireAsk { force: *force })?, out)
        }
        HostCommand::Show { name, json } => {
            let path = format!("/operator/v1/hosts/{}", client::escape(name));
            let host = client.get::<HostDetail>(&path)?;
            match json {
                true => Ok(writeln!(out, "{}", serde_json::to_string_pretty(&host)?)?),
                false => show::host(&host, out),
            }
        }
        HostCommand::Fence { name, disks_lost, by } => {
            let ask = FenceAsk { disks_lost: *disks_lost, lift: false, driver: by.clone() };
            fence(&client, name, ask, out)
        }
        HostCommand::Unfence { name } => {
            fence(&client, name, FenceAsk { disks_lost: false, lift: true, driver: None }, out)
        }
        HostCommand::GiveUp { disk } => {
            let path = format!("/operator/v1/disks/{}/give-up", client::escape(disk));
            client.post::<serde_json::Value>(&path, &serde_json::json!({}))?;
            Ok(writeln!(out, "Its host is told to remove it.")?)
        }
        HostCommand::Refusals => {
            show::journal(&client.get::<Vec<JournalLine>>("/operator/v1/refusals")?, out)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2d"), Ok(172_800));
        for bad in ["", "h", "1", "1x", "-1h", "0s", "1ü", "99999999999999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
