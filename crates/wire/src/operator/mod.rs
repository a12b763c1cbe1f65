//! The operators' API, for functions that OpenStack's APIs do not have.

mod plan;
mod readiness;

pub use plan::{
    HostStepView, LimitsAsk, PaceView, PlanAsk, PlanStepView, PlanView, ReasonAsk, ResumeAsk, SkipAsk,
};

pub use readiness::{
    AdmitAsk, ClosedFor, ClosedHost, CordonAsk, EnforceAsk, LabelAsk, OverrideAsk, OverrideView,
    ReadinessLine, RuleAsk, RuleEffects, RuleView, StatusView,
};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// A server's place: its record, its host's report and its history.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Where {
    /// The server's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Nova's status word.
    pub status: String,
    /// The wanted state of its guest.
    pub wanted: String,
    /// The host that may run it.
    pub host: Option<String>,
    /// The generation of its disk.
    pub disk_generation: u64,
    /// Whether its host last saw the guest running.
    pub powered: bool,
    /// When the server's host last made contact.
    pub host_heard_at: Option<String>,
    /// When the host became silent.
    pub host_silent_since: Option<String>,
    /// Its addresses.
    pub addresses: Vec<String>,
    /// The way to its ssh, with the `user` network driver.
    pub ssh_forward: Option<String>,
    /// Earlier hosts, from the journal: time and host's name.
    pub history: Vec<(String, String)>,
    /// Its move to another host, while in progress.
    pub moving: Option<MoveView>,
    /// Disks that it left behind.
    pub left_behind: Vec<DiskView>,
}

/// A server's move in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MoveView {
    /// The target host.
    pub to: String,
    /// Nova's status of the migration.
    pub status: String,
    /// The current step, in words.
    pub step: String,
    /// Transferred bytes of memory and disk, and the total.
    pub bytes: (u64, u64),
    /// How fast the guest writes to its memory, in bytes per second.
    pub dirty_bytes_per_s: u64,
    /// The expected end at this rate.
    pub expected_end: Option<String>,
    /// When the move is given up.
    pub deadline: String,
}

/// A disk that a server left behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DiskView {
    /// What the guest had it for: `root`, `ephemeral` or `swap`.
    pub kind: String,
    /// Its id.
    pub id: String,
    /// Its host.
    pub host: String,
    /// Its generation.
    pub generation: u64,
    /// How long it is kept; `null` if its host must remove it.
    pub kept_until: Option<String>,
    /// Why it was left behind.
    pub why: String,
}

/// A request to purge a project.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PurgeAsk {
    /// True to list the resources only.
    #[serde(default)]
    pub dry_run: bool,
    /// True to keep the project itself.
    #[serde(default)]
    pub keep_project: bool,
}

/// A resource of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectThing {
    /// `server`, `network`, …
    pub noun: String,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Why it still exists.
    pub why: Option<String>,
}

/// The progress of a project's purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Purged {
    /// The project's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The resources that this request removed.
    pub removed: Vec<ProjectThing>,
    /// The remaining resources, in the order of their removal.
    pub left: Vec<ProjectThing>,
    /// True while the purge is in progress: a host has not confirmed a removal, or more requests are needed.
    pub under_way: bool,
}

/// Why a server is on its host, or on none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The server's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The chosen host.
    pub chosen: Option<String>,
    /// Accepted hosts, best first, with their weight.
    pub accepted: Vec<(String, f64)>,
    /// The number of accepted hosts.
    pub accepted_count: usize,
    /// Refused hosts: filter, reason, hosts. If there are many, only some are listed.
    pub refused: Vec<Refusal>,
    /// How many hosts each filter refused.
    #[serde(default)]
    pub counts: BTreeMap<String, usize>,
    /// The filters' results if the server were placed now; of many hosts only the first are listed.
    #[serde(default)]
    pub now: Vec<HostWord>,
    /// The number of hosts now.
    #[serde(default)]
    pub now_count: usize,
    /// The number of hosts that pass now.
    #[serde(default)]
    pub now_passed: usize,
}

/// All filters' results for a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostWord {
    /// The host's name.
    pub host: String,
    /// Its weight if it passes; otherwise `null`.
    pub weight: Option<f64>,
    /// The part of each weigher in the weight.
    #[serde(default)]
    pub weighers: Vec<WeigherView>,
    /// Each filter, in the order of the checks, with the reason if it refuses.
    pub words: Vec<(String, Option<String>)>,
}

/// A weigher's result for a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WeigherView {
    /// Its name.
    pub name: String,
    /// The measured value.
    pub measured: f64,
    /// The unit of the value.
    pub unit: String,
    /// The weigher's part in the host's weight.
    pub adds: f64,
}

/// Hosts that one filter refused for one reason.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    /// The filter that refused.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// The hosts.
    pub hosts: Vec<String>,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JournalLine {
    /// The commit.
    pub seq: u64,
    /// The time.
    pub at: String,
    /// The actor: a user's id, `host/<name>`, or a part of the control plane.
    pub actor: String,
    /// The actor's name.
    #[serde(default)]
    pub by: String,
    /// The request's id; empty without a request.
    pub request_id: String,
    /// The reason.
    pub why: String,
    /// The changes.
    #[serde(default)]
    pub changes: Vec<Change>,
}

