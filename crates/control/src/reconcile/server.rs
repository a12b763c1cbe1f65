//! The server controller: removes servers that need no host for their removal, and ends overdue operations.

use crate::{
    lifecycle::{archive::archive_if_gone, condition, migration, operation, shelf},
    reconcile::restored_server,
};
use lenticular_model::{
    ServerId, Timestamp, Txn,
    compute::{
        operation::OperationKind,
        server::{Server, Wanted},
    },
};

/// One step for one server.
pub fn reconcile(id: ServerId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let current = txn.servers.get(&id)?.clone();
    if current.restored.is_some() {
        restored_server::reconcile(txn, &current);
        return None;
    }
    if current.wanted == Wanted::Absent && current.host_id.is_none() {
        archive_if_gone(txn, id);
        return None;
    }
    let confirm_at = current.unconfirmed.as_ref().and_then(|last| last.confirm_at);
    let Some(task) = &current.task else {
        if confirm_at.is_some_and(|at| at <= txn.now) {
            migration::confirm(txn, &current);
            return None;
        }
        return confirm_at;
    };
    let Some(operation) = txn.operations.get(&task.operation_id).cloned() else {
        txn.update::<Server>(&id, |s| s.task = None);
        return None;
    };
    // A tombstone stands until its host has confirmed it, for any time; a move has its own deadlines.
    if task.action == OperationKind::Delete || current.ticket.is_some() {
        return None;
    }
    // The time without a leader does not count as the host's delay.
    let deadline = operation.deadline.max(txn.took_over_at.plus_s(task.action.deadline_s().min(120)));
    if txn.now < deadline {
        return Some(deadline);
    }
    let host =
        current.host_id.and_then(|h| txn.hosts.get(&h)).map_or("its host".to_owned(), |h| h.name.clone());
    let message = format!(
        "The host did not finish '{}' within {} s. Start the server again, or delete it.",
        task.action.name(),
        task.action.deadline_s()
    );
    if task.action == OperationKind::Shelve {
        shelf::give_up(txn, &current, message);
        return None;
    }
    operation::finish(txn, task.operation_id, Some(message.clone()));
    let now = txn.now;
    txn.update::<Server>(&id, |s| {
        s.task = None;
        condition::set_error(s, condition::fault(message, Some(format!("host {host}")), now));
    });
    None
}
