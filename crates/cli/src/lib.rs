//! The operator's command line: its commands, and the output of answers. It only speaks HTTP.

mod client;
mod cloud;
mod disk;
mod enrol;
mod explain;
mod host;
mod journal;
mod plain;
mod plan;
mod project;
mod rule;
mod server;
mod status;
mod table;
mod unsuccessful;

pub use disk::DiskCommand;
pub use enrol::EnrolCommand;
pub use host::{HostCommand, host};
pub use plain::{Plain, plain};
pub use plan::{PlanCommand, StartArgs, WhichArgs, freeze, move_servers, plan};
pub use project::{ProjectCommand, project};
pub use rule::{RuleCommand, rule};
pub use server::{ServerCommand, server};
pub use status::status;
pub use unsuccessful::Unsuccessful;

use clap::Args;
use std::path::PathBuf;

/// The cloud to ask.
#[derive(Debug, Clone, Args)]
pub struct CloudArgs {
    /// The entry of clouds.yaml (OS_CLOUD; else `lenticular`).
    #[arg(long, global = true)]
    pub os_cloud: Option<String>,
    /// The data directory; its clouds.yaml is read if no other names the cloud.
    #[arg(long, global = true, default_value = default_data())]
    pub data: PathBuf,
}

/// The default data directory of a cloud.
pub fn default_data() -> &'static str {
    "./data"
}
