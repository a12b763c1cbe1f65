//! What is done inside a running guest: a new password, a dump of its memory. No record of the server changes; the server's
//! actions say that it was done.

use crate::{command::compute::access::actable, lifecycle::operation};
use lenticular_model::{
    HostId, OperationId, ServerId, Txn,
    compute::{operation::OperationKind, server::Wanted},
    error::{Error, Result},
    host::host::PROTOCOL_WITH_QUESTIONS,
    policy::{Action, Caller},
};

/// What can be done inside a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestAction {
    /// Set a user's password.
    ChangePassword,
    /// Interrupt the guest, so that it dumps its memory.
    CrashDump,
}

impl GuestAction {
    fn operation(self) -> OperationKind {
        match self {
            Self::ChangePassword => OperationKind::ChangePassword,
            Self::CrashDump => OperationKind::CrashDump,
        }
    }

    /// The right that it needs.
    fn right(self) -> Action {
        match self {
            Self::ChangePassword => Action::ServerChangePassword,
            Self::CrashDump => Action::ServerCrashDump,
        }
    }

    /// The `vm_state`s in which Nova takes it.
    fn vm_states(self) -> &'static [&'static str] {
        match self {
            Self::ChangePassword => &["active"],
            Self::CrashDump => &["active", "paused", "rescued", "resized", "error"],
        }
    }
}

/// Begins an operation inside a server's guest. Returns the host that does it.
///
/// # Errors
/// The caller may not, or the server's state or its host's agent does not permit it.
pub fn begin(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    what: GuestAction,
) -> Result<(HostId, OperationId)> {
    let server = actable(txn, caller, id, what.right())?;
    let verb = what.operation().name();
    let refused = |why: &str| Err(Error::conflict(format!("Cannot '{verb}' instance {id} while {why}")));
    if server.wanted == Wanted::Absent {
        return refused("it is in task_state deleting");
    }
    if let Some(task) = &server.task {
        return refused(&format!("it is in task_state {}", task.action.task_state()));
    }
    if !what.vm_states().contains(&server.vm_state()) {
        return refused(&format!("it is in vm_state {}", server.vm_state()));
    }
    let host = server.host_id.and_then(|id| txn.hosts.get(&id)).filter(|_| server.powered);
    match host.map(|host| (host.id, host.protocol)) {
        Some((host, protocol)) if protocol >= PROTOCOL_WITH_QUESTIONS => {
            Ok((host, operation::begin(txn, &server, what.operation(), Some(caller)).operation_id))
        }
        Some(_) => {
            refused("the agent of its host is of an older version. Ask the operator to upgrade the agent.")
        }
        None => refused("its guest does not run. Start the server."),
    }
}

/// Ends the operation, with the reason if it failed.
pub fn end(txn: &mut Txn<'_>, operation: OperationId, failure: Option<String>) {
    operation::finish(txn, operation, failure);
}
