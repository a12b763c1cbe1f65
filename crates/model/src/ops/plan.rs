//! Plans: which servers move, rest or are started, how fast, and how far it has come.
//!
//! ```text
//!            start                   nothing is left
//!  (preview) ─────▶ Running ────────────────────────▶ Done
//!                    │   ▲
//!   pause, deadline, │   │ resume
//!   hard limit, harm ▼   │            abort
//!              Paused, Halted ──────────────────────▶ Aborted   (also from Running)
//! ```
//!
//! - Running → Paused: an operator asked for it, or the plan reached its deadline or its hard limit.
//! - Running → Halted: something went wrong that goes on going wrong, or that harms servers.
//! - A plan that does not run begins no move. Moves that are under way end as they would.
//! - A plan that ended leaves State and stays in the store (`past_plan`). Each step does so when it is over.

use super::{
    host_step::{Act, Guests},
    limits::Limits,
};
use crate::{AggregateId, HostId, PlanId, Timestamp, UserId, host::action::REBOOT, record};
use serde::{Deserialize, Serialize};

/// The goal of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Goal {
    /// No server, claim or ticket is left on a host.
    Drain {
        /// The host.
        host_id: HostId,
        /// Its name.
        host_name: String,
    },
    /// A host has carried out actions, such as its reboot, and its servers run as before.
    Act {
        /// The host.
        host_id: HostId,
        /// Its name.
        host_name: String,
        /// What it carries out.
        act: Act,
    },
    /// The servers of a host that are in error, and do not run, are started.
    Recover {
        /// The host.
        host_id: HostId,
        /// Its name.
        host_name: String,
    },
    /// Chosen servers are elsewhere.
    Move {
        /// Which servers, for people: `project web`.
        what: String,
    },
}

/// The phase of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum PlanPhase {
    /// Moves begin as the limits allow.
    Running,
    /// No move begins until somebody resumes the plan.
    Paused {
        /// The reason.
        why: String,
    },
    /// The plan stopped itself. No move begins until somebody resumes the plan.
    Halted {
        /// What happened, and to which server or host.
        why: String,
    },
    /// Nothing is left to do.
    Done,
    /// An operator ended it before that.
    Aborted,
}

impl PlanPhase {
    /// The phase as a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused { .. } => "paused",
            Self::Halted { .. } => "halted",
            Self::Done => "done",
            Self::Aborted => "aborted",
        }
    }

    /// Why it does not run; `None` if it runs or ended.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Paused { why } | Self::Halted { why } => Some(why),
            Self::Running | Self::Done | Self::Aborted => None,
        }
    }
}

record! {
    /// A plan.
    pub struct Plan: PlanId {
        /// The goal.
        pub goal: Goal,
        /// Servers may only go to hosts of this aggregate; `None` for all hosts.
        #[serde(default)]
        pub to: Option<AggregateId>,
        /// That aggregate's name when the plan was started.
        #[serde(default)]
        pub to_name: Option<String>,
        /// The reason, for people; may be empty.
        #[serde(default)]
        pub reason: String,
        /// The operator.
        pub user_id: UserId,
        /// The request that started it.
        pub request_id: String,
        /// The limits.
        pub limits: Limits,
        /// Why the limits are looser than the defaults; `None` if they are not.
        #[serde(default)]
        pub loosened: Option<String>,
        /// When it pauses if it is not done; `None` for never.
        #[serde(default)]
        pub deadline: Option<Timestamp>,
        /// The phase.
        pub phase: PlanPhase,
        /// The number of the last step that was added.
        pub steps: u64,
        /// How many servers moved, and run as they did before.
        #[serde(default)]
        pub moved: u64,
        /// How many guests rested, or were down, and go on.
        #[serde(default)]
        pub woken: u64,
        /// How many servers were deleted, or went away in another way.
        #[serde(default)]
        pub gone: u64,
        /// How many moves began.
        #[serde(default)]
        pub begun: u64,
        /// How many moves failed since the last one that did not.
        #[serde(default)]
        pub failures_in_row: u32,
        /// When the last move began.
        #[serde(default)]
        pub last_begin: Option<Timestamp>,
        /// The source hosts whose first move has begun, in this order.
        #[serde(default)]
        pub begun_hosts: Vec<HostId>,
        /// When the first move of the last of them began.
        #[serde(default)]
        pub last_host_begin: Option<Timestamp>,
    }
}

impl Plan {
    /// True if moves may begin, as far as the plan goes.
    pub fn is_running(&self) -> bool {
        self.phase == PlanPhase::Running
    }

    /// The host that takes no servers while the plan is not over.
    pub fn host(&self) -> Option<HostId> {
        match self.goal {
            Goal::Drain { host_id, .. } | Goal::Act { host_id, .. } => Some(host_id),
            Goal::Recover { .. } | Goal::Move { .. } => None,
        }
    }

    /// The host that servers leave.
    pub fn drained(&self) -> Option<HostId> {
        match self.goal {
            Goal::Drain { host_id, .. }
            | Goal::Act { host_id, act: Act { guests: Guests::Move, .. }, .. } => Some(host_id),
            Goal::Act { .. } | Goal::Recover { .. } | Goal::Move { .. } => None,
        }
    }

    /// The goal as a few words.
    pub fn goal_text(&self) -> String {
        match &self.goal {
            Goal::Drain { host_name, .. } => format!("drain {host_name}"),
            Goal::Act { host_name, act: Act { guests, actions, .. }, .. } => {
                let what = match &actions[..] {
                    [only] if only == REBOOT => format!("reboot {host_name}"),
                    _ => format!("run {} on {host_name}", actions.join(", ")),
                };
                match guests {
                    Guests::Move => format!("{what}, after its servers moved away"),
                    Guests::Suspend => format!("{what}, with its guests suspended"),
                    Guests::Stop => format!("{what}, with its guests stopped"),
                    Guests::Stay => what,
                }
            }
            Goal::Recover { host_name, .. } => format!("recover {host_name}"),
            Goal::Move { what } => format!("move {what}"),
        }
    }

    /// The id of a plan that the commit with this number starts. `what` stands in paths and on command lines.
    pub fn id_of(what: &str, seq: u64) -> PlanId {
        PlanId::from(format!("{what}-{seq}").as_str())
    }

    /// The key of a plan among those that ended, in the order of their start; `None` if no plan has this id.
    pub fn past_key(id: &PlanId) -> Option<String> {
        let (_, seq) = id.as_str().rsplit_once('-')?;
        Some(format!("{:020}/{id}", seq.parse::<u64>().ok()?))
    }
}
