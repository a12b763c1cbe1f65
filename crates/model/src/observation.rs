//! What a host's agent saw of a guest: the only way in which facts enter the cloud.

use crate::ServerId;
use serde::{Deserialize, Serialize};

/// One guest as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Whose guest.
    pub server_id: ServerId,
    /// The generation of the disk there. What an older generation does is not the server's.
    pub generation: u64,
    /// The boot that the host last acted on. What an older boot did says nothing of the present one.
    pub boot: u64,
    /// What is there.
    pub sight: Sight,
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Sight {
    /// Work is under way and the guest does not run yet.
    Preparing {
        /// Which part of the work, for people.
        step: String,
        /// True once the disk is made.
        disk_made: bool,
    },
    /// The guest runs.
    Running {
        /// `address:port` that leads to the guest's ssh, where the network driver makes one.
        #[serde(default)]
        ssh_forward: Option<String>,
    },
    /// The guest is there and does not run.
    Stopped {
        /// Why it stopped.
        why: StopReason,
    },
    /// What was ordered could not be done; the agent waits for the next boot or tombstone.
    Failed {
        /// What happened and what to do, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
        /// True if the disk was made.
        disk_made: bool,
    },
    /// The guest and its disk are gone from the host.
    Absent,
}

/// Why a guest does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was ordered to stop.
    Ordered,
    /// It shut itself down.
    ByGuest,
    /// Its process ended without being asked to.
    Died,
    /// Its host restarted.
    HostRestarted,
}
