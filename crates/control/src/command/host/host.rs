//! Operators' settings of a host, and their orders about it.

use lenticular_model::{
    HostId, Txn,
    error::{Error, Result},
    host::{
        host::PROTOCOL_WITH_HOST_ORDERS,
        host::{Host, Intent},
    },
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

/// Asks a host to measure its facts and test itself again. Returns the number of the check; the host has carried
/// it out once `Host::checked` is as high.
pub fn check(txn: &mut Txn<'_>, caller: &Caller, id: HostId) -> Result<u64> {
    policy::check(caller, Action::HostCheck, None)?;
    let host = txn.need::<Host>(&id, || Error::not_found("Host", id))?;
    if host.protocol < PROTOCOL_WITH_HOST_ORDERS {
        return Err(Error::conflict(format!(
            "The agent of host {} is too old to check its host on order. Update it; it checks its host at each start.",
            host.name
        )));
    }
    let number = host.order.check + 1;
    txn.update::<Host>(&id, |host| host.order.check = number);
    Ok(number)
}
