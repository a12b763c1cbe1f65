//! What becomes of the record when the store goes back to a backup: the hosts know better, and are believed once.
//!
//! Restoring a store begins a new life of it. [`begin`] is the first transaction in the restored store, and the new
//! incarnation is named after it; from then on:
//!
//! ```text
//!                       its host, or one with a newer disk, says that it has it
//!   server: restored ──────────────────────────────────────────────────────────▶ as ever
//!              │        all hosts have said what they have, and none has it
//!              └──────────────────────────────────────────────────────────────▶ in error: lost
//! ```
//!
//! Rules:
//! - Nobody has orders for a restored server, and no request but its deletion is taken: nothing starts, moves or is
//!   removed. What runs goes on running. Only of the disks that it had left behind before the backup a host is told what
//!   it was told before: they are older than whatever the server has now.
//! - A host speaks only after it has given up the orders of the life before (`Registration::life`). So a host that says
//!   that it may run a guest cannot hand that guest to another any more, and two hosts never both say so truthfully.
//! - The highest generation wins. A host that has not been heard since the restore may claim even a server that another
//!   host was found to have, if its disk is newer: that is how an evacuation shows that the backup does not know.
//! - A disk that was handed over makes its server the next host's: by that host's own word, or if it waits for just that
//!   one.
//! - A server that no host has is lost, and is never made afresh: it may have been deleted since.
//! - What a host has and the record does not explain is found ([`Fate::Found`]): left alone and shown, until an operator
//!   gives it up ([`give_up`]), or what becomes of its server makes plain that it is only a leftover.
//! - Two disks of one generation, both ready to run, are a conflict: the server keeps the host of the record, the other
//!   disk stays found.
//! - Generations are numbers that no life before has issued: they count on from the time of the restore in seconds.

use crate::lifecycle::{archive::archive_if_gone, disk_copy, migration, ports, shelf};
use lenticular_model::{
    compute::{
        disk_copy::{DiskCopy, Fate, FoundDisk, KEPT_S},
        migration::Phase,
        server::{Restored, Server, Wanted},
    },
    host::{
        host::{Heartbeat, Host},
        observation::{Observation, ObservedState},
    },
    HostId, ServerId, Txn,
};
use std::sync::Arc;

const WHY: &str = "The store was restored from a backup.";

/// The first transaction in a store that was restored: from here on nothing in it is believed that a host can tell.
pub fn begin(txn: &mut Txn<'_>) {
    let now = txn.now;
    let hosts: Vec<HostId> = txn.hosts.keys().copied().collect();
    for id in hosts {
        txn.delete::<Heartbeat>(&id);
        txn.update::<Host>(&id, |host| {
            host.unheard = true;
            host.silent_since = host.silent_since.or(Some(now));
        });
    }
    let since = u64::try_from(now.unix_s()).unwrap_or_default();
    let servers: Vec<Arc<Server>> = txn.servers.values().cloned().collect();
    for server in servers {
        // What came of it, its hosts will say.
        migration::end(txn, &server, Phase::Failed { why: WHY.to_owned() });
        txn.update::<Server>(&server.id, |s| {
            // What its host denied after an earlier restore, it denies still.
            let denied = s.restored == Some(Restored::Denied) && s.host_id.is_none();
            s.restored = Some(if denied { Restored::Denied } else { Restored::Unheard });
            s.disk.issued = s.disk.issued.max(s.disk.generation).max(since);
        });
    }
}

/// The server is on another host than the record says, or its disk is newer.
pub fn adopt(txn: &mut Txn<'_>, server: &Server, host: HostId, generation: u64) {
    migration::end(txn, server, Phase::Failed { why: WHY.to_owned() });
    if let Some(last) = &server.unconfirmed {
        migration::finish(txn, last.migration_id, Phase::Confirmed);
    }
    match server.is_being_shelved() {
        true => shelf::give_up(txn, server, WHY.to_owned()),
        false => shelf::clear(txn, server),
    }
    ports::move_to(txn, server.id, host);
    txn.update::<Server>(&server.id, |s| {
        s.unconfirmed = None;
        s.host_id = Some(host);
        s.disk.generation = generation;
        s.disk.issued = s.disk.issued.max(generation);
        s.disk.revives = None;
        s.disk.made = true;
    });
    if let Some(from) = server.host_id.filter(|from| *from != host) {
        let fate = Fate::Kept { until: txn.now.plus_s(KEPT_S) };
        let what = "was there in the backup, and is elsewhere".to_owned();
        disk_copy::leave(txn, server.id, from, server.disk.generation, fate, what);
    }
}

/// Where a server is, is known, by what its host saw if that told it: what is found of it elsewhere is a leftover, and if
/// it is to be gone, all of it is.
pub fn place_found(txn: &mut Txn<'_>, id: ServerId, seen: Option<&Observation>) {
    let runs = seen.is_some_and(|seen| matches!(seen.observed, ObservedState::Running { .. }));
    let made = seen.is_none_or(|seen| match seen.observed {
        ObservedState::Preparing { disk_made, .. } | ObservedState::Failed { disk_made, .. } => disk_made,
        _ => true,
    });
    txn.update::<Server>(&id, |s| {
        s.restored = None;
        s.disk.made |= made;
        // What was booted since is not to be booted again, nor a later boot to be taken for one that was.
        s.boot = s.boot.max(seen.map_or(0, |seen| seen.boot));
        if runs && s.wanted == Wanted::Stopped && s.task.is_none() {
            s.wanted = Wanted::Running;
        }
    });
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    if let Some(host) = server.host_id {
        disk_copy::clear(txn, host, id);
    }
    let copies: Vec<Arc<DiskCopy>> = txn.disk_copies_of_server(id).cloned().collect();
    for copy in copies {
        keep_or_remove(txn, &copy);
    }
    if server.wanted == Wanted::Absent {
        migration::cancel(txn, &server);
        disk_copy::remove_all(txn, id);
        archive_if_gone(txn, id);
    }
}

/// Decides what becomes of a disk that was found, once its server's place is known.
pub fn keep_or_remove(txn: &mut Txn<'_>, copy: &DiskCopy) {
    let Fate::Found { what } = copy.fate else { return };
    let Some(server) = txn.servers.get(&copy.server_id).filter(|s| s.restored.is_none()).cloned() else {
        return;
    };
    let until = txn.now.plus_s(KEPT_S);
    let older = copy.generation < server.disk.generation;
    let fate = match what {
        // Its server is lost, and an operator may go back to it.
        FoundDisk::Released { .. } | FoundDisk::Left if server.host_id.is_none() => Fate::Kept { until },
        _ if older && server.host_id.is_some() => Fate::Kept { until },
        // It was to go there, and whoever has it can release it to nobody any more.
        FoundDisk::Coming if server.host_id.is_some() => Fate::Doomed,
        _ => return,
    };
    txn.update::<DiskCopy>(&copy.id, |copy| copy.fate = fate);
}