/// A changed field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// The field: `status`, `host`, …
    pub what: String,
    /// The value before; `null` if there was none.
    pub from: Option<String>,
    /// The value after; `null` if there is none.
    pub to: Option<String>,
}

/// A request to declare a host off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FenceAsk {
    /// True if the host's disks are lost.
    pub disks_lost: bool,
    /// True to withdraw the declaration.
    pub lift: bool,
    /// The driver that must switch the host off and check it; `null` if the operator's declaration is enough.
    #[serde(default)]
    pub driver: Option<String>,
}

/// A request to go back to a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreAsk {
    /// The disk's id.
    pub disk: String,
}

/// The answer to a successful request without a result.
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
    /// `up`, `not ready`, `disabled`, `silent`, `off` or `out of order`.
    pub state: String,
    /// The reason for the state.
    pub reason: Option<String>,
    /// Its hypervisor.
    pub hypervisor: String,
    /// Used and available virtual CPUs.
    pub vcpus: (u64, u64),
    /// Used and total MiB of memory.
    pub memory_mb: (u64, u64),
    /// Used and total GiB of disk.
    pub disk_gb: (u64, u64),
    /// The number of servers on the host.
    pub servers: u64,
    /// When its certificate expires; `null` for a host without a certificate.
    #[serde(default)]
    pub certificate_ends: Option<String>,
}

/// The details of a host.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HostDetail {
    /// The host as in the list.
    #[serde(flatten)]
    pub host: HostView,
    /// Its address.
    pub address: String,
    /// Where its agent listens for other hosts' agents.
    pub peer_address: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The release of the running kernel.
    pub kernel: String,
    /// The release of the host's agent.
    pub agent: String,
    /// The version of the agent protocol that the agent speaks.
    pub protocol: u32,
    /// The versions of software on the host, by their names.
    #[serde(default)]
    pub versions: BTreeMap<String, String>,
    /// Its packages; `null` if its agent does not say.
    #[serde(default)]
    pub packages: Option<PackagesView>,
    /// What operators say about it: `rack`, `power`, anything.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// When it proved itself, and how; `null` if it has not, as it is now.
    #[serde(default)]
    pub admitted: Option<String>,
    /// What speaks against the host.
    #[serde(default)]
    pub readiness: Vec<ReadinessLine>,
    /// The last results of the host's checks: the check, what is wrong (`null`: it passed), and since when.
    pub checks: Vec<(String, Option<String>, String)>,
    /// How many checks operators asked for.
    pub checks_asked: u64,
    /// The last of those that the host carried out.
    pub checks_done: u64,
    /// How many canaries the host was told to run.
    #[serde(default)]
    pub canaries_asked: u64,
    /// The last canary that ended.
    #[serde(default)]
    pub canaries_ended: u64,
    /// The last canary that the host passed.
    #[serde(default)]
    pub canaries_passed: u64,
    /// The actions that its own configuration allows.
    #[serde(default)]
    pub actions: Vec<String>,
    /// The last action that was ordered: its name, how it stands, and the end of its output.
    #[serde(default)]
    pub last_action: Option<(String, String, String)>,
    /// Its CPU.
    pub cpu_model: String,
    /// When the host last made contact.
    pub heard_at: Option<String>,
    /// Who declared it off, when and how.
    pub fence: Option<String>,
    /// Its aggregates.
    pub aggregates: Vec<String>,
    /// Servers of this host: id, name, status.
    pub servers_here: Vec<(String, String, String)>,
    /// Servers on their way to this host: id, name.
    pub coming: Vec<(String, String)>,
    /// Disks that were left behind on the host: the disk, its server, and its future.
    pub left_behind: Vec<(String, String, String)>,
}

/// All packages of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PackagesView {
    /// Hosts with the same digest have the same packages.
    pub digest: String,
    /// How many are installed.
    pub installed: u32,
    /// How many have an update; `null` if the host does not know.
    pub updates: Option<u32>,
    /// How many of the updates are for security.
    pub security_updates: Option<u32>,
}

/// A request for a token that enrols a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolAsk {
    /// The only host name that the token is valid for; `null` for any unused name.
    #[serde(default)]
    pub name: Option<String>,
    /// How long the token is valid, in seconds.
    pub valid_for_s: i64,
    /// Whether the host replaces an earlier host of that name.
    #[serde(default)]
    pub replace: bool,
}

/// A token for a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EnrolToken {
    /// The token.
    pub token: String,
    /// When the token expires.
    pub expires_at: String,
    /// The URL that the host joins at.
    pub join: String,
    /// The only host name that the token is valid for.
    pub name: Option<String>,
}

/// A request to retire a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetireAsk {
    /// True if the host is lost, with its servers' disks.
    #[serde(default)]
    pub force: bool,
}

/// The answer to a host's retirement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RetiredView {
    /// The host's name.
    pub name: String,
    /// Ids of servers that lost their disks with the host.
    pub lost: Vec<String>,
}
