//! Servers: what each server is, where it runs, its wanted state, and the state last seen.
//!
//! The wanted state and the observed state are separate. A request writes `wanted`, and a new `boot` if the request
//! restarts the guest. The host's agent reports what it did, and under which boot. The server's condition follows
//! from both.
//!
//! ```text
//!              host reports running                stop
//!  Building ─────────────────────────▶ Active ─────────────▶ Stopped
//!     │                               ▲ ▲  │ ◀────────────────  │
//!     │ no host, or the host failed   │ │  │       start        │
//!     ▼                               │ │  ▼ guest died         │
//!   Error ──────────start─────────────┼─┘ Error                 │
//!     │             pause, suspend    ▼     │                   │
//!     │                     Paused, Suspended                   │
//!     └──────────────┬────────────────┴─────┴───────────────────┘
//!                    ▼ delete: wanted = Absent, a tombstone until the host has confirmed it
//!                  gone (a cold `past_server` record stays)
//! ```
//!
//! A soft-deleted server has a time in `reclaim_at`. Its guest does not run, and its condition is of no account. It
//! is deleted at that time, unless its owner restores it first.

use crate::{
    FlavorId, HostId, ImageId, NetworkId, OperationId, PortId, ProjectId, Scoped, ServerGroupId, ServerId,
    State, Timestamp, UserId,
    compute::{
        disk::FormerDisk,
        flavor::Size,
        migration::{FlavorSnapshot, Ticket, Unconfirmed},
        operation::OperationKind,
        rebuild::Rebuild,
        rescue::Rescue,
        snapshot::Snapshot,
    },
    error::Error,
    policy::Caller,
    record,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    net::IpAddr,
    sync::Arc,
};

pub use crate::compute::{hint::Hints, personality::PersonalityFile};

/// One network interface that a new server gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Nic {
    /// A new port on this network, with this address if the request names an address.
    Network(NetworkId, Option<IpAddr>),
    /// An existing port.
    Port(PortId),
}

/// The interfaces that a new server gets. Not a record: the API and the command share this type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// The request says nothing: the project's only network, if it has one.
    Unsaid,
    /// `auto`: the project's network, made if there is none.
    Auto,
    /// `none`.
    None,
    /// These, in this order.
    These(Vec<Nic>),
}

/// The wanted state of a server's guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It runs.
    Running,
    /// Its process exists, and its CPUs stand still.
    Paused,
    /// It does not run, and its memory is saved on the host's disk.
    Suspended,
    /// The guest exists and does not run.
    Stopped,
    /// The guest and its disk are gone: a tombstone. An agent deletes only by a tombstone, never because a server
    /// is missing.
    Absent,
}

/// The condition of a server (Nova's `vm_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// It has never run yet.
    Building,
    /// Its guest runs.
    Active,
    /// Its guest stands still, with its memory in the host's memory.
    Paused,
    /// Its guest does not run, and its memory is saved on the host's disk.
    Suspended,
    /// Its guest does not run.
    Stopped,
    /// Something failed; `fault` says what.
    Error,
}

/// How a guest is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootStyle {
    /// Ask the guest to shut down first; reset it if it does not.
    Soft,
    /// Reset it. A saved memory is discarded.
    Hard,
    /// Go on with the saved memory, or start the guest anew if the memory cannot be used.
    Resume,
}

/// The fault of a server in error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Nova's fault code.
    pub code: u16,
    /// What happened and what to do.
    pub message: String,
    /// More, for operators alone.
    #[serde(default)]
    pub details: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// The operation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The action.
    pub action: OperationKind,
    /// Its record.
    pub operation_id: OperationId,
}

/// The public key that a server got, as the key was at that time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The keypair's name.
    pub name: String,
    /// In OpenSSH's one-line form.
    pub public_key: String,
}

/// What is known, since a restore of the store, about the place of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Restored {
    /// The server's host has not reported yet, or the server has no host.
    Unheard,
    /// The server's host has reported that it does not have the server.
    Denied,
}

/// The place of a shelved server's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
pub enum Shelf {
    /// On its host, which stops the guest and sends the disk to the image store.
    Saving {
        /// The image that it becomes.
        image_id: ImageId,
        /// The name of this attempt. The host may send the disk for this attempt alone.
        upload: String,
        /// True if the guest runs again after a failed attempt.
        resumes: bool,
    },
    /// In the image store, until the server runs again on a host.
    Offloaded {
        /// The image that the disk became.
        image_id: ImageId,
    },
}

