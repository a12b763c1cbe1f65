//! Plans: requests for them, and what operators see of them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request for a plan, or for a look at what the plan would do. Exactly one of `drain`, `reboot`, `run`, `recover`,
/// `project`, `aggregate` and `servers` says what it does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanAsk {
    /// Moves all servers of this host. The host takes no servers from then on.
    #[serde(default)]
    pub drain: Option<String>,
    /// Boots this host, and has it prove itself. The host takes no servers until that is over.
    #[serde(default)]
    pub reboot: Option<String>,
    /// Has this host run its own actions, and prove itself. The host takes no servers until that is over.
    #[serde(default)]
    pub run: Option<String>,
    /// The names of the actions that the host runs, in their order; before it boots, if it boots.
    #[serde(default)]
    pub actions: Vec<String>,
    /// What the host should be afterwards, as `kernel=6.1.119-1` or `agent=>=0.2.0`. If it is so already, nothing is done.
    #[serde(default)]
    pub expect: Option<String>,
    /// What becomes of the host's guests: `move` (the default of a reboot), `suspend`, `stop`, or `stay` (the default of a run).
    #[serde(default)]
    pub guests: Option<String>,
    /// Starts the servers of this host that are in error and do not run.
    #[serde(default)]
    pub recover: Option<String>,
    /// Moves the servers of this project, by its name or id.
    #[serde(default)]
    pub project: Option<String>,
    /// Moves the servers on the hosts of this aggregate, by its name.
    #[serde(default)]
    pub aggregate: Option<String>,
    /// Moves these servers, by id or by a name that only one server has.
    #[serde(default)]
    pub servers: Vec<String>,
    /// The aggregate that the servers move to, by its name. A drain and a reboot can do without.
    #[serde(default)]
    pub to: Option<String>,
    /// The reason, for people.
    #[serde(default)]
    pub reason: String,
    /// After so many seconds the plan pauses.
    #[serde(default)]
    pub deadline_s: Option<i64>,
    /// Other limits than the defaults.
    #[serde(default)]
    pub limits: LimitsAsk,
    /// Why the limits are looser than the defaults.
    #[serde(default)]
    pub loosen: Option<String>,
    /// True to see what the plan would do, without starting it.
    #[serde(default)]
    pub dry_run: bool,
    /// True to start a plan although some servers find no host now.
    #[serde(default)]
    pub anyway: bool,
}

/// Limits that differ from the defaults.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LimitsAsk {
    /// The most moves from or to one host at a time (2).
    #[serde(default)]
    pub per_host: Option<u32>,
    /// The most moves from or to hosts with the same label `rack`, or `gateway`, at a time (4).
    #[serde(default)]
    pub per_rack: Option<u32>,
    /// The most moves from or to hosts of one zone at a time (20).
    #[serde(default)]
    pub per_zone: Option<u32>,
    /// From the start of one server's move to the start of the next, in seconds (2).
    #[serde(default)]
    pub between_servers_s: Option<i64>,
    /// From the first move of one host to the first move of the next, in seconds (180).
    #[serde(default)]
    pub between_hosts_s: Option<i64>,
    /// After so many moves the plan pauses.
    #[serde(default)]
    pub hard_limit: Option<u64>,
}

/// A request to pause a plan, or to freeze all plans.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReasonAsk {
    /// The reason, for people.
    pub reason: String,
}

/// A request to resume a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeAsk {
    /// After so many seconds, from now on, the plan pauses again.
    #[serde(default)]
    pub deadline_s: Option<i64>,
    /// After so many moves in all the plan pauses again.
    #[serde(default)]
    pub hard_limit: Option<u64>,
}

/// A request that a plan leaves a server where it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SkipAsk {
    /// The server, by id or by a name that only one server has.
    pub server: String,
    /// The reason, for people. Without one the plan moves the server again.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A plan.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanView {
    /// Its name.
    pub name: String,
    /// What it does: `drain rack-1-host-01`.
    pub goal: String,
    /// The aggregate that the servers move to; `null` for any host.
    pub to: Option<String>,
    /// `preview`, `running`, `frozen`, `paused`, `halted`, `done` or `aborted`.
    pub phase: String,
    /// Why it does not run.
    pub why: Option<String>,
    /// The reason.
    pub reason: String,
    /// The name of the operator who started it.
    pub by: String,
    /// When it was started.
    pub since: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
    /// When it pauses.
    pub deadline: Option<String>,
    /// The limits, as sentences.
    pub limits: Vec<String>,
    /// Why the limits are looser than the defaults.
    pub loosened: Option<String>,
    /// How many servers moved.
    pub moved: u64,
    /// How many guests rested, or were down, and go on.
    #[serde(default)]
    pub woken: u64,
    /// With how many servers something is done now.
    pub under_way: u64,
    /// How many servers wait.
    pub waiting: u64,
    /// How many servers were deleted, or were elsewhere already.
    pub gone: u64,
    /// What else keeps the host from being empty.
    pub claims: Vec<String>,
    /// The pace that was asked for and the pace that was achieved; `null` before the second move.
    pub pace: Option<PaceView>,
    /// The host that it boots; `null` if it boots none.
    #[serde(default)]
    pub host: Option<HostStepView>,
    /// The steps, in their order; empty in a list of plans.
    pub steps: Vec<PlanStepView>,
}

/// What a plan does to a host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostStepView {
    /// The host.
    pub host: String,
    /// `emptying`, `booting`, `running` an action, `proving itself`, `waking guests`, `done`, or `ended` while it was in one of them.
    pub stage: String,
    /// Since when.
    pub since: String,
    /// What the host waits for.
    pub why: Option<String>,
    /// The kernel that it ran before, and its boot id.
    pub before: String,
    /// The kernel that it runs now, or ran at the end, and its boot id.
    pub after: String,
}

/// How fast a plan moved servers, computed from the times of its moves.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PaceView {
    /// The shortest time between the starts of two moves that was asked for, in seconds.
    pub asked_gap_s: i64,
    /// The shortest time between the starts of two moves, in seconds.
    pub shortest_gap_s: f64,
    /// The longest, in seconds.
    pub longest_gap_s: f64,
    /// How many moves began per minute, from the first to the last.
    pub per_minute: f64,
    /// The most moves of the plan that were under way at once.
    pub most_under_way: usize,
}

/// A step of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlanStepView {
    /// Its place.
    pub number: u64,
    /// The server's id.
    pub server: String,
    /// The server's name.
    pub name: String,
    /// The host that the server leaves.
    pub from: String,
    /// The host that it goes to.
    pub to: Option<String>,
    /// `live` or `cold`.
    pub mode: Option<String>,
    /// `waiting`, `moving`, `landed`, `suspending`, `stopping`, `suspended`, `stopped`, `down`, `resuming` or `starting`; at the
    /// end `moved`, `resumed`, `started`, `harmed`, `gone`, `skipped` or `dropped`; in a preview `moves`, `suspends`, `stops`,
    /// `starts`, `waits` or `finds no host`.
    pub state: String,
    /// What holds it back, or how it ended.
    pub why: Option<String>,
    /// When it is tried again, if time has to pass.
    pub next_try: Option<String>,
    /// When its last move began.
    pub begun: Option<String>,
    /// When it ended.
    pub ended: Option<String>,
}
