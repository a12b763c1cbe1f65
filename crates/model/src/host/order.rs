//! A host's orders for each guest. Rendered from records, never stored.

use super::guest_spec::GuestSpec;
use crate::{
    HostId, ServerId,
    compute::{migration::Mode, server::BootStyle},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A host's order for one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// This host may write the server's disk and run its guest.
    Own(Own),
    /// The guest will come from another host.
    Receive(Receive),
    /// The server has left this disk behind. The host keeps the disk and runs nothing on it.
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

/// A guest, the generation of its disk, and the boot to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAssignment {
    /// The guest's server.
    pub server_id: ServerId,
    /// The generation of its disk.
    pub generation: u64,
    /// If higher than the last boot that the agent carried out, the guest is rebooted.
    pub boot: u64,
    /// The guest to run.
    pub guest: GuestSpec,
}

/// A guest that belongs to this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The guest.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// True if the guest must run.
    pub run: bool,
    /// How the guest is rebooted, if it runs.
    pub boot_style: BootStyle,
    /// True if the disk was made already. If such a disk is missing, it is lost, and the host must not make a new
    /// disk.
    pub disk_made: bool,
    /// The older generation of the disk here, if the server returns to that disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revives: Option<u64>,
    /// The guest's move to another host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Outgoing>,
    /// The upload's name, if the host sends the disk to the image store once the guest does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
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
