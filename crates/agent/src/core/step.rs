//! What can be done to a guest, what can come of it, and what can be found of it.

use lenticular_model::compute::migration::Mode;
use lenticular_wire::agent::{GuestAssignment, Outgoing, Peer, Receive};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Something to be done to a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Have the base in the cache and make the disk.
    Prepare(Arc<GuestAssignment>),
    /// Start the guest on its disk.
    Start(Arc<GuestAssignment>),
    /// Give the running guest the network interfaces that it is to have, and take the others away.
    Plug(Arc<GuestAssignment>),
    /// Ask the guest to shut down; end its process if it does not within the deadline, or when cancelled.
    Shutdown,
    /// End the guest's process.
    Kill,
    /// Remove all there is of the guest.
    Remove,
    /// Make ready for a guest that comes from another host; what is here of it goes.
    Receive(Arc<Receive>),
    /// Bring the guest to another host until that has all of it, and does not run it.
    Send(Arc<GuestAssignment>, Arc<Outgoing>),
    /// After a failed `Send`: see to it that the guest goes on here, if its process is there.
    Resume,
    /// Tell the other host that the guest is its own.
    HandOver {
        /// Which host.
        to: Peer,
        /// The disk's generation there.
        generation: u64,
    },
    /// Make the disk from another host this host's own; a waiting guest goes on.
    Adopt(Arc<GuestAssignment>, Mode),
    /// Send the disk of a guest that does not run to the image store, under the name of this attempt.
    Upload(Arc<GuestAssignment>, String),
    /// Call the disk that was left behind here the guest's own again, under its new generation.
    Revive(Arc<GuestAssignment>),
}

impl Step {
    /// True if it takes much of the host: only so many are under way at once.
    pub fn is_hard(&self) -> bool {
        matches!(self, Self::Prepare(_) | Self::Start(_) | Self::Receive(_))
    }

    /// What it does, for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prepare(_) => "preparing the disk",
            Self::Start(_) => "starting",
            Self::Plug(_) => "changing the interfaces",
            Self::Shutdown => "shutting down",
            Self::Kill => "ending the process",
            Self::Remove => "removing",
            Self::Receive(_) => "making ready to receive",
            Self::Send(..) => "sending",
            Self::Resume => "going on here",
            Self::HandOver { .. } => "handing over",
            Self::Adopt(..) => "taking over",
            Self::Upload(..) => "sending the disk to the image store",
            Self::Revive(_) => "going back to the older disk",
        }
    }
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message} ({details})")]
pub struct Failure {
    /// What happened and what to do, for the server's owner.
    pub message: String,
    /// More, for the operator.
    pub details: String,
}

impl Failure {
    /// A failure in words for both.
    pub fn new(message: impl Into<String>, details: impl Into<String>) -> Self {
        Self { message: message.into(), details: details.into() }
    }
}

/// How a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The guest runs.
    Started {
        /// `address:port` that leads to its ssh, where there is one.
        ssh_forward: Option<String>,
    },
    /// It could not be done. A failed start leaves no process, a failed preparation no disk.
    Failed(Failure),
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
    /// The generation of its disk; `None` if there is no complete one.
    pub disk: Option<u64>,
    /// Its process; `None` if there is none.
    pub process: Option<FoundProcess>,
}

/// A guest's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundProcess {
    /// The boot that it was started for.
    pub boot: u64,
    /// Leads to its ssh.
    pub ssh_forward: Option<String>,
    /// True if the guest has shut itself down meanwhile.
    pub ended: bool,
}
