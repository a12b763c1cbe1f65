//! The disk-copy controller: a disk that a server left behind is kept for some time, and then removed.

use crate::lifecycle::archive::archive_if_gone;
use lenticular_model::{
    DiskCopyId, Timestamp, Txn,
    compute::disk_copy::{DiskCopy, Fate},
};

/// One step for one disk.
pub fn reconcile(id: DiskCopyId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let copy = txn.disk_copies.get(&id)?.clone();
    if txn.hosts.get(&copy.host_id).is_none() {
        txn.delete::<DiskCopy>(&id);
        archive_if_gone(txn, copy.server_id);
        return None;
    }
    if txn.servers.get(&copy.server_id).is_some_and(|s| s.restored.is_some()) {
        return None;
    }
    match copy.fate {
        Fate::Kept { until } if txn.now < until => Some(until),
        Fate::Kept { .. } => {
            txn.update::<DiskCopy>(&id, |c| c.fate = Fate::Doomed);
            None
        }
        Fate::Doomed | Fate::Found { .. } => None,
    }
}
