//! The configuration of a control plane or an agent that runs alone, as TOML.

use anyhow::{Context, Result};
use serde::{de::DeserializeOwned, Deserialize};
use std::{
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
    /// The URL that clients are told.
    #[serde(default)]
    pub public_url: Option<String>,
    /// A PostgreSQL connection string; without it the store is an SQLite file in the data directory.
    #[serde(default)]
    pub store: Option<String>,
}

/// A host's agent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AgentConfig {
    /// The control plane's URL.
    pub control_plane: String,
    /// The file with the secret of the control plane's data directory (`agent-secret`).
    pub secret_file: PathBuf,
    /// Where guests, bases and the agent's own state are kept.
    pub state: PathBuf,
    /// The host's name; the machine's own if not said.
    #[serde(default)]
    pub name: Option<String>,
    /// The availability zone of a new host.
    #[serde(default = "default_zone")]
    pub zone: String,
}

fn default_zone() -> String {
    lenticular_model::host::DEFAULT_ZONE.to_owned()
}

/// Reads a configuration.
///
/// # Errors
/// It cannot be read, or has an unknown or missing field, which is named.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
}