impl Shelf {
    /// The image that the disk is or becomes.
    pub fn image_id(&self) -> ImageId {
        match self {
            Self::Saving { image_id, .. } | Self::Offloaded { image_id } => *image_id,
        }
    }
}

fn is_empty(map: &Arc<BTreeMap<String, String>>) -> bool {
    map.is_empty()
}

record! {
    /// A server.
    pub struct Server: ServerId {
        /// Its project.
        pub project_id: ProjectId,
        /// The user who made it.
        pub user_id: UserId,
        /// Need not be unique.
        pub name: String,
        /// For people (from microversion 2.19).
        #[serde(default)]
        pub description: Option<String>,
        /// The name that the guest gets.
        pub hostname: String,
        /// The flavor that the server got last.
        pub flavor_id: FlavorId,
        /// The flavor's name when the server got it.
        pub flavor_name: Arc<str>,
        /// The flavor's size when the server got it.
        pub size: Size,
        /// The flavor's extra specs when the server got it.
        #[serde(default)]
        pub extra_specs: Arc<BTreeMap<String, String>>,
        /// The image it was made from.
        pub image_id: ImageId,
        /// The SHA-512 of the bytes under the disk: those of the server's image, or of the image of its last
        /// shelving.
        pub base: Arc<str>,
        /// The image of those bytes, if it differs from `image_id`. The image may be deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub base_image: Option<ImageId>,
        /// The format of those bytes.
        pub base_format: Arc<str>,
        /// The properties of its image when it was made from it.
        #[serde(default, skip_serializing_if = "is_empty")]
        pub image_properties: Arc<BTreeMap<String, String>>,
        /// The public key it was given.
        #[serde(default)]
        pub key: Option<Key>,
        /// Attributes that the server's owner set.
        #[serde(default)]
        pub metadata: BTreeMap<String, String>,
        /// Labels (from microversion 2.26).
        #[serde(default)]
        pub tags: BTreeSet<String>,
        /// The lock; `None` if it is not locked.
        #[serde(default)]
        pub locked: Option<Lock>,
        /// Whether the server's owner asked for a config drive.
        #[serde(default)]
        pub config_drive: bool,
        /// The password that the guest posted, encrypted with its owner's key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub guest_password: Option<String>,
        /// True if user data was given (kept cold).
        #[serde(default)]
        pub has_user_data: bool,
        /// True if files were given for its guest (kept cold).
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        pub has_files: bool,
        /// Whether `diskConfig` is `MANUAL` (else `AUTO`); has no effect.
        #[serde(default)]
        pub disk_config_manual: bool,
        /// Addresses its owner wants shown.
        #[serde(default)]
        pub access_ipv4: String,
        /// Addresses its owner wants shown.
        #[serde(default)]
        pub access_ipv6: String,
        /// The availability zone that the server's owner asked for.
        #[serde(default)]
        pub wanted_zone: Option<String>,
        /// The server group that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub server_group: Option<ServerGroupId>,
        /// The scheduler hints of the server's owner.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub hints: Option<Box<Hints>>,
        /// The id that servers made by one request share.
        pub reservation_id: Arc<str>,
        /// Its place among the servers made by one request.
        #[serde(default)]
        pub launch_index: u32,

