//! Steps of plans for hosts: one host's way through actions, such as an upgrade and a reboot. A host has at most one step, in
//! one plan.
//!
//! ```text
//!              no guest is in the way          no action is left          nothing speaks against it    all guests go on
//!  Emptying ──────────────────────────▶ Acting ─────────────────▶ Proving ─────────────────────────▶ Waking ──────▶ over
//!     ▲                                   │
//!     └───────────────────────────────────┘ an action is left; or halted, and resumed by an operator
//! ```
//!
//! - The host takes no servers from the first commit to the end of its step.
//! - Whether the host has booted is judged by its boot id, whatever the action says. Whether all succeeded is judged by what the
//!   host is afterwards.
//! - Proving → Proving: an operator resumed the plan.
//! - A step that is over leaves State and stays in the store (`past_host_step`).

use super::plan_step::Rest;
use crate::{
    HostId, PlanId, Timestamp,
    error::{Error, Result},
    host::{
        action::{REBOOT, is_action_name},
        host::Host,
        version::Range,
    },
    record,
};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// A host that boots should be back after so long, in seconds.
pub const BACK_WITHIN_S: i64 = 900;
/// A host that is back should have proved itself after so long, in seconds.
pub const PROVEN_WITHIN_S: i64 = 600;

/// An action that is not the reboot should begin after so long, in seconds.
pub const BEGUN_WITHIN_S: i64 = 600;

/// What becomes of a host's guests meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Guests {
    /// They move to other hosts, and stay there.
    Move,
    /// Their memory is saved on the host's disk, and they go on afterwards.
    Suspend,
    /// They are shut down, and started afterwards.
    Stop,
    /// They run on: no action boots the host.
    Stay,
}

impl Guests {
    /// The value with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [("move", Self::Move), ("suspend", Self::Suspend), ("stop", Self::Stop), ("stay", Self::Stay)]
            .into_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// How a guest rests on its host; `None` if guests move away, or run on.
    pub fn rest(self) -> Option<Rest> {
        match self {
            Self::Move | Self::Stay => None,
            Self::Suspend => Some(Rest::Suspend),
            Self::Stop => Some(Rest::Stop),
        }
    }
}

/// What a host should be after its actions: a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expect {
    /// The version's name, such as `kernel`.
    pub name: String,
    /// Which versions are right.
    pub versions: Range,
}

impl Expect {
    /// True if the host is so.
    pub fn is_met(&self, host: &Host) -> bool {
        let version = host.versions.get(&self.name);
        version.is_some_and(|version| self.versions.contains(host.package_format, version))
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.versions)
    }
}

impl FromStr for Expect {
    type Err = Error;

    /// Reads `kernel=6.1.119-1`, or `kernel=>=6.1.119-1`.
    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: String| Error::invalid(format!("'{text}' is nothing to expect of a host: {why}"));
        let (name, versions) = text
            .split_once('=')
            .ok_or_else(|| wrong("write NAME=VERSION, such as kernel=6.1.119-1.".to_owned()))?;
        if !is_action_name(name) {
            return Err(wrong(format!("'{name}' is no name of a version, such as kernel or agent.")));
        }
        let versions = versions.parse().map_err(|error: Error| wrong(error.message.into_owned()))?;
        Ok(Self { name: name.to_owned(), versions })
    }
}

/// What a host carries out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What becomes of its guests.
    pub guests: Guests,
    /// The actions' names, in their order.
    pub actions: Vec<String>,
    /// What the host should be afterwards; `None` if that is not said.
    #[serde(default)]
    pub expect: Option<Expect>,
}

impl Act {
    /// A reboot.
    pub fn reboot(guests: Guests) -> Self {
        Self { guests, actions: vec![REBOOT.to_owned()], expect: None }
    }

    /// True if the host boots.
    pub fn boots(&self) -> bool {
        self.actions.iter().any(|action| action == REBOOT)
    }
}

/// The stage of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Stage {
    /// Its guests leave it, or are brought to rest on it.
    Emptying,
    /// It runs an action.
    Acting {
        /// The action's name.
        name: String,
        /// The number of the action's order.
        number: u64,
        /// When it should have begun, or be back.
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
    /// The stage in a word or two.
    pub fn text(&self) -> String {
        match self {
            Self::Emptying => "emptying".to_owned(),
            Self::Acting { name, .. } if name == REBOOT => "booting".to_owned(),
            Self::Acting { name, .. } => format!("running {name}"),
            Self::Proving { .. } => "proving itself".to_owned(),
            Self::Waking => "waking guests".to_owned(),
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
    /// What a plan expects to change: the version's name, and the version; `None` if it expects nothing, or the host does not
    /// say the version.
    #[serde(default)]
    pub version: Option<(String, String)>,
}

record! {
    /// A step of a plan for a host. Its id is the host's.
    pub struct HostStep: HostId {
        /// The plan.
        pub plan_id: PlanId,
        /// What it carries out.
        pub act: Act,
        /// How many of the actions are over.
        pub acted: usize,
        /// The stage.
        pub stage: Stage,
        /// When the stage began.
        pub since: Timestamp,
        /// What the host was before its first action by this plan.
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
