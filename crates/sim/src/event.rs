//! The events of the world.

use lenticular_agent::core::Ended;
use lenticular_control::command::compute::server_create::NewServers;
use lenticular_model::{
    HostId, PortId, ServerId, compute::server::BootStyle, host::host::Intent, ops::host_step::Guests,
    policy::Caller,
};
use lenticular_wire::agent::{Orders, OrdersQuery, Registration, Report, Welcome};
use std::num::NonZeroU32;

/// The package that rules are about.
pub(crate) const RULED_PACKAGE: &str = "glue";

/// The run of an agent and the number of its call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct From {
    /// The host's index in the world.
    pub(crate) host: usize,
    /// The run of the host's agent.
    pub(crate) agent_run: u64,
    /// The call's number.
    pub(crate) call: u64,
}

/// A poll for orders.
#[derive(Debug, Clone)]
pub(crate) struct Poll {
    pub(crate) from: From,
    pub(crate) host_id: HostId,
    pub(crate) query: OrdersQuery,
}

/// A client's request.
#[derive(Debug, Clone)]
pub(crate) enum ClientRequest {
    Create(Box<NewServers>),
    Start(ServerId),
    Stop(ServerId),
    Reboot(ServerId, BootStyle),
    Pause(ServerId),
    Unpause(ServerId),
    Suspend(ServerId),
    Resume(ServerId),
    Delete(ServerId),
    /// The server can be restored for this long.
    SoftDelete(ServerId, NonZeroU32),
    Restore(ServerId),
    Migrate(ServerId),
    LiveMigrate(ServerId),
    Resize(ServerId, &'static str),
    Confirm(ServerId),
    Revert(ServerId),
    Snapshot(ServerId),
    Rebuild(ServerId, bool),
    Rescue(ServerId),
    Unrescue(ServerId),
    Shelve(ServerId),
    Unshelve(ServerId),
    Abort(ServerId),
    /// Moves a port to other addresses.
    Readdress(PortId),
    Intent(HostId, Intent),
    Check(HostId),
    /// Adds the rule that denies this kernel.
    Deny(String),
    /// Adds a draft that denies this version of a package.
    Draft(String),
    /// Puts all drafts in force.
    Enforce,
    /// Adds the rule that requires a canary.
    RequireCanary,
    /// Removes all rules.
    Allow,
    /// Starts a plan that moves all servers of this host away.
    Drain(HostId),
    /// Starts a plan that boots this host.
    BootHost(HostId, Guests),
    /// Starts a plan that starts the servers of this host that are in error.
    Recover(HostId),
    /// Ends the drain of this host.
    Undrain(HostId),
    /// Pauses all plans that run.
    PausePlans,
    /// Resumes all plans that do not run, and ends the freeze.
    ResumePlans,
    /// Freezes all plans.
    Freeze,
    /// Has its plan leave a server where it is.
    Skip(ServerId),
}

/// An action of every host that boots nothing.
pub(crate) const PATCH: &str = "patch";

/// How an action ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ActionEnd {
    /// The host boots.
    Boots,
    /// It succeeds.
    Succeeds,
    /// The action says that it failed.
    Fails,
    /// The action says that it succeeded, and nothing happens.
    Lies,
}

