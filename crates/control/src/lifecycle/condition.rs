//! A server's condition (Nova's `vm_state`): all its changes, and nothing else that happens with them.
//!
//! ```text
//!                                      Paused, Suspended
//!                                         ▲ │
//!                                         │ ▼
//!   (created) ──────▶ Building ──────▶ Active ◀──────▶ Stopped
//!       │                │  ▲             │               │  ▲
//!       │                │  │             │               │  │
//!       ▼                ▼  │             ▼               ▼  │
//!     Error ◀─────── any of them fails, is overdue or is lost │
//!       │                   │                                │
//!       └───────────────────┴── a new attempt ───────────────┘
//! ```
//!
//! - Created → Building: `command/compute/server_create.rs`. Created → Error: no host takes the server.
//! - Building, Stopped, Error → Active: the guest runs and its ports are plugged (`run.rs`).
//! - Active → Stopped: the guest was ordered to stop, or shut itself down (`run.rs`).
//! - Active → Paused: the guest stands still, as ordered. Active → Suspended: its memory is saved (`suspend.rs`).
//! - Paused, Suspended → Active: the guest goes on, or was started anew (`run.rs`). → Stopped: its owner stopped it.
//! - Any → Error: the host reports a failure (`run.rs`), an operation is overdue (`reconcile/server.rs`), the disk
//!   is lost with its host (`loss.rs`), or an operator says so.
//! - Error → Stopped or Building: a start, stop, reboot or rebuild is a new attempt (`command/compute/server.rs`).
//! - Any → Stopped: the server leaves its host for the image store (shelving), or comes to a host with another disk
//!   (`shelf.rs`, `command/compute/evacuate.rs`).

use lenticular_model::{
    Timestamp,
    compute::server::{Condition, Fault, Server, Wanted},
};

/// The fault of a server in error: a message for its owner, details for the operator, and the time.
pub fn fault(message: String, details: Option<String>, at: Timestamp) -> Fault {
    Fault { code: 500, message, details, at }
}

/// The guest runs and can be reached.
pub fn set_active(server: &mut Server) {
    server.condition = Condition::Active;
    server.fault = None;
}

/// The guest stands still, as wanted.
pub fn set_paused(server: &mut Server) {
    server.condition = Condition::Paused;
}

/// The guest's memory is saved, as wanted.
pub fn set_suspended(server: &mut Server) {
    server.condition = Condition::Suspended;
}

/// The guest does not run, as wanted.
pub fn set_stopped(server: &mut Server) {
    server.condition = Condition::Stopped;
}

/// The server cannot reach its wanted state until a user or operator acts on it.
pub fn set_error(server: &mut Server, fault: Fault) {
    server.condition = Condition::Error;
    server.fault = Some(fault);
}

/// An operator declares the server healthy or in error. In error it keeps an older fault. A healthy server whose guest
/// stands still is not active: it could then neither go on nor stand still.
pub fn reset(server: &mut Server, active: bool) {
    match (active, server.wanted) {
        (true, Wanted::Paused) => set_paused(server),
        (true, Wanted::Suspended) => set_suspended(server),
        (true, _) => set_active(server),
        (false, _) => server.condition = Condition::Error,
    }
}

/// A new attempt clears the error, so that its caller does not take the old error for the result.
pub fn leave_error(server: &mut Server) {
    if server.condition == Condition::Error {
        server.condition =
            if server.launched_at.is_some() { Condition::Stopped } else { Condition::Building };
        server.fault = None;
    }
}
