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
    #[serde(rename = "sight")]
    pub observed: ObservedState,
    /// What became of the order to hand the guest to another host, once that is decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// Why the disk could not be sent to the image store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<Unsaved>,
}

/// An attempt to send a disk to the image store that came to nothing, for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaved {
    /// Which attempt.
    pub upload: String,
    /// Why, for the server's owner.
    pub message: String,
    /// More, for the operator.
    pub details: String,
}

/// The source's decision on a ticket: made once, kept on its disk, and never taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The generation that the ticket names.
    pub generation: u64,
    /// The decision.
    #[serde(rename = "verdict")]
    pub decision: SourceDecision,
}

/// What a source has decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum SourceDecision {
    /// The target may run the guest; this host never will again at its generation.
    Released,
    /// This host keeps the guest, and will not release it under this ticket.
    Kept {
        /// Why, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
    },
}

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ObservedState {
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
    /// It makes itself ready for a guest that comes from another host.
    Receiving {
        /// Which part of the work, for people.
        step: String,
    },
    /// It is ready for the guest, and waits for the source's release.
    Ready,
    /// It could not make itself ready, or is so no more. Unless the source has released the guest meanwhile, this host
    /// will not run it.
    Unready {
        /// What happened, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
    },
    /// A disk that the server has left behind is here, and nothing runs on it.
    Kept,
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
    /// It was handed to another host.
    MovedAway,
}
