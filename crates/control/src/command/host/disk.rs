//! Disks that were found on hosts since a restore of the store.

use lenticular_model::{
    compute::disk_copy::{DiskCopy, Fate},
    error::{Error, Result},
    policy::{self, Action, Caller},
    DiskCopyId, Txn,
};

/// An operator gives up what was found on a host: it is removed there, a guest that runs on it, too.
///
/// # Errors
/// There is no such disk, or it is not one that was found.
pub fn give_up(txn: &mut Txn<'_>, caller: &Caller, id: DiskCopyId) -> Result<()> {
    policy::check(caller, Action::ServerDiskRestore, None)?;
    let found = txn.disk_copies.get(&id).is_some_and(|copy| matches!(copy.fate, Fate::Found { .. }));
    if !found {
        return Err(Error::not_found_text(format!(
            "There is no unexplained disk {id}. `lenticular host show` lists those of a host."
        )));
    }
    txn.update::<DiskCopy>(&id, |copy| copy.fate = Fate::Doomed);
    Ok(())
}
