//! Reports of hosts about servers after a restore of the store; `lifecycle/restore.rs` has the rules.

use crate::lifecycle::{
    archive::archive_if_gone,
    disk_copy,
    restore::{adopt, keep_or_remove, place_found},
};
use lenticular_model::{
    HostId, ServerId, State, Txn,
    compute::{
        disk_copy::{DiskCopy, Fate, FoundDisk},
        server::{Restored, Server},
    },
    host::{
        host::Host,
        observation::{Observation, ObservedState, SourceDecision, StopReason},
    },
};
use std::{collections::BTreeSet, sync::Arc};

/// The host's claim on a server by its report; `None` if it has none.
fn claim(seen: &Observation) -> Option<FoundDisk> {
    let handover = seen.handover.as_ref().filter(|handover| handover.decision == SourceDecision::Released);
    match &seen.observed {
        ObservedState::Absent => None,
        ObservedState::Receiving { .. } | ObservedState::Ready | ObservedState::Unready { .. } => {
            Some(FoundDisk::Coming)
        }
        _ if handover.is_some() => handover.map(|h| FoundDisk::Released { generation: h.generation }),
        ObservedState::Kept | ObservedState::Stopped { why: StopReason::MovedAway } => Some(FoundDisk::Left),
        ObservedState::Stopped { .. }
        | ObservedState::Running { .. }
        | ObservedState::Failed { .. }
        | ObservedState::Preparing { .. } => Some(FoundDisk::Own),
    }
}

/// Accepts the full list of what a host has. Disks that no record explains are recorded as found. Found disks that
/// the host no longer has are forgotten.
pub(crate) fn inventory(txn: &mut Txn<'_>, host: HostId, all: &[Observation]) {
    let there: BTreeSet<ServerId> =
        all.iter().filter(|seen| claim(seen).is_some()).map(|seen| seen.server_id).collect();
    for copy in found_on(txn, host) {
        if !there.contains(&copy.server_id) {
            txn.delete::<DiskCopy>(&copy.id);
            archive_if_gone(txn, copy.server_id);
        }
    }
    let unheard = txn.hosts.get(&host).is_some_and(|host| host.unheard);
    for seen in all {
        match txn.servers.get(&seen.server_id).cloned() {
            None => note_found(txn, host, seen),
            Some(server) if server.restored.is_none() => correct(txn, &server, host, seen, unheard),
            _ => {}
        }
    }
    if unheard {
        txn.update::<Host>(&host, |host| host.unheard = false);
    }
}

fn found_on(state: &State, host: HostId) -> Vec<Arc<DiskCopy>> {
    let copies = state.disk_copies_on_host(host);
    copies.filter(|copy| matches!(copy.fate, Fate::Found { .. })).cloned().collect()
}

/// Handles a report of a server whose host is known to be another. The report counts only from a host not heard
/// since the restore.
fn correct(txn: &mut Txn<'_>, server: &Server, host: HostId, seen: &Observation, unheard: bool) {
    let comes = server.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    match claim(seen) {
        Some(FoundDisk::Own) if unheard && seen.generation > server.disk.generation => {
            adopt(txn, server, host, seen.generation);
            place_found(txn, server.id, Some(seen));
        }
        _ if comes || server.host_id == Some(host) => {}
        _ => note_found(txn, host, seen),
    }
}

/// Judges a host's report of a restored server. True if the report needs no further handling.
pub(crate) fn judge(txn: &mut Txn<'_>, host: HostId, seen: &Observation) -> bool {
    let Some(server) = txn.servers.get(&seen.server_id).filter(|s| s.restored.is_some()).cloned() else {
        return false;
    };
    let newer = seen.generation > server.disk.generation;
    let here = server.host_id == Some(host) && seen.generation == server.disk.generation;
    match claim(seen) {
        Some(FoundDisk::Own) if here => place_found(txn, server.id, Some(seen)),
        // By the record the disk was released to this host, which does not know that yet.
        Some(FoundDisk::Coming) if here => place_found(txn, server.id, None),
        Some(FoundDisk::Own) if newer => {
            adopt(txn, &server, host, seen.generation);
            place_found(txn, server.id, Some(seen));
        }
        None => disk_copy::on_gone(txn, host, seen),
        Some(_) => {
            if server.host_id == Some(host) {
                // Another host may have the server, but not this one.
                txn.update::<Server>(&server.id, |s| {
                    s.host_id = None;
                    s.restored = Some(Restored::Denied);
                });
            }
            note_found(txn, host, seen);
            pair(txn, server.id);
        }
    }
    txn.servers.get(&seen.server_id).is_none_or(|s| s.restored.is_some())
}

/// One host has handed the server on, and another waits for it under that generation: the server is the other's.
fn pair(txn: &mut Txn<'_>, id: ServerId) {
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let copies: Vec<Arc<DiskCopy>> = txn.disk_copies_of_server(id).cloned().collect();
    let released = |copy: &DiskCopy| {
        copies.iter().any(|other| {
            other.fate == Fate::Found { what: FoundDisk::Released { generation: copy.generation } }
        })
    };
    let comes = copies.iter().find(|copy| {
        let coming = copy.fate == Fate::Found { what: FoundDisk::Coming };
        coming && copy.generation > server.disk.generation && released(copy)
    });
    if let Some(copy) = comes {
        adopt(txn, &server, copy.host_id, copy.generation);
        place_found(txn, id, None);
    }
}

/// Records what a host has and the record does not explain.
fn note_found(txn: &mut Txn<'_>, host: HostId, seen: &Observation) {
    let Some(what) = claim(seen) else { return };
    let fate = Fate::Found { what };
    let known = txn.disk_copy_on(host, seen.server_id);
    let explained = known.is_some_and(|copy| match copy.fate {
        Fate::Found { .. } => copy.generation == seen.generation && copy.fate == fate,
        Fate::Kept { .. } | Fate::Doomed => copy.generation >= seen.generation,
    });
    if explained {
        return;
    }
    let why = "found there, and no record says how it came to be".to_owned();
    disk_copy::leave(txn, seen.server_id, host, seen.generation, fate, why);
    let id = txn.disk_copy_on(host, seen.server_id).map(|copy| copy.id);
    let Some(id) = id else { return };
    txn.update::<DiskCopy>(&id, |copy| copy.may_run = what == FoundDisk::Own);
    if let Some(copy) = txn.disk_copies.get(&id).cloned() {
        keep_or_remove(txn, &copy);
    }
}
