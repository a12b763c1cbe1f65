//! Disks that were found on hosts after a restore of the store.

use crate::lifecycle::disk;
use lenticular_model::{
    DiskId, Txn,
    compute::disk::Fate,
    error::{Error, Result},
    policy::{self, Action, Caller},
};

/// Gives up a found disk, on an operator's word: the host removes the disk, and a guest that runs on it.
///
/// # Errors
/// The disk does not exist, or it is not a found disk.
pub fn give_up(txn: &mut Txn<'_>, caller: &Caller, id: DiskId) -> Result<()> {
    policy::check(caller, Action::ServerDiskRestore, None)?;
    let found = txn.disks.get(&id).filter(|disk| matches!(disk.fate(), Some(Fate::Found { .. })));
    let Some((host, server)) = found.and_then(|disk| Some((disk.host_id?, disk.server_id))) else {
        return Err(Error::not_found_text(format!(
            "There is no unexplained disk {id}. `lenticular host show` lists those of a host."
        )));
    };
    disk::update_left(txn, host, server, |left| left.fate = Fate::Doomed);
    Ok(())
}