        /// Set after a restore of the store, until a host has reported that it has the server. Until then no host
        /// has orders for the server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub restored: Option<Restored>,
        /// The one host that may run the guest; `None` if no host was found.
        pub host_id: Option<HostId>,
        /// Its root disk, if 0.1.0 wrote the record. Disks have records now.
        #[serde(default, rename = "disk", skip_serializing_if = "Option::is_none")]
        pub former_disk: Option<FormerDisk>,
        /// The right to move to another host, during a move.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub ticket: Option<Box<Ticket>>,
        /// The last move, while it can still be reverted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unconfirmed: Option<Box<Unconfirmed>>,
        /// The place of its disk, if it is shelved.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub shelf: Option<Box<Shelf>>,
        /// The rebuild under way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rebuild: Option<Box<Rebuild>>,
        /// Set while the server is rescued.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub rescue: Option<Box<Rescue>>,
        /// The snapshot under way.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub snapshot: Option<Box<Snapshot>>,
        /// The wanted state of the guest.
        pub wanted: Wanted,
        /// Counts the starts and restarts that were asked for.
        pub boot: u64,
        /// How the present boot happens if the guest already runs.
        pub boot_style: BootStyle,
        /// Counts the requests to suspend the guest. The number names the attempt that a host could not carry out.
        #[serde(default)]
        pub suspensions: u64,
        /// Counts the changes of the set of interfaces. A removed port leaves no other record that could renew the
        /// orders of the server's host.
        #[serde(default)]
        pub interfaces: u64,
        /// The condition of the server.
        pub condition: Condition,
        /// The operation under way.
        #[serde(default)]
        pub task: Option<Task>,
        /// The fault.
        #[serde(default)]
        pub fault: Option<Fault>,
        /// The layout of its running guest's virtual machine, as a host last said; 0 if unknown.
        #[serde(default)]
        pub layout: u32,
        /// The boot in which the guest had that layout. Agents of version 2 do not say layouts.
        #[serde(default)]
        pub layout_boot: u64,
        /// True if its host last saw its guest running.
        #[serde(default)]
        pub powered: bool,
        /// The boot in which the host saw the guest running before all ports were plugged. Plugging makes the
        /// server active.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub awaits_ports: Option<u64>,
        /// When it first ran.
        #[serde(default)]
        pub launched_at: Option<Timestamp>,
        /// When it is deleted for good, if it is soft-deleted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub reclaim_at: Option<Timestamp>,
        /// When it was deleted; set only in a past server.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub terminated_at: Option<Timestamp>,
        /// The address on the host that leads to the guest's ssh, with the `user` network driver.
        #[serde(default)]
        pub ssh_forward: Option<String>,
    }
}

/// A lock against its own users' actions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// The reason, for people.
    #[serde(default)]
    pub reason: Option<String>,
    /// True if an operator locked the server: then only an operator may unlock it.
    #[serde(default)]
    pub by_admin: bool,
}

