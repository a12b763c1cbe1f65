//! The operator's command line: what it can be asked, and how answers are printed. It speaks HTTP and nothing else.

mod client;
mod cloud;
mod show;

use anyhow::Result;
use clap::{Args, Subcommand};
use client::Client;
use lenticular_wire::operator::{Explanation, HostView, JournalLine, Where};
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
    /// Everything that ever changed a server: who, when, on which request.
    Journal {
        /// Its id, or its name if no other has it.
        server: String,
    },
}

/// What can be asked about hosts.
#[derive(Debug, Clone, Subcommand)]
pub enum HostCommand {
    /// All hosts: what each has, what is taken, and whether it may take more.
    List,
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
        ServerCommand::Journal { server } => {
            show::journal(&client.get::<Vec<JournalLine>>(&get(server, "journal"))?, out)
        }
    }
}

/// Answers a question about hosts.
///
/// # Errors
/// The cloud cannot be reached, or refuses.
pub fn host(command: &HostCommand, cloud: &CloudArgs, out: &mut impl Write) -> Result<()> {
    let client = Client::login(&cloud::find(cloud)?)?;
    match command {
        HostCommand::List => show::hosts(&client.get::<Vec<HostView>>("/operator/v1/hosts")?, out),
    }
}
