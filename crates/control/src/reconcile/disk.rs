//! The disk controller: a disk that a server left behind is kept for some time, and then removed.

use crate::lifecycle::archive::archive_if_gone;
use lenticular_model::{
    DiskId, Timestamp, Txn,
    compute::disk::{Disk, Fate},
};

/// One step for one disk.
pub fn reconcile(id: DiskId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let disk = txn.disks.get(&id)?.clone();
    let fate = disk.fate()?;
    if disk.host_id.is_none_or(|host| !txn.hosts.contains_key(&host)) {
        txn.delete::<Disk>(&id);
        archive_if_gone(txn, disk.server_id);
        return None;
    }
    if txn.servers.get(&disk.server_id).is_some_and(|s| s.restored.is_some()) {
        return None;
    }
    match fate {
        Fate::Kept { until } if txn.now < *until => Some(*until),
        Fate::Kept { .. } => {
            txn.update::<Disk>(&id, |disk| {
                disk.left.iter_mut().for_each(|left| left.fate = Fate::Doomed);
            });
            None
        }
        Fate::Doomed | Fate::Found { .. } => None,
    }
}
