//! The binary: what can be asked of it, and which part of the cloud answers.

mod clock;
mod config;
mod control_plane;
mod controllers;
mod data;
mod down;
#[cfg(test)]
mod enrol_tests;
mod exec;
mod fence_command;
mod inside;
mod lab;
mod lab_network;
mod logging;
mod ovn;
mod own_host;
mod roles;
mod southbound;
mod store_command;
mod up;

use anyhow::Result;
use clap::{Parser, Subcommand};
use config::AgentConfig;
use ipnet::IpNet;
use lenticular_cli::{CloudArgs, HostCommand, ProjectCommand, ServerCommand};
use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// Gives memory back: the system's allocator keeps what each of many threads once used for hashing a password.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An IaaS cloud that speaks the OpenStack APIs.
#[derive(Debug, Parser)]
#[command(name = "lenticular", version)]
struct Cli {
    #[command(flatten)]
    cloud: CloudArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole cloud in this process: control plane and agents.
    Up(UpArgs),
    /// Stops the cloud of a data directory, with its guests.
    Down(DownArgs),
    /// Runs the control plane alone (with --config), or answers questions about servers.
    #[command(args_conflicts_with_subcommands = true)]
    Server {
        /// The control plane's configuration.
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(subcommand)]
        command: Option<ServerCommand>,
    },
    /// Runs a host's agent alone.
    Agent {
        /// The agent's configuration; what the command line says comes first.
        #[arg(long)]
        config: Option<PathBuf>,
        #[command(flatten)]
        said: AgentConfig,
    },
    /// Makes, shows and ends a cloud of several hosts on this machine, for development, tests and demonstrations.
    Lab {
        #[command(subcommand)]
        command: lab::LabCommand,
    },
    /// Says what happened to the store.
    Store {
        #[command(subcommand)]
        command: store_command::StoreCommand,
    },
    /// Empties projects.
    Project {
        #[command(subcommand)]
        command: ProjectCommand,
    },
    /// Answers questions about hosts, lets them in and retires them.
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
}

/// How a whole cloud is run.
#[derive(Debug, clap::Args)]
pub struct UpArgs {
    /// Simulated hosts in place of this machine.
    #[arg(long, default_value_t = 0)]
    pub sim_hosts: usize,
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9170")]
    pub listen: SocketAddr,
    /// Where to listen for agents of other hosts; by default on 127.0.0.1, one port above that for clients.
    #[arg(long)]
    pub agent_listen: Option<SocketAddr>,
    /// A name or address by which agents reach this machine, beside the address that they come to. May be repeated.
    #[arg(long = "agent-name", value_name = "NAME")]
    pub agent_names: Vec<String>,
    /// The URL that clients are told, if it is not the address listened on.
    #[arg(long)]
    pub public_url: Option<String>,
    /// A file with limits and rules, in TOML; docs/operate/settings.md has them all.
    #[arg(long)]
    pub settings: Option<PathBuf>,
    /// A PostgreSQL connection string, in place of the SQLite file in the data directory.
    #[arg(long)]
    pub store: Option<String>,
    /// What connects guests: OVN, which needs root, or QEMU's user networking.
    #[arg(long, value_enum, default_value_t = NetworkKind::User)]
    pub network: NetworkKind,
    /// This machine's own address in the external network, with OVN.
    #[arg(long, default_value = "172.24.4.1/24")]
    pub external_address: IpNet,
}

/// What connects guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NetworkKind {
    /// Open Virtual Network.
    Ovn,
    /// QEMU's user networking.
    User,
}

impl UpArgs {
    /// Where to listen for agents. Clouds that stand side by side differ in the clients' port, so in this one, too.
    pub fn agent_listen(&self) -> SocketAddr {
        let port = match self.listen.port() {
            0 => 0,
            port => port.checked_add(1).unwrap_or(0),
        };
        self.agent_listen.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], port)))
    }
}

/// How a cloud is stopped.
#[derive(Debug, clap::Args)]
pub struct DownArgs {
    /// Leave the guests running; the next `up` finds them again.
    #[arg(long)]
    pub keep_guests: bool,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            ExitCode::FAILURE
        }
    }
}

#[allow(clippy::print_stderr, reason = "the one place where a command says why it failed")]
fn say_error(error: &anyhow::Error) {
    eprintln!("lenticular: {}", lenticular_cli::plain(&format!("{error:#}")));
}

fn run(cli: Cli) -> Result<()> {
    if matches!(cli.command, Command::Up(_) | Command::Server { config: Some(_), .. }) {
        lenticular_api::raise_file_limit();
    }
    let mut out = lenticular_cli::Plain::new(std::io::stdout());
    match cli.command {
        Command::Up(args) => up::run(&cli.cloud.data, &args),
        Command::Down(args) => down::run(&cli.cloud.data, &args, &mut out),
        Command::Server { config: Some(config), .. } => roles::server(&config),
        Command::Server { command: Some(command), .. } => {
            lenticular_cli::server(&command, &cli.cloud, &mut out)
        }
        Command::Server { .. } => {
            anyhow::bail!("name a configuration with --config, or a question: where, explain, journal")
        }
        Command::Agent { config, said } => roles::agent(config.as_deref(), said),
        Command::Lab { command } => lab::run(&cli.cloud.data, &command, &mut out),
        Command::Store { command } => store_command::run(&cli.cloud.data, &command, &mut out),
        Command::Project { command } => lenticular_cli::project(&command, &cli.cloud, &mut out),
        Command::Host { command } => lenticular_cli::host(&command, &cli.cloud, &mut out),
    }
}
