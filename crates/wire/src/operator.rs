//! The operators' API: what OpenStack's has no words for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a server is, from every side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Where {
    /// The server's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Nova's status word.
    pub status: String,
    /// What is wanted of its guest.
    pub wanted: String,
    /// The host that may run it.
    pub host: Option<String>,
    /// The generation of its disk.
    pub disk_generation: u64,
    /// Whether its host last saw the guest running.
    pub powered: bool,
    /// When its host was last heard of.
    pub host_heard_at: Option<String>,
    /// Since when the host is silent.
    pub host_silent_since: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What leads to its ssh, with the `user` network driver.
    pub ssh_forward: Option<String>,
    /// Hosts it was on before, from the journal: time and host's name.
    pub history: Vec<(String, String)>,
}

/// Why a server is where it is, or nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The server's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The host chosen.
    pub chosen: Option<String>,
    /// Hosts that passed, best first, with their weight.
    pub accepted: Vec<(String, f64)>,
    /// How many passed.
    pub accepted_count: usize,
    /// Hosts that were refused: filter, reason, hosts; of many only a few.
    pub refused: Vec<Refusal>,
    /// How many hosts each filter refused.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
    /// What every filter says of hosts if the server were placed now; of many hosts only the first.
    #[serde(default)]
    pub now: Vec<HostWord>,
    /// How many hosts there are now.
    #[serde(default)]
    pub now_count: usize,
}

/// What every filter says of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostWord {
    /// The host's name.
    pub host: String,
    /// Its weight among those that pass; `None` if it does not.
    pub weight: Option<f64>,
    /// Each filter, in the order in which they are asked, with why it refuses if it does.
    pub words: Vec<(String, Option<String>)>,
}

/// Hosts that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// Which hosts.
    pub hosts: Vec<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalLine {
    /// The commit.
    pub seq: u64,
    /// When.
    pub at: String,
    /// Who.
    pub actor: String,
    /// On which request.
    pub request_id: String,
    /// What for.
    pub why: String,
}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// `up`, `disabled`, `silent` or `out of order`.
    pub state: String,
    /// More on that.
    pub reason: Option<String>,
    /// How it runs guests.
    pub hypervisor: String,
    /// Virtual CPUs taken and to give.
    pub vcpus: (u64, u64),
    /// MiB of memory taken and there.
    pub memory_mb: (u64, u64),
    /// GiB of disk taken and there.
    pub disk_gb: (u64, u64),
    /// Servers there.
    pub servers: u64,
}
