//! Migrations: moves of a server's guest and disk from one host to another, and the progress of each move.
//!
//! ```text
//!              target is ready          source has released,
//!              for the guest            or target has accepted       client
//!  Preparing ─────────────────▶ Moving ────────────────────────▶ Moved ──────▶ Confirmed
//!     │                           │ failed, aborted, overdue       │     (at once if no confirmation is needed)
//!     │ failed, aborted           ▼                                └─────────▶ Reverted (by a migration back)
//!     ├◀──────────────────── Withdrawing
//!     ▼        the source says that it has not released and will not
//!  Failed, Cancelled
//! ```
//!
//! A server has at most one open [`Ticket`]. While a ticket is open, only its two hosts decide which of them runs
//! the guest: the source, until it has released the disk; the target from then on. `server.host_id` and the disk's
//! generation move in one commit, on either host's report.

use crate::{
    FlavorId, HostId, MigrationId, PlanId, ProjectId, ServerId, Timestamp, UserId, compute::flavor::Size,
    record,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// How the guest travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The guest runs on, except for a moment. Its disk is mirrored and its memory follows.
    Live,
    /// The guest stops, its disk is copied, and the guest starts on the target.
    Cold,
}

/// The purpose of a migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A live migration (`os-migrateLive`).
    LiveMigrate,
    /// A cold migration (`migrate`).
    Migrate,
    /// To another size.
    Resize,
    /// Back from a resize or migration that was not confirmed.
    Revert,
    /// Away from a host that is lost.
    Evacuate,
    /// A cold move of a plan. Nobody has to confirm it.
    Relocate,
}

impl Purpose {
    /// Nova's `migration_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::LiveMigrate => "live-migration",
            Self::Migrate | Self::Relocate => "migration",
            Self::Resize | Self::Revert => "resize",
            Self::Evacuate => "evacuation",
        }
    }
}

/// The phase of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Phase {
    /// The target prepares.
    Preparing,
    /// Disk and memory travel.
    Moving,
    /// The source is asked to say that it keeps the guest.
    Withdrawing {
        /// The reason.
        why: String,
        /// True if a client asked to abort the migration.
        aborted: bool,
    },
    /// The guest is at the target; the client has not confirmed it yet.
    Moved,
    /// The guest is at the target, for good.
    Confirmed,
    /// The guest went back.
    Reverted,
    /// The guest stayed at the source.
    Failed {
        /// The cause.
        why: String,
    },
    /// The guest stayed at the source because a client aborted the migration.
    Cancelled,
}

impl Phase {
    /// Nova's status of a migration.
    pub fn name(&self, purpose: Purpose) -> &'static str {
        let live = purpose == Purpose::LiveMigrate;
        match self {
            Self::Preparing if live => "preparing",
            Self::Preparing => "pre-migrating",
            Self::Moving if live => "running",
            Self::Moving | Self::Withdrawing { .. } => "migrating",
            Self::Moved => "finished",
            Self::Confirmed if live => "completed",
            Self::Confirmed if purpose == Purpose::Evacuate => "done",
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Failed { .. } => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

record! {
    /// A migration.
    pub struct Migration: MigrationId {
        /// A number for old clients.
        pub number: u64,
        /// The guest's server.
        pub server_id: ServerId,
        /// The server's project.
        pub project_id: ProjectId,
        /// The user who asked; `None` for the cloud itself.
        #[serde(default)]
        pub user_id: Option<UserId>,
        /// The request that asked for it.
        pub request_id: String,
        /// The plan that moves it; `None` for a move that somebody asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub plan_id: Option<PlanId>,
        /// The purpose.
        pub purpose: Purpose,
        /// How the guest travels.
        #[serde(rename = "manner")]
        pub mode: Mode,
        /// The source host.
        pub from: HostId,
        /// The host's name at that time.
        pub from_name: String,
        /// The target host.
        pub to: HostId,
        /// The host's name at that time.
        pub to_name: String,
        /// The flavor it had.
        pub old_flavor: FlavorId,
        /// The flavor it gets.
        pub new_flavor: FlavorId,
        /// The phase.
        pub phase: Phase,
        /// Until when the guest must have moved.
        pub deadline: Timestamp,
    }
}

impl Migration {
    /// The key of the migration among those that ended, in the order of their start.
    pub fn past_key(&self) -> String {
        format!("{:020}/{}", self.created_at.0, self.id)
    }
}

/// The progress of a move.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoveProgress {
    /// The server.
    pub server_id: ServerId,
    /// The generation that its ticket names.
    pub generation: u64,
    /// The present step, for people.
    pub step: String,
    /// Memory in bytes: all, sent, and left.
    pub memory: [u64; 3],
    /// Disk in bytes: all, sent, and left.
    pub disk: [u64; 3],
    /// How fast the guest writes to its memory, in bytes per second.
    pub dirty_bytes_per_s: u64,
}

record! {
    /// The source's last report of a move. Volatile: no decision depends on it.
    pub struct Progress: MigrationId {
        /// The report.
        pub seen: MoveProgress,
        /// The expected end at the rate of the last report; `None` if nothing moves.
        pub expected_end: Option<Timestamp>,
    }
}

/// The stage of a move that the orders of both hosts name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leg {
    /// The target prepares. The source has no orders for the move, so it cannot have released the disk.
    Prepare,
    /// The source sends the guest and releases its disk.
    Send,
    /// The source keeps the guest if it has not released it, and reports that.
    Withdraw,
}

/// The right to move a server's disk to another host and a higher generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The migration that it belongs to.
    pub migration_id: MigrationId,
    /// The host that the guest moves to.
    pub to: HostId,
    /// The disk's generation there: higher than any before.
    pub generation: u64,
    /// How it travels.
    #[serde(rename = "manner")]
    pub mode: Mode,
    /// The stage that the hosts' orders name.
    pub leg: Leg,
    /// True once a client asked to complete the move at the guest's expense.
    #[serde(default)]
    pub forced: bool,
    /// The flavor that the guest gets at the target.
    #[serde(rename = "shape")]
    pub snapshot: FlavorSnapshot,
}

/// A flavor as it was when a server took it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlavorSnapshot {
    /// The flavor.
    pub flavor_id: FlavorId,
    /// Its name.
    pub flavor_name: Arc<str>,
    /// Its size.
    pub size: Size,
    /// Its extra specs.
    #[serde(default)]
    pub extra_specs: Arc<BTreeMap<String, String>>,
}

/// A move that the client may still revert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unconfirmed {
    /// The migration of the move.
    pub migration_id: MigrationId,
    /// The host that holds room for the way back.
    pub from: HostId,
    /// The flavor that the server had at that host.
    #[serde(rename = "shape")]
    pub snapshot: FlavorSnapshot,
    /// When the move is confirmed automatically; `None` for never.
    #[serde(default)]
    pub confirm_at: Option<Timestamp>,
}
