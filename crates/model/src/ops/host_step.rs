//! Steps of plans for hosts: one host's way through a reboot. A host has at most one step, in one plan.
//!
//! ```text
//!             no guest runs           another boot id            no line speaks against it    all guests go on
//!  Emptying ─────────────────▶ Acting ──────────────▶ Proving ──────────────────────────▶ Waking ───────────▶ over
//!     ▲                          │                       │
//!     └──────────────────────────┴───────────────────────┘ halted, and resumed by an operator
//! ```
//!
//! - The host takes no servers from the first commit to the end of its step.
//! - Whether an action succeeded is judged by what the host is afterwards: it has booted if its boot id is another one.
//! - A step that is over leaves State and stays in the store (`past_host_step`).

use super::plan_step::Rest;
use crate::{HostId, PlanId, Timestamp, record};
use serde::{Deserialize, Serialize};

/// A host that boots should be back after so long, in seconds.
pub const BACK_WITHIN_S: i64 = 900;
/// A host that is back should have proved itself after so long, in seconds.
pub const PROVEN_WITHIN_S: i64 = 600;

/// What becomes of a host's guests while the host boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guests {
    /// They move to other hosts, and stay there.
    Move,
    /// Their memory is saved on the host's disk, and they go on afterwards.
    Suspend,
    /// They are shut down, and started afterwards.
    Stop,
}

impl Guests {
    /// The value with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [("move", Self::Move), ("suspend", Self::Suspend), ("stop", Self::Stop)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// How a guest rests on its host; `None` if guests move away.
    pub fn rest(self) -> Option<Rest> {
        match self {
            Self::Move => None,
            Self::Suspend => Some(Rest::Suspend),
            Self::Stop => Some(Rest::Stop),
        }
    }
}

/// The stage of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Stage {
    /// Its guests leave it, or are brought to rest on it.
    Emptying,
    /// It runs the action that boots it, and boots.
    Acting {
        /// The number of the action's order.
        number: u64,
        /// When it should be back.
        until: Timestamp,
    },
    /// It is back, and proves that it can run guests.
    Proving {
        /// The number of the check that it makes.
        check: u64,
        /// The number of the canary that it runs; `None` for a host that runs none.
        canary: Option<u64>,
        /// When it should have proved itself.
        until: Timestamp,
    },
    /// The guests that rested on it go on.
    Waking,
}

impl Stage {
    /// The stage as a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Emptying => "emptying",
            Self::Acting { .. } => "booting",
            Self::Proving { .. } => "proving itself",
            Self::Waking => "waking guests",
        }
    }
}

/// What a host was at a time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostWas {
    /// The kernel's boot id.
    pub boot_id: String,
    /// The version of the running kernel.
    pub kernel: String,
}

record! {
    /// A step of a plan for a host. Its id is the host's.
    pub struct HostStep: HostId {
        /// The plan.
        pub plan_id: PlanId,
        /// What becomes of the guests.
        pub guests: Guests,
        /// The stage.
        pub stage: Stage,
        /// When the stage began.
        pub since: Timestamp,
        /// What the host was before its first boot by this plan.
        pub before: HostWas,
    }
}

/// A step for a host that is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastHostStep {
    /// The plan.
    pub plan_id: PlanId,
    /// The host.
    pub host_id: HostId,
    /// Its name.
    pub host_name: String,
    /// When the step began.
    pub begun_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// What the host was before.
    pub before: HostWas,
    /// What it was at the end.
    pub after: HostWas,
    /// The last stage.
    pub stage: Stage,
    /// True if the host went through all stages.
    pub done: bool,
}

impl PastHostStep {
    /// The key of the step of a plan for a host.
    pub fn key(plan: &PlanId, host: HostId) -> String {
        format!("{plan}/{host}")
    }
}
