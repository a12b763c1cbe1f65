//! The registration of a host, which begins a session.

use lenticular_model::{
    HostId, Incarnation,
    host::{evidence::Evidence, fact::Facts, observation::Observation},
};
use serde::{Deserialize, Serialize};

/// An agent introduces its host: at its start, and whenever the control plane does not know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registration {
    /// The agent's protocol version.
    pub version: u32,
    /// The host's name, unique in the cloud.
    pub host_name: String,
    /// The availability zone of a new host.
    pub zone: String,
    /// All facts of the host.
    pub facts: Facts,
    /// The results of all its checks.
    #[serde(default)]
    pub evidence: Vec<Evidence>,
    /// The incarnation of the store that the host has entered; `None` if none. Before a host enters the current
    /// incarnation, its observations may follow orders of another, and are ignored. The answer names the current
    /// incarnation, and the agent registers again.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The last commit of that incarnation with applied orders. A store that has not reached this commit is an
    /// older copy of itself.
    #[serde(default)]
    pub applied_upto: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Every guest on the host.
    pub inventory: Vec<Observation>,
}

/// The control plane's answer to a registration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The host's id.
    pub host_id: HostId,
    /// The incarnation of the store that answers. Its orders must not be mixed with another's.
    pub incarnation: Incarnation,
    /// The new session, which polls and reports must name. It ends with the next registration, or with the
    /// control plane's process.
    pub session: u64,
}
