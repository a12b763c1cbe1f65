//! Steps of plans: one server's way to another host, or through its host's reboot. A server has at most one step, in one plan.
//!
//! ```text
//!            its turn                arrived             runs as before
//!  Waiting ────────────▶ Moving ────────────▶ Landed ────────────────▶ over
//!     ▲                    │ failed
//!     └────────────────────┘
//! ```
//!
//! ```text
//!            its turn              stands still         the host is back         runs as before
//!  Waiting ────────────▶ Resting ──────────────▶ Rested ────────────────▶ Waking ───────────────▶ over
//!     ▲                    │ failed                                         │
//!     ├────────────────────┘                                                │
//!     └─────────────────────────────────────────────────────────────────────┘ failed; tried again in a recovery
//! ```
//!
//! - Waiting → over: the server was deleted, or is elsewhere already.
//! - A step that is over leaves State and stays in the store (`past_plan_step`).

use crate::{HostId, MigrationId, PlanId, ProjectId, ServerId, Timestamp, compute::migration::Mode, record};
use serde::{Deserialize, Serialize};
use std::fmt;

/// How a guest rests while its host boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Its memory is saved on the host's disk.
    Suspend,
    /// It is shut down.
    Stop,
}

/// The progress of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum StepState {
    /// The move has not begun.
    Waiting,
    /// The server moves.
    Moving {
        /// The migration.
        migration_id: MigrationId,
        /// The target.
        to: HostId,
        /// How the guest travels.
        mode: Mode,
    },
    /// The server is on the target, which may still have to start the guest.
    Landed {
        /// The target.
        to: HostId,
        /// How the guest travelled.
        mode: Mode,
    },
    /// The guest is brought to rest.
    Resting {
        /// How.
        how: Rest,
    },
    /// The guest rests.
    Rested {
        /// How.
        how: Rest,
    },
    /// The guest is to go on.
    Waking {
        /// How it rested.
        how: Rest,
    },
}

record! {
    /// A step of a plan. Its id is the server's.
    pub struct PlanStep: ServerId {
        /// The plan.
        pub plan_id: PlanId,
        /// Its place in the plan's order.
        pub number: u64,
        /// The host that the server leaves.
        pub from: HostId,
        /// The progress.
        pub state: StepState,
        /// How many moves of the server failed.
        #[serde(default)]
        pub failures: u32,
        /// Why the server's last move failed, or could not begin.
        #[serde(default)]
        pub trouble: Option<String>,
        /// Why an operator had the plan leave the server where it is; `None` if nobody did.
        #[serde(default)]
        pub skipped: Option<String>,
        /// When the next move may begin.
        #[serde(default)]
        pub retry_at: Option<Timestamp>,
        /// When the server's last move began.
        #[serde(default)]
        pub begun_at: Option<Timestamp>,
        /// When the server came to its target.
        #[serde(default)]
        pub arrived_at: Option<Timestamp>,
    }
}

impl PlanStep {
    /// True if it has not begun.
    pub fn is_waiting(&self) -> bool {
        self.state == StepState::Waiting
    }

    /// True if something is done to the server now.
    pub fn is_under_way(&self) -> bool {
        !matches!(self.state, StepState::Waiting | StepState::Rested { .. })
    }

    /// The migration under way.
    pub fn migration(&self) -> Option<MigrationId> {
        match self.state {
            StepState::Moving { migration_id, .. } => Some(migration_id),
            _ => None,
        }
    }

    /// How the guest rests, or goes to rest or on from there; `None` if it does not.
    pub fn rest(&self) -> Option<Rest> {
        match self.state {
            StepState::Resting { how } | StepState::Rested { how } | StepState::Waking { how } => Some(how),
            _ => None,
        }
    }

    /// How the guest travels; `None` before its move.
    pub fn mode(&self) -> Option<Mode> {
        match self.state {
            StepState::Moving { mode, .. } | StepState::Landed { mode, .. } => Some(mode),
            _ => None,
        }
    }

    /// The host that the server goes to.
    pub fn target(&self) -> Option<HostId> {
        match self.state {
            StepState::Moving { to, .. } | StepState::Landed { to, .. } => Some(to),
            _ => None,
        }
    }

    /// The text under which the index has the step: the plan, then the number.
    pub(crate) fn index_text(&self) -> String {
        format!("{}/{:012}", self.plan_id, self.number)
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum StepOutcome {
    /// The server moved, and runs as it did before.
    Moved,
    /// The guest rested, or was down, and goes on.
    Woken {
        /// How it rested.
        how: Rest,
    },
    /// The server moved or was to go on, and is in error.
    Harmed {
        /// The fault.
        why: String,
    },
    /// There was nothing to move any more.
    Gone {
        /// The reason.
        why: String,
    },
    /// An operator had the plan leave it where it was.
    Skipped {
        /// The reason.
        why: String,
    },
    /// The plan ended first.
    Dropped,
}

impl fmt::Display for StepOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moved => f.write_str("moved"),
            Self::Woken { how: Rest::Suspend } => f.write_str("resumed"),
            Self::Woken { how: Rest::Stop } => f.write_str("started"),
            Self::Harmed { why } => write!(f, "in error: {why}"),
            Self::Gone { why } => f.write_str(why),
            Self::Skipped { why } => write!(f, "an operator skipped it: {why}"),
            Self::Dropped => f.write_str("the plan ended first"),
        }
    }
}

/// A step that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastStep {
    /// The plan.
    pub plan_id: PlanId,
    /// Its place in the plan's order.
    pub number: u64,
    /// The server.
    pub server_id: ServerId,
    /// Its name.
    pub server_name: String,
    /// Its project; `None` if the server was gone.
    pub project_id: Option<ProjectId>,
    /// The name of the host that the server left.
    pub from_name: String,
    /// The name of its host at the end; `None` if it had none.
    pub to_name: Option<String>,
    /// How the guest travelled; `None` if it did not.
    pub mode: Option<Mode>,
    /// How many of its moves failed.
    pub failures: u32,
    /// When its last move began.
    pub begun_at: Option<Timestamp>,
    /// When the server came to its target; `None` if it did not.
    pub arrived_at: Option<Timestamp>,
    /// When the step ended.
    pub ended_at: Timestamp,
    /// How.
    pub outcome: StepOutcome,
}

impl PastStep {
    /// The key of the step: the plan, then the number.
    pub fn past_key(&self) -> String {
        format!("{}/{:012}", self.plan_id, self.number)
    }
}
