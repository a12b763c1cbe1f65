//! Servers with a lost disk: lost with their host, or in a restore of the store.

use crate::lifecycle::{
    archive::archive_if_gone, condition, disk, migration, operation, ports, restore, shelf, snapshot,
};
use lenticular_model::{
    ServerId, Txn,
    compute::{
        migration::{Leg, Phase},
        server::{Restored, Server, Wanted},
    },
};

/// Records that a server's disk was lost with its host; false if the server was only waiting for its deletion.
pub fn on_host_lost(txn: &mut Txn<'_>, id: ServerId, host: &str) -> bool {
    let Some(server) = txn.servers.get(&id).cloned() else { return false };
    if server.wanted == Wanted::Absent {
        // No host is left that could confirm the deletion.
        disk::set_host(txn, id, None);
        archive_if_gone(txn, id);
        return false;
    }
    // A move that the lost host had to decide stays open: its target may have the guest.
    if server.ticket.as_ref().is_some_and(|ticket| ticket.leg == Leg::Prepare) {
        let why = format!("The source host {host} is lost.");
        migration::close(txn, &server, Phase::Failed { why });
    }
    let message = format!(
        "The server's host {host} was retired as lost, and the server's disk with it. Delete the server and create \
         it again."
    );
    snapshot::give_up(txn, &server, &message);
    operation::finish_task(txn, &server, Some(message.clone()));
    ports::bind(txn, id, None);
    disk::set_host(txn, id, None);
    let now = txn.now;
    let details = Some("an operator retired the host by force".to_owned());
    txn.update::<Server>(&id, |server| {
        server.wanted = Wanted::Stopped;
        (server.rebuild, server.rescue) = (None, None);
        server.task = None;
        server.powered = false;
        server.ssh_forward = None;
        condition::set_error(server, condition::fault(message, details, now));
    });
    true
}

/// After a restore of the store no host has the server: the server is lost.
pub fn on_lost_in_restore(txn: &mut Txn<'_>, server: &Server) {
    let id = server.id;
    // A server that was on no host has nothing to lose.
    let never = |s: &Server| s.host_id.is_none() && s.restored == Some(Restored::Unheard);
    if let Some(server) = txn.servers.get(&id).filter(|s| !never(s)).cloned() {
        let message = "The store was restored from a backup, and no host has the server. It was deleted after the \
             backup, or is lost. Delete it, or ask the operator to go back to a disk that it left behind.";
        if let Some(task) = server.task.as_ref().filter(|_| server.wanted != Wanted::Absent) {
            operation::finish(txn, task.operation_id, Some(message.to_owned()));
        }
        snapshot::give_up(txn, &server, message);
        if server.is_being_shelved() {
            shelf::clear(txn, &server);
        }
        let now = txn.now;
        disk::set_host(txn, id, None);
        // No host may make a new disk: the server may have been made, and deleted, after the backup.
        disk::update(txn, id, |disk| disk.made = true);
        txn.update::<Server>(&id, |s| {
            s.powered = false;
            s.ssh_forward = None;
            (s.rebuild, s.rescue) = (None, None);
            if s.wanted != Wanted::Absent {
                s.wanted = Wanted::Stopped;
                s.task = None;
                condition::set_error(s, condition::fault(message.to_owned(), None, now));
            }
        });
    }
    restore::place_found(txn, id, None);
}
