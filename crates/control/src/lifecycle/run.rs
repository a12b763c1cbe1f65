//! A server's state when its guest runs, stops or fails on its host.

use crate::lifecycle::{condition, disk, network::cascade, operation, ports, shelf, snapshot};
use lenticular_model::{
    HostId, PortId, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, Server, Wanted},
    },
};
use std::sync::Arc;

/// The guest runs and can be reached: the server is ACTIVE. `memory_lost` says why a guest with a saved memory was
/// started anew: what was asked did not succeed.
pub fn set_running(
    txn: &mut Txn<'_>,
    server: &Server,
    ssh_forward: Option<String>,
    memory_lost: Option<String>,
) {
    let task = operation::finish_run_task(txn, server, memory_lost);
    let now = txn.now;
    txn.update::<Server>(&server.id, |s| {
        condition::set_active(s);
        s.task = task;
        s.powered = true;
        s.awaits_ports = None;
        s.ssh_forward = ssh_forward;
        s.launched_at = s.launched_at.or(Some(now));
    });
}

/// The guest is stopped, as wanted: the server is SHUTOFF.
pub fn set_stopped(txn: &mut Txn<'_>, server: &Server) {
    if server.is_being_shelved() {
        // The guest is stopped for shelving; the outcome is not known yet.
        if server.powered || server.condition != Condition::Stopped {
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                condition::set_stopped(s);
            });
        }
        return;
    }
    let settled = !server.powered && server.run_task().is_none() && server.wanted == Wanted::Stopped;
    let stood = matches!(server.condition, Condition::Active | Condition::Paused | Condition::Suspended);
    if settled && !stood {
        return;
    }
    if server.condition == Condition::Error && server.run_task().is_none() {
        // The fault stays until a user or operator acts on the server.
        txn.update::<Server>(&server.id, |s| s.powered = false);
        return;
    }
    let failure = match server.run_task() {
        Some(task) if task.action != OperationKind::Stop && server.wanted == Wanted::Running => {
            Some("The guest shut itself down.".to_owned())
        }
        _ => None,
    };
    let task = operation::finish_run_task(txn, server, failure);
    txn.update::<Server>(&server.id, |s| {
        condition::set_stopped(s);
        s.wanted = Wanted::Stopped;
        s.fault = None;
        s.task = task;
        s.powered = false;
        s.ssh_forward = None;
    });
}

/// The host reports a failure, with texts for the owner and the operator: the server is in ERROR.
pub fn fail(txn: &mut Txn<'_>, server: &Server, message: String, details: String) {
    let same =
        server.fault.as_ref().is_some_and(|f| f.message == message && f.details.as_ref() == Some(&details));
    if same && server.condition == Condition::Error && server.task.is_none() {
        return;
    }
    ports::set_plugged(txn, server, false);
    operation::finish_task(txn, server, Some(message.clone()));
    snapshot::give_up(txn, server, &message);
    if server.is_being_shelved() {
        shelf::clear(txn, server);
    }
    let now = txn.now;
    txn.update::<Server>(&server.id, |s| {
        s.task = None;
        s.powered = false;
        s.ssh_forward = None;
        condition::set_error(s, condition::fault(message, Some(details), now));
    });
}

/// Puts a server on a host, with disks of a generation; `revives` names the older generation of those disks.
pub fn put_on(txn: &mut Txn<'_>, id: ServerId, to: HostId, generation: u64, revives: Option<u64>) {
    ports::bind(txn, id, Some(to));
    disk::grant(txn, id, to, generation);
    disk::update(txn, id, |disk| disk.revives = revives);
    txn.update::<Server>(&id, |s| {
        s.powered = false;
        s.ssh_forward = None;
        s.unconfirmed = None;
    });
}

/// Makes a server active that waited for ports, once all its ports are plugged.
pub fn activate_if_plugged(txn: &mut Txn<'_>, id: ServerId) {
    let waits = |s: &&Arc<Server>| {
        s.awaits_ports == Some(s.boot) && s.powered && s.wanted == Wanted::Running && s.ticket.is_none()
    };
    let server = txn.servers.get(&id).filter(waits).cloned();
    if let Some(server) = server.filter(|server| !ports::must_wait(txn, server)) {
        set_running(txn, &server, server.ssh_forward.clone(), None);
    }
}

/// Deletes a port of a server. The server's host gets new orders, and the server may have waited for this port
/// alone.
pub fn delete_port(txn: &mut Txn<'_>, server: ServerId, port: PortId) {
    cascade::delete_port(txn, port);
    txn.update::<Server>(&server, |s| s.interfaces += 1);
    activate_if_plugged(txn, server);
}
