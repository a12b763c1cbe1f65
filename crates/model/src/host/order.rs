//! A host's orders for each guest. Rendered from records, never stored.

use super::guest_spec::{Base, Content, DiskSpec, GuestSpec};
use crate::{
    DiskId, HostId, ServerId,
    compute::{disk::DiskKind, migration::Mode, server::BootStyle},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A host's order for one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// This host may write the server's disks and run its guest.
    Own(Own),
    /// The guest will come from another host.
    Receive(Receive),
    /// The server has left these disks behind. The host keeps them and runs nothing on them.
    Keep {
        /// The disk's server.
        server_id: ServerId,
        /// The disk's generation.
        generation: u64,
    },
    /// A tombstone: the host removes everything of the server up to this generation. Only a tombstone, never an
    /// absent order, makes an agent delete.
    Remove {
        /// The server.
        server_id: ServerId,
        /// The last generation to remove.
        generation: u64,
    },
}

impl Order {
    /// The server that the order is about.
    pub fn server_id(&self) -> ServerId {
        match self {
            Self::Own(own) => own.assignment.server_id,
            Self::Receive(receive) => receive.assignment.server_id,
            Self::Keep { server_id, .. } | Self::Remove { server_id, .. } => *server_id,
        }
    }

    /// The generation of the order's disk.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Own(own) => own.assignment.generation,
            Self::Receive(receive) => receive.assignment.generation,
            Self::Keep { generation, .. } | Self::Remove { generation, .. } => *generation,
        }
    }
}

/// A guest, the generation of its disks, and the boot to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ReadAssignment")]
pub struct GuestAssignment {
    /// The guest's server.
    pub server_id: ServerId,
    /// The generation of its disks. It names the right to run the guest.
    pub generation: u64,
    /// If higher than the last boot that the agent carried out, the guest is rebooted.
    pub boot: u64,
    /// True if the guest's CPUs stand still while the guest has a process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// The guest to run.
    pub guest: GuestSpec,
}

/// An assignment of this version of the agent protocol or of version 2, in which a guest has one disk and names the
/// image below the disk.
#[derive(Deserialize)]
struct ReadAssignment {
    server_id: ServerId,
    generation: u64,
    boot: u64,
    #[serde(default)]
    paused: bool,
    guest: ReadGuest,
}

#[derive(Deserialize)]
struct ReadGuest {
    #[serde(default)]
    base: Option<Base>,
    #[serde(flatten)]
    spec: GuestSpec,
}

impl From<ReadAssignment> for GuestAssignment {
    fn from(read: ReadAssignment) -> Self {
        let ReadAssignment { server_id, generation, boot, paused, guest } = read;
        let ReadGuest { base, spec: mut guest } = guest;
        if let Some(base) = base.filter(|_| guest.disks.is_empty()) {
            let (id, bytes) = (DiskId::root_of(server_id), DiskKind::Root.bytes(&guest.size));
            guest.disks = vec![DiskSpec { id, generation, bytes, content: Content::Image(base), tag: None }];
        }
        Self { server_id, generation, boot, paused, guest }
    }
}

/// What a guest on its own host shall do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunGoal {
    /// Run.
    Running,
    /// Stop, with its memory saved on the host's disk.
    Suspended {
        /// The number of the attempt. A host that could not suspend the guest waits for another attempt.
        attempt: u64,
    },
    /// Stop.
    Stopped,
}

impl RunGoal {
    /// Reads a goal, or the word of agents before [`RunGoal`]: whether the guest runs.
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Read {
            Runs(bool),
            Goal(RunGoal),
        }
        Ok(match Read::deserialize(from)? {
            Read::Runs(true) => Self::Running,
            Read::Runs(false) => Self::Stopped,
            Read::Goal(goal) => goal,
        })
    }
}

/// A guest that belongs to this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The guest.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// What the guest shall do.
    #[serde(deserialize_with = "RunGoal::read")]
    pub run: RunGoal,
    /// How the guest is rebooted, if it runs.
    pub boot_style: BootStyle,
    /// True if the disks were made already. If such a disk is missing, it is lost, and the host must not make a new
    /// one.
    pub disk_made: bool,
    /// The older generation of the disks here, if the server returns to those disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revives: Option<u64>,
    /// The disks here that the order's disks replace, in a rebuild.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
    /// The guest's move to another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Outgoing>,
    /// The upload's name, if the host sends the root disk to the image store once the guest does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
    /// The upload's name, if the host sends a copy of the root disk, as it is at one moment, to the image store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
}

/// The disks that a rebuild replaces. They stay until the new ones are whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaces {
    /// Their generation.
    pub generation: u64,
    /// True if only the root disk is made anew.
    pub keeps_data: bool,
}

/// The source's part in a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The disk's generation once the target has it. Names the ticket.
    pub generation: u64,
    /// The target.
    pub to: Peer,
    /// Live or cold.
    #[serde(rename = "manner")]
    pub mode: Mode,
    /// True if the host keeps the guest, unless it has released the guest already.
    pub withdraw: bool,
    /// True if the move must complete, even if it slows or pauses the guest.
    #[serde(default)]
    pub force: bool,
}

/// The target's part in a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// The guest as it will be here.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// The layout of the virtual machine at the source, for a live move; 0 means the first.
    #[serde(default)]
    pub layout: u32,
    /// The source. Only this host may hand the guest over.
    pub from: Peer,
    /// Live or cold.
    #[serde(rename = "manner")]
    pub mode: Mode,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The host's id.
    pub host_id: HostId,
    /// The host's name: its certificate must have this name.
    pub name: String,
    /// `address:port` where its agent listens for others; empty if it does not listen.
    pub address: String,
}
