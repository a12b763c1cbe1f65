//! The server controller: removes servers that need no host for their removal, and ends overdue operations.

use crate::{
    lifecycle::{
        archive::archive_if_gone, condition, deletion, migration, operation, shelf, snapshot, suspend,
    },
    reconcile::restored_server,
};
use lenticular_model::{
    HostId, ServerId, Timestamp, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, Server, Wanted},
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
    if let Some(at) = current.reclaim_at.filter(|_| current.wanted != Wanted::Absent) {
        if at <= txn.now {
            deletion::delete(txn, &current, None);
        }
        return Some(at).filter(|at| *at > txn.now);
    }
    tell_of_stray_disk(txn, &current);
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
    if task.action.is_snapshot() {
        snapshot::give_up(txn, &current, &message);
        return None;
    }
    if suspend::give_up(txn, &current, message.clone()) {
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

/// Says that a disk of a server is not where the server is. Its hosts get no orders for it.
fn tell_of_stray_disk(txn: &mut Txn<'_>, server: &Server) {
    let Some(disk) = txn.stray_disk(server) else { return };
    let name = |id: Option<HostId>| {
        id.and_then(|id| txn.hosts.get(&id)).map_or_else(|| "no host".to_owned(), |host| host.name.clone())
    };
    let message = "A disk of the server is not where the server is. Nothing is started, moved or removed. Ask the operator \
                   to restore the store from a backup, or delete the server."
        .to_owned();
    let details = format!(
        "by the records, disk {} of generation {} is on {}, and the server of generation {} on {}",
        disk.id,
        disk.generation,
        name(disk.host_id),
        txn.generation_of_server(server.id),
        name(server.host_id)
    );
    if server.condition == Condition::Error && server.fault.as_ref().is_some_and(|f| f.message == message) {
        return;
    }
    let fault = condition::fault(message, Some(details), txn.now);
    txn.update::<Server>(&server.id, |s| condition::set_error(s, fault));
}