impl ClientRequest {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Reboot(_, BootStyle::Soft) => "soft reboot",
            Self::Reboot(_, BootStyle::Hard | BootStyle::Resume) => "hard reboot",
            Self::Pause(_) => "pause",
            Self::Unpause(_) => "unpause",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
            Self::Delete(_) => "delete",
            Self::SoftDelete(..) => "soft-delete",
            Self::Restore(_) => "restore",
            Self::Migrate(_) => "migrate",
            Self::LiveMigrate(_) => "live-migrate",
            Self::Resize(..) => "resize",
            Self::Confirm(_) => "confirm",
            Self::Revert(_) => "revert",
            Self::Abort(_) => "abort",
            Self::Snapshot(_) => "back up",
            Self::Rebuild(..) => "rebuild",
            Self::Rescue(_) => "rescue",
            Self::Unrescue(_) => "unrescue",
            Self::Shelve(_) => "shelve",
            Self::Unshelve(_) => "unshelve",
            Self::Readdress(_) => "readdress",
            Self::Intent(_, Intent::Enabled) => "enable host",
            Self::Intent(..) => "disable host",
            Self::Drain(_) => "drain host",
            Self::BootHost(..) => "reboot host",
            Self::Recover(_) => "recover host",
            Self::Undrain(_) => "undrain host",
            Self::PausePlans => "pause plans",
            Self::ResumePlans => "resume plans",
            Self::Freeze => "freeze plans",
            Self::Skip(_) => "skip a server",
            Self::Check(_) => "check host",
            Self::Deny(_) => "deny a kernel",
            Self::Draft(_) => "draft a rule about a package",
            Self::Enforce => "enforce the drafts",
            Self::RequireCanary => "require canaries",
            Self::Allow => "remove the rules",
        }
    }

    /// The request's server.
    pub(crate) fn server(&self) -> Option<ServerId> {
        match self {
            Self::Start(id)
            | Self::Stop(id)
            | Self::Reboot(id, _)
            | Self::Pause(id)
            | Self::Unpause(id)
            | Self::Suspend(id)
            | Self::Resume(id)
            | Self::Delete(id)
            | Self::SoftDelete(id, _)
            | Self::Restore(id)
            | Self::Migrate(id)
            | Self::LiveMigrate(id)
            | Self::Resize(id, _)
            | Self::Confirm(id)
            | Self::Revert(id)
            | Self::Abort(id)
            | Self::Snapshot(id)
            | Self::Rebuild(id, _)
            | Self::Rescue(id)
            | Self::Unrescue(id)
            | Self::Shelve(id)
            | Self::Unshelve(id) => Some(*id),
            Self::Create(_)
            | Self::Readdress(_)
            | Self::Intent(..)
            | Self::Check(_)
            | Self::Deny(_)
            | Self::Draft(_)
            | Self::Enforce
            | Self::RequireCanary
            | Self::Allow
            | Self::Drain(_)
            | Self::BootHost(..)
            | Self::Recover(_)
            | Self::Undrain(_)
            | Self::PausePlans
            | Self::ResumePlans
            | Self::Freeze
            | Self::Skip(_) => None,
        }
    }
}

/// A message on its way to the control plane.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Register(From, Box<Registration>),
    Poll(Poll),
    Report(From, HostId, Box<Report>),
    /// A disk for the image store.
    Save(From, Save),
    Client(Caller, ClientRequest),
}

/// The disk of a server that is being shelved.
#[derive(Debug, Clone)]
pub(crate) struct Save {
    pub(crate) host_id: HostId,
    pub(crate) server: ServerId,
    pub(crate) upload: String,
    /// The step that sends it.
    pub(crate) number: u64,
    /// The disk's content: the number of its making, and the number of writes.
    pub(crate) content: (u64, u64),
}

/// A message on its way to an agent.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Welcome(Welcome),
    Orders(Box<Orders>),
    /// Whether the image store has accepted the disk of this step.
    Saved(ServerId, u64, bool),
    /// The report is durable.
    Taken,
    /// The control plane does not know the host, which must register.
    Unknown,
}

/// An event.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    ToPlane(Request),
    ToAgent(From, Reply),
    /// The control plane runs the waiting jobs.
    Work,
    /// A poll's wait ends.
    PollEnds(u64),
    PlaneStarts,
    PlaneDies,
    AgentStarts(usize),
    AgentDies {
        host: usize,
        back_ms: i64,
        host_too: bool,
    },
    /// An agent looks for calls without an answer, and for steps to try again.
    Tick {
        host: usize,
        agent_run: u64,
    },
    /// A step has its effect.
    StepActs {
        host: usize,
        agent_run: u64,
        server: ServerId,
        number: u64,
    },
    /// A step ends, and its agent learns of it.
    StepEnds {
        host: usize,
        agent_run: u64,
        server: ServerId,
        number: u64,
    },
    /// A guest's process ends by itself.
    GuestEnds {
        host: usize,
        server: ServerId,
        process: u64,
        how: Ended,
    },
    /// An agent learns of a process's end.
    Heard {
        host: usize,
        agent_run: u64,
        server: ServerId,
        boot: u64,
        how: Ended,
    },
    /// A guest writes to its disk.
    GuestWrites,
    /// A check of a host ends.
    CheckEnds {
        host: usize,
        agent_run: u64,
        number: u64,
    },
    /// A canary ends.
    CanaryEnds {
        host: usize,
        agent_run: u64,
        number: u64,
    },
    /// The action that boots a host ends in this way.
    ActionEnds {
        host: usize,
        agent_run: u64,
        number: u64,
        how: ActionEnd,
    },
    /// A vanished disk is put back.
    DiskBack {
        host: usize,
        server: ServerId,
    },
    /// A client or an operator acts.
    Client,
    /// A fault happens.
    Fault,
    /// Faults and clients stop.
    Calm,
    /// Checks whether everything is at rest.
    Look,
}
