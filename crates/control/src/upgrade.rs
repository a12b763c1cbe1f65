//! Records of older releases, brought over when the control plane takes the store over.

use crate::command::identity;
use lenticular_model::{
    DiskId, Txn,
    compute::{
        disk::{Disk, FormerDisk, Left},
        disk_copy::DiskCopy,
        server::Server,
    },
};
use std::sync::Arc;

/// Brings over what 0.1.0 wrote: a server had its one disk as a field, and disks that were left behind had records of
/// another kind. The catalog's services were no records.
pub fn bring_over(txn: &mut Txn<'_>) {
    if txn.services.is_empty() && !txn.domains.is_empty() {
        identity::catalog::put_own(txn);
    }
    let servers: Vec<Arc<Server>> =
        txn.servers.values().filter(|server| server.former_disk.is_some()).cloned().collect();
    for server in servers {
        let Some(FormerDisk { generation, issued, revives, made }) = server.former_disk.clone() else {
            continue;
        };
        txn.put(Disk {
            id: DiskId::root_of(server.id),
            created_at: server.created_at,
            updated_at: None,
            server_id: server.id,
            kind: Default::default(),
            tag: None,
            backend: Default::default(),
            host_id: server.host_id,
            generation,
            issued,
            revives,
            made,
            left: None,
            unknown: Default::default(),
        });
        // The server itself did not change: its time of change stays.
        txn.put(Server { former_disk: None, ..Server::clone(&server) });
    }
    let copies: Vec<Arc<DiskCopy>> = txn.disk_copies.values().cloned().collect();
    for copy in copies {
        let DiskCopy { id, created_at, updated_at, server_id, host_id, generation, .. } = *copy;
        let DiskCopy { fate, may_run, why, unknown, .. } = DiskCopy::clone(&copy);
        let left = Left { of: DiskId::root_of(server_id), fate, may_run, why };
        txn.put(Disk {
            id: DiskId(id.0),
            created_at,
            updated_at,
            server_id,
            kind: Default::default(),
            tag: None,
            backend: Default::default(),
            host_id: Some(host_id),
            generation,
            issued: 0,
            revives: None,
            made: true,
            left: Some(left.into()),
            unknown,
        });
        txn.delete::<DiskCopy>(&id);
    }
}
