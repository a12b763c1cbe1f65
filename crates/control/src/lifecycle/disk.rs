//! The disks of servers, and the disks that servers left behind on hosts. All disks of a server share their fate.

use crate::lifecycle::archive::archive_if_gone;
use lenticular_model::{
    DiskId, HostId, ServerId, Txn,
    compute::{
        disk::{Disk, DiskKind, Fate, Left},
        server::Server,
    },
    host::observation::{Observation, ObservedState},
};
use std::collections::BTreeSet;

/// Writes the records of a new server's disks. Its host makes the disks.
pub fn create(txn: &mut Txn<'_>, server: &Server) {
    for kind in DiskKind::all_of(&server.size) {
        let id = match kind {
            DiskKind::Root => DiskId::root_of(server.id),
            DiskKind::Ephemeral | DiskKind::Swap => DiskId::from_random(txn.random()),
        };
        txn.put(Disk {
            id,
            created_at: txn.now,
            updated_at: None,
            server_id: server.id,
            kind,
            tag: None,
            backend: Default::default(),
            host_id: server.host_id,
            generation: 1,
            issued: 0,
            revives: None,
            made: false,
            left: None,
            unknown: Default::default(),
        });
    }
}

/// Changes all disks of a server alike.
pub fn update(txn: &mut Txn<'_>, server: ServerId, change: impl Fn(&mut Disk)) {
    let ids: Vec<DiskId> = txn.disks_of_server(server).map(|disk| disk.id).collect();
    for id in ids {
        txn.update::<Disk>(&id, &change);
    }
}

/// Puts a server and its disks on a host, or on none. The generation stays.
pub fn set_host(txn: &mut Txn<'_>, server: ServerId, host: Option<HostId>) {
    txn.update::<Server>(&server, |s| s.host_id = host);
    update(txn, server, |disk| disk.host_id = host);
}

/// The host has the disks in their present generation: it has come back to the older ones, if it had to.
pub fn came_back(txn: &mut Txn<'_>, server: ServerId) {
    if txn.root_disk(server).is_some_and(|disk| disk.revives.is_some()) {
        update(txn, server, |disk| disk.revives = None);
    }
}

/// Gives the right to write a server's disks to a host, under a generation that was never used.
pub fn grant(txn: &mut Txn<'_>, server: ServerId, host: HostId, generation: u64) {
    txn.update::<Server>(&server, |s| s.host_id = Some(host));
    update(txn, server, |disk| {
        disk.host_id = Some(host);
        disk.generation = generation;
        disk.issued = disk.issued.max(generation);
        disk.revives = None;
    });
}

/// Records that a host has disks of a generation that no longer are their server's. There is at most one set of them
/// on a host.
pub fn leave(
    txn: &mut Txn<'_>,
    server_id: ServerId,
    host_id: HostId,
    generation: u64,
    fate: Fate,
    why: String,
) {
    clear(txn, host_id, server_id);
    let own = txn.disks_of_server(server_id).map(|disk| (disk.id, disk.kind, disk.backend));
    let mut of: Vec<_> = own.collect();
    if of.is_empty() {
        // The host reported a server that no record explains.
        of.push((DiskId::root_of(server_id), DiskKind::Root, Default::default()));
    }
    for (of, kind, backend) in of {
        let left = Left { of, fate: fate.clone(), may_run: false, why: why.clone() };
        let id = DiskId::from_random(txn.random());
        txn.put(Disk {
            id,
            created_at: txn.now,
            updated_at: None,
            server_id,
            kind,
            tag: None,
            backend,
            host_id: Some(host_id),
            generation,
            issued: 0,
            revives: None,
            made: true,
            left: Some(left.into()),
            unknown: Default::default(),
        });
    }
}

/// Changes all disks alike that a server left behind on a host.
pub fn update_left(txn: &mut Txn<'_>, host: HostId, server: ServerId, change: impl Fn(&mut Left)) {
    let ids: Vec<DiskId> = txn.left_disks_on(host, server).map(|disk| disk.id).collect();
    for id in ids {
        txn.update::<Disk>(&id, |disk| disk.left.as_deref_mut().into_iter().for_each(&change));
    }
}

/// Deletes the records of the disks that a server left on a host.
pub fn clear(txn: &mut Txn<'_>, host: HostId, server: ServerId) {
    let ids: Vec<DiskId> = txn.left_disks_on(host, server).map(|disk| disk.id).collect();
    for id in ids {
        txn.delete::<Disk>(&id);
    }
}

/// A host confirms that it removed the disks that a server left there.
pub fn on_gone(txn: &mut Txn<'_>, host: HostId, seen: &Observation) {
    let left = txn.left_disk_on(host, seen.server_id);
    if left.is_some_and(|disk| seen.observed == ObservedState::Absent && seen.generation >= disk.generation) {
        clear(txn, host, seen.server_id);
        archive_if_gone(txn, seen.server_id);
    }
}

/// Orders every host to remove the disks that a server left there.
pub fn remove_all(txn: &mut Txn<'_>, server: ServerId) {
    let hosts: BTreeSet<HostId> = txn.left_disks_of_server(server).filter_map(|disk| disk.host_id).collect();
    for host in hosts {
        update_left(txn, host, server, |left| left.fate = Fate::Doomed);
    }
}
