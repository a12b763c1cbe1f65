//! Disks that servers left behind on hosts.

use crate::lifecycle::archive::archive_if_gone;
use lenticular_model::{
    DiskCopyId, HostId, ServerId, Txn,
    compute::disk_copy::{DiskCopy, Fate},
    host::observation::{Observation, ObservedState},
};

/// Records that a host has a disk that no longer belongs to its server. There is at most one on a host.
pub fn leave(
    txn: &mut Txn<'_>,
    server_id: ServerId,
    host_id: HostId,
    generation: u64,
    fate: Fate,
    why: String,
) {
    clear(txn, host_id, server_id);
    let id = DiskCopyId::from_random(txn.random());
    let (created_at, updated_at, unknown) = (txn.now, None, Default::default());
    let may_run = false;
    txn.put(DiskCopy {
        id,
        created_at,
        updated_at,
        server_id,
        host_id,
        generation,
        fate,
        may_run,
        why,
        unknown,
    });
}

/// The host no longer has such a disk of the server.
pub fn clear(txn: &mut Txn<'_>, host: HostId, server: ServerId) {
    if let Some(id) = txn.disk_copy_on(host, server).map(|copy| copy.id) {
        txn.delete::<DiskCopy>(&id);
    }
}

/// A host confirms that it removed a disk that a server left there.
pub fn on_gone(txn: &mut Txn<'_>, host: HostId, seen: &Observation) {
    let copy = txn.disk_copy_on(host, seen.server_id);
    if copy.is_some_and(|copy| seen.observed == ObservedState::Absent && seen.generation >= copy.generation) {
        clear(txn, host, seen.server_id);
        archive_if_gone(txn, seen.server_id);
    }
}

/// Orders every host to remove the disks that a server left there.
pub fn remove_all(txn: &mut Txn<'_>, server: ServerId) {
    let copies: Vec<DiskCopyId> = txn.disk_copies_of_server(server).map(|copy| copy.id).collect();
    for id in copies {
        txn.update::<DiskCopy>(&id, |copy| copy.fate = Fate::Doomed);
    }
}