impl Server {
    /// Nova's status word.
    pub fn status(&self) -> &'static str {
        match (self.condition, self.task.as_ref().map(|t| t.action)) {
            _ if self.terminated_at.is_some() => "DELETED",
            _ if self.reclaim_at.is_some() => "SOFT_DELETED",
            (Condition::Error, _) => "ERROR",
            _ if self.is_offloaded() => "SHELVED_OFFLOADED",
            (_, Some(OperationKind::SoftReboot)) => "REBOOT",
            (_, Some(OperationKind::HardReboot)) => "HARD_REBOOT",
            (_, Some(OperationKind::LiveMigrate)) => "MIGRATING",
            (_, Some(OperationKind::Migrate | OperationKind::Resize)) => "RESIZE",
            (_, Some(OperationKind::RevertResize)) => "REVERT_RESIZE",
            (_, Some(OperationKind::Evacuate | OperationKind::Rebuild)) => "REBUILD",
            (Condition::Active | Condition::Stopped, None) if self.unconfirmed.is_some() => "VERIFY_RESIZE",
            (Condition::Building, _) => "BUILD",
            (Condition::Active, None) if self.rescue.is_some() => "RESCUE",
            (Condition::Active, _) => "ACTIVE",
            (Condition::Paused, _) => "PAUSED",
            (Condition::Suspended, _) => "SUSPENDED",
            (Condition::Stopped, _) => "SHUTOFF",
        }
    }

    /// Nova's `vm_state`.
    pub fn vm_state(&self) -> &'static str {
        match self.condition {
            _ if self.terminated_at.is_some() => "deleted",
            _ if self.reclaim_at.is_some() => "soft-delete",
            _ if self.is_offloaded() => "shelved_offloaded",
            Condition::Building => "building",
            Condition::Active | Condition::Stopped if self.rescue.is_some() => "rescued",
            Condition::Active | Condition::Stopped if self.unconfirmed.is_some() => "resized",
            Condition::Active => "active",
            Condition::Paused => "paused",
            Condition::Suspended => "suspended",
            Condition::Stopped => "stopped",
            Condition::Error => "error",
        }
    }

    /// Nova's `power_state`: 0 no state, 1 running, 3 paused, 4 shut down.
    pub fn power_state(&self) -> u8 {
        match (self.powered, self.condition) {
            _ if self.terminated_at.is_some() => 0,
            (true, Condition::Paused) => 3,
            (true, _) => 1,
            (false, Condition::Building) => 0,
            (false, Condition::Error) if self.launched_at.is_none() => 0,
            (false, _) => 4,
        }
    }

    /// True if the guest has a config drive: on request, or because the host's hypervisor gives one to every guest.
    pub fn has_config_drive(&self, state: &State) -> bool {
        let host = || self.host_id.and_then(|id| state.hosts.get(&id));
        self.config_drive || host().is_some_and(|host| host.hypervisor.gives_config_drives())
    }

    /// The progress of the server's creation in percent, as Nova shows it.
    pub fn progress(&self) -> u8 {
        match self.status() {
            "ACTIVE" | "REBOOT" | "HARD_REBOOT" => 100,
            _ => 0,
        }
    }

    /// Nova's word for who locked the server; empty if the server is not locked.
    pub fn locked_by(&self) -> &'static str {
        match &self.locked {
            Some(lock) if lock.by_admin => "admin",
            Some(_) => "owner",
            None => "",
        }
    }

    /// When the server last changed, or was made.
    pub fn changed_at(&self) -> Timestamp {
        self.updated_at.unwrap_or(self.created_at)
    }

    /// This server as a deleted server; its last change is the time of the deletion.
    pub fn past(self) -> Self {
        let terminated_at = self.terminated_at.or(Some(self.changed_at()));
        Self { terminated_at, task: None, powered: false, ..self }
    }

    /// The key under which the project's past servers list this server, the latest last.
    pub fn past_key(&self) -> String {
        let ended = self.terminated_at.unwrap_or(self.changed_at());
        format!("{}/{:020}/{}", self.project_id, ended.0, self.id)
    }

    /// True from the time when the disk is an image until the guest is seen running again.
    pub fn is_offloaded(&self) -> bool {
        self.shelf.as_deref().is_some_and(|shelf| matches!(shelf, Shelf::Offloaded { .. }))
    }

    /// The task that ends when its guest runs or stops. A snapshot does not.
    pub fn run_task(&self) -> Option<&Task> {
        self.task.as_ref().filter(|task| !task.action.is_snapshot())
    }

    /// True while its disk is on the way to the image store.
    pub fn is_being_shelved(&self) -> bool {
        self.shelf.as_deref().is_some_and(|shelf| matches!(shelf, Shelf::Saving { .. }))
    }

    /// The image under the server's disk.
    pub fn base_image(&self) -> ImageId {
        self.base_image.unwrap_or(self.image_id)
    }

    /// The resources that the server takes of each host: its host, the target of a move, and the host of the way
    /// back.
    pub fn claims(&self) -> impl Iterator<Item = (HostId, Size)> + '_ {
        let here = self.host_id.map(|host| (host, self.size));
        let there = self.ticket.as_ref().map(|ticket| (ticket.to, ticket.snapshot.size));
        let back = self.unconfirmed.as_ref().filter(|last| there.is_none_or(|(to, _)| to != last.from));
        let back = back.map(|last| match Some(last.from) == self.host_id {
            // Both sizes are never taken at once on one host.
            true => (last.from, last.snapshot.size.beyond(&self.size)),
            false => (last.from, last.snapshot.size),
        });
        here.into_iter().chain(there).chain(back)
    }

    /// True while the disk is made or moved: an extra load on the server's hosts.
    pub fn is_busy(&self) -> bool {
        self.condition == Condition::Building || self.ticket.is_some()
    }

    /// The server's flavor, as it was when the server took it.
    pub fn flavor_snapshot(&self) -> FlavorSnapshot {
        FlavorSnapshot {
            flavor_id: self.flavor_id.clone(),
            flavor_name: self.flavor_name.clone(),
            size: self.size,
            extra_specs: self.extra_specs.clone(),
        }
    }

    /// Takes another flavor.
    pub fn take_flavor(&mut self, snapshot: FlavorSnapshot) {
        self.flavor_id = snapshot.flavor_id;
        self.flavor_name = snapshot.flavor_name;
        self.size = snapshot.size;
        self.extra_specs = snapshot.extra_specs;
    }

    /// The hosts that have orders for it.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + '_ {
        self.host_id.into_iter().chain(self.ticket.as_ref().map(|ticket| ticket.to))
    }

    /// Whether two versions of a server mean different orders to its hosts.
    pub fn orders_differ(&self, other: &Self) -> bool {
        self.host_id != other.host_id
            || self.restored != other.restored
            || self.ticket != other.ticket
            || self.wanted != other.wanted
            || self.boot != other.boot
            || self.boot_style != other.boot_style
            || self.suspensions != other.suspensions
            || self.shelf != other.shelf
            || self.snapshot != other.snapshot
            || self.rebuild != other.rebuild
            || self.rescue != other.rescue
            || self.interfaces != other.interfaces
            || self.base != other.base
            || self.size != other.size
            || self.name != other.name
            || self.hostname != other.hostname
            || self.metadata != other.metadata
            || self.guest_password != other.guest_password
    }
}

impl Scoped for Server {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Instance", id)
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
    }
}
