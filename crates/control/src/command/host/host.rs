//! What operators want of a host.

use lenticular_model::{
    error::{Error, Result},
    host::host::{Host, Intent},
    policy::{self, Action, Caller},
    HostId, Txn,
};

/// Lets a host take new servers, or not.
pub fn set_intent(txn: &mut Txn<'_>, caller: &Caller, id: HostId, intent: Intent) -> Result<()> {
    policy::check(caller, Action::ServiceWrite, None)?;
    if !txn.update::<Host>(&id, |h| h.intent = intent) {
        return Err(Error::not_found("Service", id));
    }
    Ok(())
}
