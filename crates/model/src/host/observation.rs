//! A host agent's report of a guest: the only way in which facts enter the cloud.

use crate::ServerId;
use serde::{Deserialize, Serialize};

/// One guest as its host sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// The guest's server.
    pub server_id: ServerId,
    /// The generation of the disk on the host. Reports for an older generation do not count for the server.
    pub generation: u64,
    /// The boot that the host last acted on. A report of an older boot says nothing about the present boot.
    pub boot: u64,
    /// The state of the guest.
    #[serde(rename = "sight")]
    pub observed: ObservedState,
    /// The layout of the running guest's virtual machine; 0 if the guest does not run, or the agent does not say.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub layout: u32,
    /// The source's decision on the order to hand over the guest, once it has decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handover: Option<Handover>,
    /// Why the disk could not be sent to the image store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsaved: Option<Unsaved>,
    /// What the host could not do. The guest stays as it was before the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_attempt: Option<FailedAttempt>,
    /// Why the guest was started anew in this boot, though its memory was saved: for the server's owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_lost: Option<String>,
}

/// Something that a host tries once for each order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Attempt {
    /// To suspend a running guest.
    Suspend {
        /// The number of the attempt.
        number: u64,
    },
    /// To resume a suspended guest.
    Resume {
        /// The guest's boot.
        boot: u64,
    },
}

/// An attempt that failed, and left the guest as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The attempt.
    pub attempt: Attempt,
    /// The reason, for the server's owner.
    pub message: String,
    /// More, for the operator.
    pub details: String,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// An attempt to send a disk to the image store that failed for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unsaved {
    /// The attempt.
    pub upload: String,
    /// The reason, for the server's owner.
    pub message: String,
    /// More, for the operator.
    pub details: String,
}

/// The source's decision on a ticket: made once, stored on the source's disk, and never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    /// The generation that the ticket names.
    pub generation: u64,
    /// The decision.
    #[serde(rename = "verdict")]
    pub decision: SourceDecision,
}

/// The decision of a source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum SourceDecision {
    /// The target may run the guest. This host never runs the guest again at its generation.
    Released,
    /// This host keeps the guest and will not release it under this ticket.
    Kept {
        /// The reason, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
    },
}

/// The state of a guest on its host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum ObservedState {
    /// Work is under way and the guest does not run yet.
    Preparing {
        /// The present step, for people.
        step: String,
        /// True once the disk is made.
        disk_made: bool,
    },
    /// The guest runs.
    Running {
        /// `address:port` that leads to the guest's ssh, where the network driver makes one.
        #[serde(default)]
        ssh_forward: Option<String>,
        /// True if its CPUs stand still.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        paused: bool,
    },
    /// The guest does not run, and its memory is saved on the host's disk.
    Suspended,
    /// The guest exists and does not run.
    Stopped {
        /// The reason why it stopped.
        why: StopReason,
    },
    /// The host could not carry out the order. The agent waits for the next boot or tombstone.
    Failed {
        /// The cause and the remedy, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
        /// True if the disk was made.
        disk_made: bool,
    },
    /// The host prepares for a guest from another host.
    Receiving {
        /// The present step, for people.
        step: String,
    },
    /// The host is ready for the guest and waits for the source's release.
    Ready,
    /// The host could not prepare for the guest, or is no longer ready. Unless the source has released the guest
    /// meanwhile, this host will not run the guest.
    Unready {
        /// The cause, for the server's owner.
        message: String,
        /// More, for the operator.
        details: String,
    },
    /// The host has a disk that the server left behind, and no guest runs on the disk.
    Kept,
    /// The guest and its disk are gone from the host.
    Absent,
}

/// The reason why a guest does not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// It was ordered to stop.
    Ordered,
    /// It shut itself down.
    ByGuest,
    /// The guest's process ended unexpectedly.
    Died,
    /// Its host restarted.
    HostRestarted,
    /// It was handed to another host.
    MovedAway,
}
