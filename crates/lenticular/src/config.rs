//! The configuration of a separate control plane or agent, as TOML.

use crate::host::fence::FenceCommand;
use anyhow::{Context, Result};
use ipnet::IpNet;
use lenticular_agent::{HostAction, OvnConfig, Plugin, Repository, SnapshotSource};
use lenticular_api::Settings;
use lenticular_model::host::action::{ACTIONS_MAX, is_action_name};
use lenticular_ovn::ovsdb::Tls;
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// The network driver of guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NetworkKind {
    /// Open Virtual Network.
    Ovn,
    /// QEMU's user networking.
    User,
}

/// A control plane.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ServerConfig {
    /// The data directory.
    pub data: PathBuf,
    /// The address for clients.
    pub listen: SocketAddr,
    /// The address for agents.
    #[serde(default = "default_agent_listen")]
    pub agent_listen: SocketAddr,
    /// Names and addresses that agents use for the control plane, beside the address that they connect to.
    #[serde(default)]
    pub agent_names: Vec<String>,
    /// The URL that clients get.
    #[serde(default)]
    pub public_url: Option<String>,
    /// A PostgreSQL connection string; without it the store is an SQLite file in the data directory.
    #[serde(default)]
    pub store: Option<String>,
    /// OVN; without it, hosts connect guests by themselves.
    #[serde(default)]
    pub ovn: Option<OvnServerConfig>,
    /// The fencing drivers, by the name for `lenticular host fence --by`.
    #[serde(default)]
    pub fencing: BTreeMap<String, FenceCommand>,
    /// Limits and rules; docs/operate/settings.md has them all.
    #[serde(default)]
    pub settings: Settings,
}

/// The control plane's side of OVN.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OvnServerConfig {
    /// The northbound database of another operator (`ssl:ADDRESS:PORT`, the members of a cluster with commas). By
    /// default the control plane runs both databases and northd itself, in its data directory.
    #[serde(default)]
    pub northbound: Option<String>,
    /// The cloud's certificate for these databases, and their CA.
    #[serde(default)]
    pub northbound_tls: Option<TlsFiles>,
    /// The address of the cloud's southbound database for hosts, which show the certificates from their enrolment.
    #[serde(default)]
    pub southbound_listen: Option<SocketAddr>,
}

/// PEM files for TLS.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The private key.
    pub key: PathBuf,
    /// Its certificate.
    pub certificate: PathBuf,
    /// The CA of the other side.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read or used; the error names it.
    pub(crate) fn read(&self) -> Result<Tls> {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
        };
        Tls::new(&read(&self.key)?, &read(&self.certificate)?, &read(&self.ca)?).context("northbound_tls")
    }
}

/// A host's agent. All settings also exist on the command line.
#[derive(Debug, Clone, Default, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub(crate) struct AgentConfig {
    /// The control plane's URL for agents (https://ADDR:PORT); by default the URL of the last start.
    #[arg(long)]
    #[serde(default)]
    pub join: Option<String>,
    /// The token to join with, from `lenticular host enrol`. Not needed once the host has joined.
    #[arg(long)]
    #[serde(default)]
    pub token: Option<String>,
    /// The directory of guests, bases, the host's identity and the agent's own state.
    #[arg(long)]
    #[serde(default)]
    pub state: Option<PathBuf>,
    /// The host's name; by default the machine's name.
    #[arg(long)]
    #[serde(default)]
    pub name: Option<String>,
    /// The availability zone of a new host.
    #[arg(long)]
    #[serde(default)]
    pub zone: Option<String>,
    /// The address for other hosts' agents (ADDR:PORT); by default the address that this host uses towards the
    /// control plane. Guests move through it.
    #[arg(long)]
    #[serde(default)]
    pub peer_listen: Option<SocketAddr>,
    /// OVN's southbound database (ssl:ADDRESS:PORT, unix:PATH): this host connects guests by OVN. Needs root.
    #[arg(long)]
    #[serde(default)]
    pub ovn_southbound: Option<String>,
    /// The CA (PEM) of a southbound database that the cloud does not serve itself.
    #[arg(long)]
    #[serde(default)]
    pub ovn_southbound_ca: Option<PathBuf>,
    /// This host's address for other hosts' tunnels.
    #[arg(long)]
    #[serde(default)]
    pub ovn_encap_ip: Option<IpAddr>,
    /// The device for tunnels and its address (DEVICE=ADDRESS/PREFIX), if the switch should have the device.
    #[arg(long)]
    #[serde(default)]
    pub ovn_underlay: Option<String>,
    /// A physical network that this host reaches: NAME=DEVICE, or NAME=ADDRESS/PREFIX for a network that ends at
    /// this host. May be repeated.
    #[arg(long)]
    #[serde(default)]
    pub ovn_physical: Vec<String>,
    /// Checks by plugins, by their names.
    #[arg(skip)]
    #[serde(default)]
    pub checks: BTreeMap<String, CheckConfig>,
    /// Actions that the control plane may order, by their names.
    #[arg(skip)]
    #[serde(default)]
    pub actions: BTreeMap<String, ActionConfig>,
    /// Where the host says which snapshot of the repositories it installs from.
    #[arg(skip)]
    #[serde(default)]
    pub repository: Option<RepositoryConfig>,
}

