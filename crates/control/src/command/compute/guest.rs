//! What is done inside a running guest: a new password, a dump of its memory. No record of the server changes; the server's
//! actions say that it was done.

use crate::{
    command::compute::access::actable,
    lifecycle::operation::{begin, finish},
};
use lenticular_model::{
    HostId, ServerId, Txn,
    compute::{operation::OperationKind, server::Wanted},
    error::{Error, Result},
    host::host::PROTOCOL_WITH_QUESTIONS,
    policy::{Action, Caller},
};

/// Checks that the caller may have this done in a server's guest now. Returns the host that does it.
///
/// # Errors
/// The caller may not, or the server's state or its host's agent does not permit it.
pub fn check(txn: &Txn<'_>, caller: &Caller, id: ServerId, what: OperationKind) -> Result<HostId> {
    let (action, from): (_, &[&str]) = match what {
        OperationKind::ChangePassword => (Action::ServerChangePassword, &["active"]),
        _ => (Action::ServerCrashDump, &["active", "paused", "rescued", "resized", "error"]),
    };
    let server = actable(txn, caller, id, action)?;
    let verb = what.name();
    let refused = |why: &str| Err(Error::conflict(format!("Cannot '{verb}' instance {id} while {why}")));
    if server.wanted == Wanted::Absent {
        return refused("it is in task_state deleting");
    }
    if let Some(task) = &server.task {
        return refused(&format!("it is in task_state {}", task.action.task_state()));
    }
    if !from.contains(&server.vm_state()) {
        return refused(&format!("it is in vm_state {}", server.vm_state()));
    }
    let host = server.host_id.and_then(|id| txn.hosts.get(&id)).filter(|_| server.powered);
    match host {
        Some(host) if host.protocol >= PROTOCOL_WITH_QUESTIONS => Ok(host.id),
        Some(_) => {
            refused("the agent of its host is of an older version. Ask the operator to upgrade the agent.")
        }
        None => refused("its guest does not run. Start the server."),
    }
}

/// Records what was done in a server's guest, and why it failed if it did.
pub fn record(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    what: OperationKind,
    failure: Option<String>,
) {
    // The server may be gone meanwhile.
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let task = begin(txn, &server, what, Some(caller));
    finish(txn, task.operation_id, failure);
}
