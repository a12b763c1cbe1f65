//! The deletion of servers: at once, or after a time in which their owners can restore them.
//!
//! ```text
//!            soft delete                     restore
//!  in use ───────────────▶ Soft-deleted ───────────────▶ in use, and started
//!     │                         │
//!     │ delete                  │ its time is over, or delete
//!     └─────────────────────────┴──────────────────────▶ tombstone ──▶ gone
//! ```
//!
//! - In use → Soft-deleted: the operator's settings give deleted servers a time. The guest stops. The server keeps its
//!   host, disks, ports and room, and leaves its project's usage.
//! - Soft-deleted → tombstone: the server controller, at `reclaim_at`.

use crate::lifecycle::{archive::archive_if_gone, disk, migration, operation, run, shelf, snapshot};
use lenticular_model::{
    Timestamp, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, Server, Wanted},
    },
    policy::Caller,
};

const WHY: &str = "The server was deleted.";

/// Deletes a server in any state: a tombstone stands until its host has confirmed that the guest is gone. Without a
/// caller, the time of a soft-deleted server is over.
pub fn delete(txn: &mut Txn<'_>, server: &Server, by: Option<&Caller>) {
    operation::finish_task(txn, server, Some(WHY.to_owned()));
    if server.restored.is_none() {
        migration::cancel(txn, server);
        disk::remove_all(txn, server.id);
    }
    shelf::clear(txn, server);
    snapshot::give_up(txn, server, WHY);
    let task = operation::begin(txn, server, OperationKind::Delete, by);
    txn.update::<Server>(&server.id, |s| {
        s.wanted = Wanted::Absent;
        s.task = Some(task);
    });
    archive_if_gone(txn, server.id);
}

/// True if a server can be deleted so that it can be restored: it has run, and nothing but a snapshot is under way.
pub fn can_be_soft(server: &Server) -> bool {
    let has_disk = server.host_id.is_some() || server.is_offloaded();
    let rests = server.run_task().is_none() && server.ticket.is_none() && server.rebuild.is_none();
    server.launched_at.is_some() && server.restored.is_none() && has_disk && rests
}

/// Deletes a server so that it can be restored until `until`.
pub fn soft_delete(txn: &mut Txn<'_>, server: &Server, by: &Caller, until: Timestamp) {
    snapshot::give_up(txn, server, WHY);
    migration::confirm(txn, server);
    operation::note(txn, server, OperationKind::SoftDelete, by);
    txn.update::<Server>(&server.id, |s| {
        s.reclaim_at = Some(until);
        s.wanted = Wanted::Stopped;
        // It comes back from its own disk.
        s.rescue = None;
    });
    // A guest that does not run has nothing to report. A suspended guest's memory must be discarded first.
    let rests = |s: &Server| !s.powered && s.condition != Condition::Suspended;
    if let Some(server) = txn.servers.get(&server.id).filter(|s| rests(s)).cloned() {
        run::set_stopped(txn, &server);
    }
}