/// Where a host says which snapshot of the repositories it installs from: a file or a program.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RepositoryConfig {
    /// The file.
    #[serde(default)]
    snapshot_file: Option<PathBuf>,
    /// The program and its arguments.
    #[serde(default)]
    snapshot_command: Option<Vec<String>>,
    /// A snapshot that is as many days old is a warning.
    #[serde(default = "thirty_days")]
    warn_days: i64,
}

fn thirty_days() -> i64 {
    30
}

/// A check by a plugin with Nagios's interface.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckConfig {
    /// The program and its arguments.
    command: Vec<String>,
    /// How often it runs, in seconds.
    #[serde(default = "every_minute")]
    every_s: u64,
    /// When it is ended, in seconds.
    #[serde(default = "ten_seconds")]
    timeout_s: u64,
}

/// An action: a program that the control plane may order by its name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ActionConfig {
    /// The program and its arguments.
    command: Vec<String>,
    /// When it is ended, in seconds.
    #[serde(default = "ten_minutes")]
    timeout_s: u64,
}

fn ten_minutes() -> u64 {
    600
}

fn every_minute() -> u64 {
    60
}

fn ten_seconds() -> u64 {
    10
}

impl AgentConfig {
    /// These settings; missing ones are taken from `other`.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            join: self.join.or(other.join),
            token: self.token.or(other.token),
            state: self.state.or(other.state),
            name: self.name.or(other.name),
            zone: self.zone.or(other.zone),
            peer_listen: self.peer_listen.or(other.peer_listen),
            ovn_southbound: self.ovn_southbound.or(other.ovn_southbound),
            ovn_southbound_ca: self.ovn_southbound_ca.or(other.ovn_southbound_ca),
            ovn_encap_ip: self.ovn_encap_ip.or(other.ovn_encap_ip),
            ovn_underlay: self.ovn_underlay.or(other.ovn_underlay),
            repository: self.repository.or(other.repository),
            checks: if self.checks.is_empty() { other.checks } else { self.checks },
            actions: if self.actions.is_empty() { other.actions } else { self.actions },
            ovn_physical: if self.ovn_physical.is_empty() { other.ovn_physical } else { self.ovn_physical },
        }
    }
}

/// The names of the checks that every host makes.
const OWN_CHECKS: &[&str] = &[
    "hypervisor",
    "network",
    "disk",
    "mounts",
    "reboot",
    "clock",
    "updates",
    "repository",
    "bridge",
    "tunnels",
    "guests",
    "canary",
];

