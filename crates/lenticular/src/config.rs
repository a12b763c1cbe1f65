//! The configuration of a control plane or an agent that runs alone, as TOML.

use crate::fence_command::FenceCommand;
use anyhow::{Context, Result};
use serde::{de::DeserializeOwned, Deserialize};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// A control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// The data directory.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to listen for agents.
    #[serde(default = "default_agent_listen")]
    pub agent_listen: SocketAddr,
    /// Names and addresses by which agents reach it, beside the address that they come to.
    #[serde(default)]
    pub agent_names: Vec<String>,
    /// The URL that clients are told.
    #[serde(default)]
    pub public_url: Option<String>,
    /// A PostgreSQL connection string; without it the store is an SQLite file in the data directory.
    #[serde(default)]
    pub store: Option<String>,
    /// What switches hosts off, by the name that `lenticular host fence --by` uses.
    #[serde(default)]
    pub fencing: BTreeMap<String, FenceCommand>,
}

/// A host's agent. All of it can be said on the command line, too.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// Where the control plane takes agents (https://ADDR:PORT); known from the last time if not said.
    #[arg(long)]
    #[serde(default)]
    pub join: Option<String>,
    /// The token to join with, from `lenticular host enrol`. Not needed once the host has joined.
    #[arg(long)]
    #[serde(default)]
    pub token: Option<String>,
    /// Where guests, bases, the host's identity and the agent's own state are kept.
    #[arg(long)]
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// The host's name; the machine's own if not said.
    #[arg(long)]
    #[serde(default)]
    pub name: Option<String>,
    /// The availability zone of a new host.
    #[arg(long)]
    #[serde(default)]
    pub zone: Option<String>,
    /// Where to listen for other hosts' agents (ADDR:PORT); the address by which this host reaches the control plane if
    /// not said. Guests come and go by it.
    #[arg(long)]
    #[serde(default)]
    pub peer_listen: Option<SocketAddr>,
}

impl AgentConfig {
    /// What is said here, and the rest as `other` has it.
    pub fn or(self, other: Self) -> Self {
        Self {
            join: self.join.or(other.join),
            token: self.token.or(other.token),
            state: self.state.or(other.state),
            name: self.name.or(other.name),
            zone: self.zone.or(other.zone),
            peer_listen: self.peer_listen.or(other.peer_listen),
        }
    }
}

/// Where agents are listened for unless it is said.
pub fn default_agent_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9171))
}

/// Reads a configuration.
///
/// # Errors
/// It cannot be read, or has an unknown or missing field, which is named.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
}
