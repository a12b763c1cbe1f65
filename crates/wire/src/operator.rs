//! The operators' API: what OpenStack's has no words for.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Where a server is, from every side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// When the server's host last made contact.
    pub host_heard_at: Option<String>,
    /// Since when the host is silent.
    pub host_silent_since: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// What leads to its ssh, with the `user` network driver.
    pub ssh_forward: Option<String>,
    /// Hosts it was on before, from the journal: time and host's name.
    pub history: Vec<(String, String)>,
    /// Its move to another host, while it is under way.
    pub moving: Option<MoveView>,
    /// Disks that it left behind.
    pub left_behind: Vec<DiskView>,
}

/// A server's move that is under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveView {
    /// Where to.
    pub to: String,
    /// Nova's status of the migration.
    pub status: String,
    /// What it waits for or does, in words.
    pub step: String,
    /// Bytes of memory and disk that have gone over, and all there are.
    pub bytes: (u64, u64),
    /// How fast the guest writes to its memory, in bytes per second.
    pub dirty_bytes_per_s: u64,
    /// When it will be over at this rate.
    pub expected_end: Option<String>,
    /// When it is given up.
    pub deadline: String,
}

/// A disk that a server left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// Its id.
    pub id: String,
    /// Where it lies.
    pub host: String,
    /// Its generation.
    pub generation: u64,
    /// Until when it is kept; `null` if its host is to remove it.
    pub kept_until: Option<String>,
    /// How it came about.
    pub why: String,
}

/// What a purge of a project is to do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeAsk {
    /// Only tell what there is.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether the project itself stays.
    #[serde(default)]
    pub keep_project: bool,
}

/// A thing of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectThing {
    /// `server`, `network`, …
    pub noun: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it is still there.
    pub why: Option<String>,
}

/// How far a purge of a project is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// The project's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// What was removed now.
    pub removed: Vec<ProjectThing>,
    /// What there is, in the order in which it is to go.
    pub left: Vec<ProjectThing>,
    /// True while the request is in progress: a host has not confirmed that the server is gone, or more than one
    /// request does.
    pub under_way: bool,
}

/// Why a server is where it is, or nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
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
    /// How many of them pass.
    #[serde(default)]
    pub now_passed: usize,
}

/// What every filter says of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostWord {
    /// The host's name.
    pub host: String,
    /// Its weight among those that pass; `None` if it does not.
    pub weight: Option<f64>,
    /// What each weigher adds to that.
    #[serde(default)]
    pub weighers: Vec<WeigherView>,
    /// Each filter, in the order in which they are asked, with why it refuses if it does.
    pub words: Vec<(String, Option<String>)>,
}

/// What a weigher says of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeigherView {
    /// Its name.
    pub name: String,
    /// How much the host has of what it measures.
    pub measured: f64,
    /// What it measures.
    pub unit: String,
    /// What it adds to the host's weight.
    pub adds: f64,
}

/// Hosts that were refused for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// Which hosts.
    pub hosts: Vec<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalLine {
    /// The commit.
    pub seq: u64,
    /// When.
    pub at: String,
    /// Who: a user's id, `host/<name>`, or a part of the control plane.
    pub actor: String,
    /// Who, by name.
    #[serde(default)]
    pub by: String,
    /// On which request; empty if on none.
    pub request_id: String,
    /// What for.
    pub why: String,
    /// What changed.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// Something of a record that changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// What: `status`, `host`, …
    pub what: String,
    /// Before; `None` if there was nothing.
    pub from: Option<String>,
    /// After; `None` if there is nothing.
    pub to: Option<String>,
}

/// A host to be declared off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceAsk {
    /// True if its disks are lost with it.
    pub disks_lost: bool,
    /// True to take the word back.
    pub lift: bool,
    /// The driver that is to switch it off and to see that it is; `null` if the asker's word is enough.
    #[serde(default)]
    pub driver: Option<String>,
}

/// A disk to go back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreAsk {
    /// Its id.
    pub disk: String,
}

/// A request was carried out, and there is nothing more to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nothing {}

/// A host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// `up`, `disabled`, `silent`, `off` or `out of order`.
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
    /// When its certificate ends; `null` for one that needs none.
    #[serde(default)]
    pub certificate_ends: Option<String>,
}

/// All that is known of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostDetail {
    /// What the listing says.
    #[serde(flatten)]
    pub host: HostView,
    /// Where its agent can be found.
    pub address: String,
    /// Where its agent listens for other hosts' agents.
    pub peer_address: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Its CPU.
    pub cpu_model: String,
    /// When the host last made contact.
    pub heard_at: Option<String>,
    /// Who declared it off, when and how.
    pub fence: Option<String>,
    /// The aggregates that it is in.
    pub aggregates: Vec<String>,
    /// The servers that it is to run: id, name, status.
    pub servers_here: Vec<(String, String, String)>,
    /// The servers that are on their way to it: id, name.
    pub coming: Vec<(String, String)>,
    /// Disks that were left behind on the host: the disk, its server, and its future.
    pub left_behind: Vec<(String, String, String)>,
}

/// A token for a host is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolAsk {
    /// The only host name that the token is valid for; `null` for any unused name.
    #[serde(default)]
    pub name: Option<String>,
    /// How long it can be used, in seconds.
    pub valid_for_s: i64,
    /// Whether a host of that name is replaced.
    #[serde(default)]
    pub replace: bool,
}

/// A token for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolToken {
    /// The token.
    pub token: String,
    /// Until when it can be used.
    pub expires_at: String,
    /// Where the host is to join.
    pub join: String,
    /// The only name that it is good for.
    pub name: Option<String>,
}

/// A request to retire a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetireAsk {
    /// Whether it is lost, with the disks of the servers there.
    #[serde(default)]
    pub force: bool,
}

/// A host was retired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetiredView {
    /// Its name.
    pub name: String,
    /// Ids of servers that lost their disks with it.
    pub lost: Vec<String>,
}
