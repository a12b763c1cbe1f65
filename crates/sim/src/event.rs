//! What can come next in the world.

use lenticular_agent::core::Ended;
use lenticular_control::command::compute::server_create::NewServers;
use lenticular_model::{
    compute::server::BootStyle,
    host::{host::Intent, observation::Observation},
    policy::Caller,
    HostId, PortId, ServerId,
};
use lenticular_wire::agent::{Hello, Orders, OrdersQuery, Report, Welcome};

/// Which agent's process, and which of its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct From {
    /// The host's place in the world.
    pub(crate) host: usize,
    /// Which run of the host's agent.
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

/// What a client asks for.
#[derive(Debug, Clone)]
pub(crate) enum ClientRequest {
    Create(Box<NewServers>),
    Start(ServerId),
    Stop(ServerId),
    Reboot(ServerId, BootStyle),
    Delete(ServerId),
    Migrate(ServerId),
    LiveMigrate(ServerId),
    Resize(ServerId, &'static str),
    Confirm(ServerId),
    Revert(ServerId),
    Shelve(ServerId),
    Unshelve(ServerId),
    Abort(ServerId),
    /// Moves a port to other addresses.
    Readdress(PortId),
    Intent(HostId, Intent),
}

impl ClientRequest {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Start(_) => "start",
            Self::Stop(_) => "stop",
            Self::Reboot(_, BootStyle::Soft) => "soft reboot",
            Self::Reboot(_, BootStyle::Hard) => "hard reboot",
            Self::Delete(_) => "delete",
            Self::Migrate(_) => "migrate",
            Self::LiveMigrate(_) => "live-migrate",
            Self::Resize(..) => "resize",
            Self::Confirm(_) => "confirm",
            Self::Revert(_) => "revert",
            Self::Abort(_) => "abort",
            Self::Shelve(_) => "shelve",
            Self::Unshelve(_) => "unshelve",
            Self::Readdress(_) => "readdress",
            Self::Intent(_, Intent::Enabled) => "enable host",
            Self::Intent(_, Intent::Disabled { .. }) => "disable host",
        }
    }

    /// The server that it is about.
    pub(crate) fn server(&self) -> Option<ServerId> {
        match self {
            Self::Start(id)
            | Self::Stop(id)
            | Self::Reboot(id, _)
            | Self::Delete(id)
            | Self::Migrate(id)
            | Self::LiveMigrate(id)
            | Self::Resize(id, _)
            | Self::Confirm(id)
            | Self::Revert(id)
            | Self::Abort(id)
            | Self::Shelve(id)
            | Self::Unshelve(id) => Some(*id),
            Self::Create(_) | Self::Readdress(_) | Self::Intent(..) => None,
        }
    }
}

/// A message on its way to the control plane.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Hello(From, Box<Hello>),
    Poll(Poll),
    Report(From, HostId, Report),
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
    /// What it has: which making of the disk, and how many writes.
    pub(crate) content: (u64, u64),
}

/// A message on its way to an agent.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Welcome(Welcome),
    Orders(Orders),
    /// Whether the image store has taken the disk that this step sent.
    Saved(ServerId, u64, bool),
    /// The report with these observations is durable.
    Taken,
    /// The host is not known and must register.
    Unknown,
}

/// What can come next.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    ToPlane(Request),
    ToAgent(From, Reply),
    /// The control plane runs what waits.
    Work,
    /// A poll has waited long enough.
    PollEnds(u64),
    PlaneStarts,
    PlaneDies,
    AgentStarts(usize),
    AgentDies {
        host: usize,
        back_ms: i64,
        host_too: bool,
    },
    /// An agent looks for calls that had no answer and steps to try again.
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
    /// A step ends and its agent is told.
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
    /// An agent hears of it.
    Heard {
        host: usize,
        agent_run: u64,
        server: ServerId,
        boot: u64,
        how: Ended,
    },
    /// A guest writes to its disk.
    GuestWrites,
    /// A disk that was away is put back.
    DiskBack {
        host: usize,
        server: ServerId,
    },
    /// A client or an operator does something.
    Client,
    /// Something goes wrong.
    Fault,
    /// Faults and clients cease.
    Calm,
    /// Is everything at rest?
    Look,
}

/// What an agent reported and waits for an answer to.
pub(crate) type Said = Vec<Observation>;
