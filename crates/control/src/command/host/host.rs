//! Operators' settings of a host.

use lenticular_model::{
    HostId, Txn,
    error::{Error, Result},
    host::host::{Host, Intent},
    policy::{self, Action, Caller},
};

/// Enables a host for new servers, or disables it.
pub fn set_intent(txn: &mut Txn<'_>, caller: &Caller, id: HostId, intent: Intent) -> Result<()> {
    policy::check(caller, Action::ServiceWrite, None)?;
    if !txn.update::<Host>(&id, |h| h.intent = intent) {
        return Err(Error::not_found("Service", id));
    }
    Ok(())
}