impl AgentConfig {
    /// The checks by plugins.
    ///
    /// # Errors
    /// A check has an impossible name, no command, or impossible times; the error names it.
    pub(crate) fn plugins(&self) -> Result<BTreeMap<String, Plugin>> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let plugin = |(name, check): (&String, &CheckConfig)| {
            let CheckConfig { command, every_s, timeout_s } = check;
            anyhow::ensure!(
                (1..=64).contains(&name.len())
                    && name.chars().all(fits)
                    && !OWN_CHECKS.contains(&name.as_str()),
                "a check cannot be called '{name}': take 1 to 64 letters, digits, hyphens, underscores and dots, and no \
                 name of {}",
                OWN_CHECKS.join(", ")
            );
            anyhow::ensure!(
                !command.is_empty(),
                "the check {name} needs a command: command = [\"PROGRAM\", ...]"
            );
            anyhow::ensure!(
                (5..=86_400).contains(every_s) && (1..=3_600).contains(timeout_s),
                "the check {name} needs every_s of 5 to 86400 and timeout_s of 1 to 3600"
            );
            let (every, deadline) = (Duration::from_secs(*every_s), Duration::from_secs(*timeout_s));
            Ok((name.clone(), Plugin { command: command.clone(), every, deadline }))
        };
        self.checks.iter().map(plugin).collect()
    }

    /// The actions that the control plane may order.
    ///
    /// # Errors
    /// An action has an impossible name, no command, or an impossible time; the error names it.
    pub(crate) fn host_actions(&self) -> Result<BTreeMap<String, HostAction>> {
        anyhow::ensure!(self.actions.len() <= ACTIONS_MAX, "a host has at most {ACTIONS_MAX} actions");
        let action = |(name, action): (&String, &ActionConfig)| {
            let ActionConfig { command, timeout_s } = action;
            anyhow::ensure!(
                is_action_name(name),
                "an action cannot be called '{name}': take 1 to 64 letters, digits, hyphens, underscores and dots"
            );
            let has_command = command.first().is_some_and(|program| !program.is_empty());
            anyhow::ensure!(has_command, "the action {name} needs a command: command = [\"PROGRAM\", ...]");
            anyhow::ensure!(
                (1..=86_400).contains(timeout_s),
                "the action {name} needs a timeout_s of 1 to 86400"
            );
            let deadline = Duration::from_secs(*timeout_s);
            Ok((name.clone(), HostAction { command: command.clone(), deadline }))
        };
        self.actions.iter().map(action).collect()
    }

    /// Where the host says which snapshot of the repositories it installs from, if it does.
    ///
    /// # Errors
    /// Not exactly one of the file and the program is named, or the age makes no sense.
    pub(crate) fn repository(&self) -> Result<Option<Repository>> {
        let Some(RepositoryConfig { snapshot_file, snapshot_command, warn_days }) = self.repository.clone()
        else {
            return Ok(None);
        };
        anyhow::ensure!(
            (1..=3_650).contains(&warn_days),
            "repository.warn_days is 1 to 3650, not {warn_days}"
        );
        let source = match (snapshot_file, snapshot_command) {
            (Some(file), None) => SnapshotSource::File(file),
            (None, Some(command)) if !command.is_empty() => SnapshotSource::Command(command),
            _ => anyhow::bail!(
                "[repository] needs snapshot_file = \"/PATH\" or snapshot_command = [\"PROGRAM\", ...], and not both"
            ),
        };
        Ok(Some(Repository { source, warn_days }))
    }

    /// The host's part in OVN; `None` without OVN.
    ///
    /// # Errors
    /// A setting cannot be read, or settings are missing.
    pub(crate) fn ovn(&self) -> Result<Option<OvnConfig>> {
        let Some(southbound) = self.ovn_southbound.clone() else { return Ok(None) };
        let underlay = self.ovn_underlay.as_deref().map(|text| {
            let (device, address) =
                text.split_once('=').context("--ovn-underlay is DEVICE=ADDRESS/PREFIX")?;
            let address: IpNet = address.parse().context("--ovn-underlay is DEVICE=ADDRESS/PREFIX")?;
            anyhow::Ok((device.to_owned(), address))
        });
        let underlay = underlay.transpose()?;
        let encap_ip = self.ovn_encap_ip.or(underlay.as_ref().map(|(_, address)| address.addr()));
        let encap_ip = encap_ip.context("name the address of this host's tunnels with --ovn-encap-ip")?;
        let physical = self.ovn_physical.iter().map(|text| Ok(text.parse()?)).collect::<Result<_>>()?;
        let southbound_ca = self.ovn_southbound_ca.as_ref().map(|path| {
            path.canonicalize()
                .with_context(|| format!("--ovn-southbound-ca: {} cannot be read", path.display()))
        });
        let southbound_ca = southbound_ca.transpose()?;
        Ok(Some(OvnConfig { southbound, southbound_ca, encap_ip, underlay, physical }))
    }
}

/// The default address for agents.
pub(crate) fn default_agent_listen() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 9171))
}

/// Reads a configuration.
///
/// # Errors
/// The file cannot be read, or has an unknown or missing field; the error names the field.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is not a valid configuration", path.display()))
}
