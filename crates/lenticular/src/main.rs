//! The binary: what can be asked of it, and which part of the cloud answers.

#![warn(unreachable_pub)]

mod clock;
mod command;
mod config;
mod control_plane;
mod controllers;
mod data;
#[cfg(test)]
mod enrol_tests;
mod exec;
mod host;
mod lab;
mod logging;
mod ovn;
mod process;
mod runtime;
mod stop;

use anyhow::Result;
use clap::{Parser, Subcommand};
use command::{
    agent,
    down::{self, DownArgs},
    server, store,
    up::{self, UpArgs},
};
use config::AgentConfig;
use lenticular_cli::{
    CloudArgs, HostCommand, PlanCommand, ProjectCommand, RuleCommand, ServerCommand, StartArgs, Unsuccessful,
    WhichArgs,
};
use std::{path::PathBuf, process::ExitCode};

/// An allocator that returns memory: the system's allocator keeps the memory that many threads once used for
/// hashing passwords.
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
        /// The agent's configuration. Options of the command line override it.
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
    /// Tells the control plane that its store was restored from a backup.
    Store {
        #[command(subcommand)]
        command: store::StoreCommand,
    },
    /// Empties projects.
    Project {
        #[command(subcommand)]
        command: ProjectCommand,
    },
    /// Shows which hosts take servers, why others do not, and what operators overrule.
    Status {
        /// Prints JSON, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Says which versions hosts must have, or must not have, to take servers.
    Rule {
        #[command(subcommand)]
        command: RuleCommand,
    },
    /// Moves the servers of a project, of an aggregate or of a list to another aggregate, a few at a time.
    Move {
        #[command(flatten)]
        which: WhichArgs,
        #[command(flatten)]
        args: StartArgs,
    },
    /// Shows plans that move servers, pauses, resumes and ends them.
    Plan {
        #[command(subcommand)]
        command: PlanCommand,
    },
    /// Stops all plans at once: no move begins until `lenticular thaw`.
    Freeze {
        /// The reason. It is shown with every plan.
        reason: String,
    },
    /// Ends the freeze of all plans.
    Thaw,
    /// Answers questions about hosts, adds, fences and retires them.
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Somebody has read as much as they wanted: `| head`.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say_error(&error);
            let own = error.downcast_ref::<Unsuccessful>();
            own.map_or(ExitCode::FAILURE, Unsuccessful::exit_code)
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[expect(clippy::print_stderr, reason = "the one place where a command says why it failed")]
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
        Command::Server { config: Some(config), .. } => server::run(&config),
        Command::Server { command: Some(command), .. } => {
            lenticular_cli::server(&command, &cli.cloud, &mut out)
        }
        Command::Server { .. } => {
            anyhow::bail!("name a configuration with --config, or a question: where, explain, journal")
        }
        Command::Agent { config, said } => agent::run(config.as_deref(), said),
        Command::Lab { command } => lab::run(&cli.cloud.data, &command, &mut out),
        Command::Store { command } => store::run(&cli.cloud.data, &command, &mut out),
        Command::Project { command } => lenticular_cli::project(&command, &cli.cloud, &mut out),
        Command::Status { json } => lenticular_cli::status(json, &cli.cloud, &mut out),
        Command::Rule { command } => lenticular_cli::rule(&command, &cli.cloud, &mut out),
        Command::Move { which, args } => lenticular_cli::move_servers(&which, &args, &cli.cloud, &mut out),
        Command::Plan { command } => lenticular_cli::plan(&command, &cli.cloud, &mut out),
        Command::Freeze { reason } => lenticular_cli::freeze(Some(&reason), &cli.cloud, &mut out),
        Command::Thaw => lenticular_cli::freeze(None, &cli.cloud, &mut out),
        Command::Host { command } => lenticular_cli::host(&command, &cli.cloud, &mut out),
    }
}
