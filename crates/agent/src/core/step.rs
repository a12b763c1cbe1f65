//! The steps for a guest, their outcomes, and the found state of a guest.

use lenticular_model::{DiskId, compute::migration::Mode};
use lenticular_wire::agent::{GuestAssignment, Outgoing, Peer, Receive};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A step of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Get the bases into the cache and make the disks.
    Prepare(Arc<GuestAssignment>),
    /// Start the guest on its disks.
    Start(Arc<GuestAssignment>),
    /// Make new disks, and put them in the place of the old ones once they are whole. `true` keeps the disks beside the root
    /// disk.
    Rebuild(Arc<GuestAssignment>, bool),
    /// Let the guest go on with its saved memory. If the memory cannot be used, start the guest anew.
    Wake(Arc<GuestAssignment>),
    /// Let the running guest stand still.
    Pause,
    /// Let the paused guest go on.
    Unpause,
    /// Save the guest's memory and end its process. The guest goes on if that fails.
    Suspend(Arc<GuestAssignment>),
    /// Remove the saved memory of a guest that does not run.
    DropMemory,
    /// Give the running guest the ordered network interfaces, and remove the others.
    Plug(Arc<GuestAssignment>),
    /// Ask the guest to shut down. End its process if it does not within the deadline, or on cancel.
    Shutdown,
    /// End the guest's process.
    Kill,
    /// Remove everything of the guest.
    Remove,
    /// Prepare for a guest from another host; an older copy here is removed.
    Receive(Arc<Receive>),
    /// Bring the guest to another host, until that host has all of it and does not run it.
    Send(Arc<GuestAssignment>, Arc<Outgoing>),
    /// After a failed `Send`: make the guest go on here, if its process exists.
    Resume,
    /// After a failed `Send` of a paused guest: undo the move. The guest stands still as before.
    ResumePaused,
    /// Tell the other host that the guest is its own now.
    HandOver {
        /// The other host.
        to: Peer,
        /// The disk's generation there.
        generation: u64,
    },
    /// Make the disks from another host this host's own; a waiting guest goes on.
    Adopt(Arc<GuestAssignment>, Mode),
    /// Send the root disk of a guest that does not run to the image store, under the name of this attempt.
    Upload(Arc<GuestAssignment>, String),
    /// Send a copy of the root disk, as it is at one moment, to the image store. The guest goes on.
    Snapshot(Arc<GuestAssignment>, String),
    /// Make the disks that were left here the guest's own again, under their new generation.
    Revive(Arc<GuestAssignment>),
}

impl Step {
    /// True if the step needs much of the host: only a few of them run at once.
    pub fn is_hard(&self) -> bool {
        matches!(
            self,
            Self::Prepare(_) | Self::Rebuild(..) | Self::Start(_) | Self::Wake(_) | Self::Receive(_)
        )
    }

    /// True if the step can be given up at any moment, and leaves the guest as it is.
    pub fn can_be_given_up(&self) -> bool {
        matches!(
            self,
            Self::Prepare(_)
                | Self::Rebuild(..)
                | Self::Receive(_)
                | Self::Send(..)
                | Self::Upload(..)
                | Self::Snapshot(..)
        )
    }

    /// The step in words.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "preparing the disk",
            Self::Start(_) => "starting",
            Self::Rebuild(..) => "making new disks",
            Self::Wake(_) => "resuming",
            Self::Pause => "pausing",
            Self::Unpause => "unpausing",
            Self::Suspend(_) => "saving the memory",
            Self::DropMemory => "removing the saved memory",
            Self::Plug(_) => "changing the interfaces",
            Self::Shutdown => "shutting down",
            Self::Kill => "ending the process",
            Self::Remove => "removing",
            Self::Receive(_) => "making ready to receive",
            Self::Send(..) => "sending",
            Self::Resume | Self::ResumePaused => "going on here",
            Self::HandOver { .. } => "handing over",
            Self::Adopt(..) => "taking over",
            Self::Snapshot(..) => "making an image of the disk",
            Self::Upload(..) => "sending the disk to the image store",
            Self::Revive(_) => "going back to the older disk",
        }
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({details})")]
pub struct Failure {
    /// What happened and what to do, for the server's user.
    pub message: String,
    /// Details for the operator.
    pub details: String,
}

impl Failure {
    /// A failure with a message for the user and details for the operator.
    pub fn new(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { message: message.into(), details: details.into() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The step succeeded.
    Done,
    /// The guest runs.
    Started(Started),
    /// The step failed. A failed start leaves no process. A failed preparation may leave some of the disks; the next
    /// one keeps them.
    Failed(Failure),
}

/// A guest that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Started {
    /// `address:port` that leads to its ssh, if there is such a way.
    pub ssh_forward: Option<String>,
    /// The layout of its virtual machine. A guest can move live only into a machine of the same layout.
    pub layout: u32,
    /// True if its CPUs stand still.
    pub paused: bool,
    /// Why its saved memory was not used and it was started anew: for its owner.
    pub memory_lost: Option<String>,
}

/// How a guest's process ended by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// The guest shut itself down.
    ByGuest,
    /// The process vanished.
    Died,
}

/// A guest as found on the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundGuest {
    /// Its complete disks, and the generation of each.
    pub disks: BTreeMap<DiskId, u64>,
    /// Its process, if any.
    pub process: Option<FoundProcess>,
    /// Its saved memory, if it is whole and was not used.
    pub memory: Option<FoundMemory>,
}

/// A guest's saved memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundMemory {
    /// The generation of the disks that it belongs to.
    pub generation: u64,
    /// The boot of the guest that was suspended.
    pub boot: u64,
}

/// A guest's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProcess {
    /// The boot that it was started for.
    pub boot: u64,
    /// What is known of it as a running guest.
    pub started: Started,
    /// True if the guest has shut itself down in the meantime.
    pub ended: bool,
}
