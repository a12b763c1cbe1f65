//! The word that a host is off, a person's or a fencing driver's, which lets its servers go elsewhere; and its taking
//! back.

use lenticular_model::{
    error::{Error, Result},
    host::host::{Fence, Host, Proof},
    policy::{self, Action, Caller},
    HostId, Txn,
};

/// Declares a host to be off. With `disks_lost` its disks are, too: its servers can be made anew from their images, and
/// what they wrote since is given up. The proof is that of a driver which has switched it off and seen it off.
///
/// # Errors
/// There is no such host, or it talks, its disks are said to be lost, and nothing switched it off: that cannot be true.
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

/// Takes the word back.
///
/// # Errors
/// There is no such host.
pub fn lift(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<()> {
    policy::check(caller, Action::HostFence, None)?;
    match txn.update::<Host>(&id, |h| h.fence = None) {
        true => Ok(()),
        false => Err(Error::not_found("Host", id)),
    }
}
