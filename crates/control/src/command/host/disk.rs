//! Disks that were found on hosts after a restore of the store.

use lenticular_model::{
    DiskCopyId, Txn,
    compute::disk_copy::{DiskCopy, Fate},
    error::{Error, Result},
    policy::{self, Action, Caller},
};

/// Gives up a found disk, on an operator's word: the host removes the disk, and a guest that runs on it.
///
/// # Errors
/// The disk does not exist, or it is not a found disk.
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
