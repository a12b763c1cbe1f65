//! The agent protocol: hosts pull orders and push reports; the control plane never calls a host.
//!
//! ```text
//! POST /agent/v1/hello                        Registration → Welcome   the host's name, facts, evidence and guests
//! GET  /agent/v1/hosts/H/orders?…             OrdersQuery  → Orders    long poll: the changes after a commit
//! POST /agent/v1/hosts/H/observations         Report       → 204       durable when answered
//! POST /agent/v1/hosts/H/answers              Answer       → 204       to a question that came with orders
//! GET  /agent/v1/hosts/H/consoles/C                        → 101       a guest's console, which a question asked for
//! GET  /agent/v1/images/I/data                             → bytes     an image, for the base cache
//! GET  /agent/v1/servers/S/user-data                       → bytes     (404: there is none)
//! GET  /agent/v1/servers/S/files                           → JSON      the owner's files for the guest (404: there are none)
//! PUT  /agent/v1/servers/S/disk?upload=U      bytes        → 204       a whole qcow2 disk, for the image store
//! ```
//!
//! A lost, late or repeated message does no harm. Orders name the commit that they follow (`after`), and an agent
//! applies only orders that follow its applied commit. Reports are levels, not edges: an observation names
//! generation and boot, a fact or a piece of evidence replaces the one before. A missing order never means
//! removal: a guest is removed only on an order to remove it.
//!
//! A registration begins a session, and ends the session before. Reports are numbered within their session: a
//! report that arrives after a later report is answered and changes nothing. Polls and reports of any other
//! session get 404, and then the agent registers again. So if a late or repeated registration ended the agent's
//! session, the agent's next call fails. Then its new registration corrects the content of the old one.
//!
//! The first path keeps the name that agents of version 2 know.
//!
//! A fact that changes is sent alone, with the next report, and ends no session.
//!
//! The control plane also understands agents of the version before ([`v2`]).

mod diagnostics;
mod orders;
mod question;
mod registration;
mod report;
pub mod v2;
mod version;

pub use diagnostics::{Diagnostics, DiskCounters, NicCounters, Traffic};
pub use lenticular_model::{
    compute::migration::MoveProgress,
    host::{
        evidence::Evidence,
        fact::Facts,
        guest_spec::{AddressSpec, Base, Content, DiskSpec, FloatingSpec, GuestSpec, PortSpec, RescueSpec},
        host::HostOrder,
        order::{GuestAssignment, Order, Outgoing, Own, Peer, Receive, Replaces, RunGoal},
    },
};
pub use orders::{Orders, OrdersQuery};
pub use question::{Answer, CONSOLE_PROTOCOL, ConsoleKind, Question, Subject};
pub use registration::{Registration, Welcome};
pub use report::Report;
pub use version::{OtherVersion, read_registration};

/// The version of this protocol.
pub const VERSION: u32 = 3;

/// The oldest version of the protocol that the control plane understands.
pub const VERSION_MIN: u32 = v2::VERSION;

/// The longest wait of a poll for orders, in milliseconds.
pub const WAIT_MS_MAX: u64 = 20_000;
