//! Fencing: a person or a fencing driver declares that a host is off, so that its servers can move elsewhere. Also
//! the lifting of a fence.

use lenticular_model::{
    HostId, Txn,
    error::{Error, Result},
    host::host::{Fence, Host, Proof},
    policy::{self, Action, Caller},
};

/// Declares that a host is off. With `disks_lost` its disks are lost too: its servers can be rebuilt from their
/// images, and their data is given up. `proof` comes from a driver that switched the host off and checked that.
///
/// # Errors
/// The host does not exist. Or it sends heartbeats, its disks are declared lost, and no driver switched it off:
/// that cannot be true.
pub fn fence(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: HostId,
    disks_lost: bool,
    proof: Option<Proof>,
) -> Result<()> {
    policy::check(caller, Action::HostFence, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    if disks_lost && host.silent_since.is_none() && proof.is_none() {
        return Err(Error::conflict(format!(
            "The host {} talks to the control plane, so it is not lost. Drain it and move its servers away; or switch \
             it off and wait until it is silent.",
            host.name
        )));
    }
    let (at, by) = (txn.now, caller.user_id.to_string());
    txn.update::<Host>(&id, |h| h.fence = Some(Fence { at, by, disks_lost, proof }));
    Ok(())
}

/// Lifts the fence.
///
/// # Errors
/// The host does not exist.
pub fn lift(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<()> {
    policy::check(caller, Action::HostFence, None)?;
    match txn.update::<Host>(&id, |h| h.fence = None) {
        true => Ok(()),
        false => Err(Error::not_found("Host", id)),
    }
}
