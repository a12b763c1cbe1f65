//! Requests that pause, unpause, suspend and resume a server; `lifecycle/suspend.rs` shows the states between.

use crate::{
    command::compute::access::{actable, need_agent, need_condition},
    lifecycle::operation,
};
use lenticular_model::{
    ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Wanted},
    },
    error::{Error, Result},
    policy::{Action, Caller},
};

/// Lets a running guest stand still, with its memory in the host's memory.
///
/// # Errors
/// The server does not run, or its host's agent is too old.
pub fn pause(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerPause)?;
    need_condition(&server, "pause", &[Condition::Active])?;
    need_agent(txn, &server, "pause")?;
    want(txn, caller, &server, OperationKind::Pause, Wanted::Paused);
    Ok(())
}

/// Lets a paused guest go on.
///
/// # Errors
/// The server is not paused.
pub fn unpause(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerUnpause)?;
    need_condition(&server, "unpause", &[Condition::Paused])?;
    want(txn, caller, &server, OperationKind::Unpause, Wanted::Running);
    Ok(())
}

/// Saves a running guest's memory on its host's disk, and ends its process.
///
/// # Errors
/// The server does not run, or its host's agent is too old.
pub fn suspend(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerSuspend)?;
    need_condition(&server, "suspend", &[Condition::Active])?;
    need_agent(txn, &server, "suspend")?;
    want(txn, caller, &server, OperationKind::Suspend, Wanted::Suspended);
    txn.update::<Server>(&id, |s| s.suspensions += 1);
    Ok(())
}

/// Lets a suspended guest go on with its saved memory. If the memory cannot be used, the guest starts anew, and the
/// operation says why.
///
/// # Errors
/// The server is not suspended.
pub fn resume(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerResume)?;
    need_condition(&server, "resume", &[Condition::Suspended])?;
    if server.host_id.is_none() {
        return Err(Error::conflict(format!(
            "Instance {id} is on no host, so there is no memory to resume."
        )));
    }
    want(txn, caller, &server, OperationKind::Resume, Wanted::Running);
    txn.update::<Server>(&id, |s| {
        s.boot += 1;
        s.boot_style = BootStyle::Resume;
    });
    Ok(())
}

fn want(txn: &mut Txn<'_>, caller: &Caller, server: &Server, action: OperationKind, wanted: Wanted) {
    let task = operation::begin(txn, server, action, Some(caller));
    txn.update::<Server>(&server.id, |s| {
        s.wanted = wanted;
        s.task = Some(task);
    });
}
