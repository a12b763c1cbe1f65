//! Reports of hosts about servers after a restore of the store; `lifecycle/restore.rs` has the rules.

use crate::lifecycle::{
    archive::archive_if_gone,
    disk,
    restore::{adopt, keep_or_remove, place_found},
};
use lenticular_model::{
    HostId, ServerId, State, Txn,
    compute::{
        disk::{Disk, Fate, FoundDisk},
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
        | ObservedState::Suspended
        | ObservedState::Failed { .. }
        | ObservedState::Preparing { .. } => Some(FoundDisk::Own),
    }
}

/// Accepts the full list of what a host has. Disks that no record explains are recorded as found. Found disks that
/// the host no longer has are forgotten.
pub(crate) fn inventory(txn: &mut Txn<'_>, host: HostId, all: &[Observation]) {
    let there: BTreeSet<ServerId> =
        all.iter().filter(|seen| claim(seen).is_some()).map(|seen| seen.server_id).collect();
    for disk in found_on(txn, host) {
        if !there.contains(&disk.server_id) {
            txn.delete::<Disk>(&disk.id);
            archive_if_gone(txn, disk.server_id);
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

fn found_on(state: &State, host: HostId) -> Vec<Arc<Disk>> {
    let left = state.left_disks_on_host(host);
    left.filter(|disk| matches!(disk.fate(), Some(Fate::Found { .. }))).cloned().collect()
}

/// Handles a report of a server whose host is known to be another. The report counts only from a host not heard
/// since the restore.
fn correct(txn: &mut Txn<'_>, server: &Server, host: HostId, seen: &Observation, unheard: bool) {
    let comes = server.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    match claim(seen) {
        Some(FoundDisk::Own) if unheard && seen.generation > txn.generation_of_server(server.id) => {
            adopt(txn, server, host, seen.generation);
            place_found(txn, server.id, Some(seen));
        }
        _ if comes || server.host_id == Some(host) => {}
        _ => note_found(txn, host, seen),
    }
}

/// Judges a host's report of a restored server. True if the report needs no further handling.
pub(crate) fn judge(txn: &mut Txn<'_>, host: HostId, seen: &Observation) -> bool {
    let Some(server) = txn.servers.get(&seen.server_id).cloned() else { return false };
    if server.restored.is_none() {
        believe_newer(txn, &server, host, seen);
        return false;
    }
    let generation = txn.generation_of_server(server.id);
    let newer = seen.generation > generation;
    // The host has the disk that a rebuild shall replace, or the new one.
    let former = server.rebuild.as_deref().map(|former| former.generation);
    let known = seen.generation == generation || Some(seen.generation) == former;
    let here = server.host_id == Some(host) && known;
    match claim(seen) {
        Some(FoundDisk::Own) if here => place_found(txn, server.id, Some(seen)),
        // By the record the disk was released to this host, which does not know that yet.
        Some(FoundDisk::Coming) if here => place_found(txn, server.id, None),
        Some(FoundDisk::Own) if newer => {
            adopt(txn, &server, host, seen.generation);
            place_found(txn, server.id, Some(seen));
        }
        None => disk::on_gone(txn, host, seen),
        Some(_) => {
            if server.host_id == Some(host) {
                // Another host may have the server, but not this one.
                disk::set_host(txn, server.id, None);
                txn.update::<Server>(&server.id, |s| s.restored = Some(Restored::Denied));
            }
            note_found(txn, host, seen);
            pair(txn, server.id);
        }
    }
    txn.servers.get(&seen.server_id).is_none_or(|s| s.restored.is_some())
}

/// The server's own host has a newer disk than the record says. When the host said first what it has, it was still
/// making that disk by an order of before the restore.
fn believe_newer(txn: &mut Txn<'_>, server: &Server, host: HostId, seen: &Observation) {
    let newer = seen.generation > txn.generation_of_server(server.id);
    if newer && server.host_id == Some(host) && claim(seen) == Some(FoundDisk::Own) {
        adopt(txn, server, host, seen.generation);
        place_found(txn, server.id, Some(seen));
    }
}

/// One host has handed the server on, and another waits for it under that generation: the server is the other's.
fn pair(txn: &mut Txn<'_>, id: ServerId) {
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let left: Vec<Arc<Disk>> = txn.left_disks_of_server(id).cloned().collect();
    let released = |disk: &Disk| {
        let handed_on = Fate::Found { what: FoundDisk::Released { generation: disk.generation } };
        left.iter().any(|other| other.fate() == Some(&handed_on))
    };
    let comes = left.iter().find(|disk| {
        let coming = disk.fate() == Some(&Fate::Found { what: FoundDisk::Coming });
        coming && disk.generation > txn.generation_of_server(server.id) && released(disk)
    });
    if let Some((disk, host)) = comes.and_then(|disk| Some((disk, disk.host_id?))) {
        adopt(txn, &server, host, disk.generation);
        place_found(txn, id, None);
    }
}

/// Records what a host has and the record does not explain.
fn note_found(txn: &mut Txn<'_>, host: HostId, seen: &Observation) {
    let Some(what) = claim(seen) else { return };
    let fate = Fate::Found { what };
    let known = txn.left_disk_on(host, seen.server_id);
    let explained = known.is_some_and(|disk| match disk.fate() {
        Some(Fate::Found { .. }) => disk.generation == seen.generation && disk.fate() == Some(&fate),
        Some(Fate::Kept { .. } | Fate::Doomed) | None => disk.generation >= seen.generation,
    });
    if explained {
        return;
    }
    let why = "found there, and no record says how it came to be".to_owned();
    disk::leave(txn, seen.server_id, host, seen.generation, fate, why);
    disk::update_left(txn, host, seen.server_id, |left| left.may_run = what == FoundDisk::Own);
    let left: Vec<Arc<Disk>> = txn.left_disks_on(host, seen.server_id).cloned().collect();
    for disk in left {
        keep_or_remove(txn, &disk);
    }
}
