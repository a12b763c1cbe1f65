//! Servers after their creation: start, stop, reboot, delete, change, lock.

use crate::{
    command::compute::access::{TAGS_MAX, actable, check_maintenance, need_condition, need_in_use},
    lifecycle::{condition, deletion, operation, run, shelf, snapshot, suspend},
    quota,
};
use lenticular_model::{
    HostId, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Lock, Server, Wanted},
    },
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// Starts a stopped server, or a server in error that has a host.
pub fn start(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    need_condition(&server, "start", &[Condition::Stopped, Condition::Error])?;
    need_host(&server)?;
    boot(txn, caller, &server, OperationKind::Start, BootStyle::Hard);
    Ok(())
}

/// Stops a server's guest: first by a shutdown request, then by force.
pub fn stop(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    let from = [Condition::Active, Condition::Paused, Condition::Suspended, Condition::Error];
    need_condition(&server, "stop", &from)?;
    need_host(&server)?;
    let task = operation::begin(txn, &server, OperationKind::Stop, Some(caller));
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Stopped;
        s.task = Some(task);
        condition::leave_error(s);
    });
    // A guest that does not run has nothing to report: its server is stopped at once.
    // A suspended guest's memory must be discarded first.
    let rests = |s: &Server| !s.powered && s.condition != Condition::Suspended;
    if let Some(server) = txn.servers.get(&id).filter(|s| rests(s)).cloned() {
        run::set_stopped(txn, &server);
    }
    Ok(())
}

/// Restarts the guest; `Hard` also gets a server out of error.
pub fn reboot(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, style: BootStyle) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    let (operation, from) = match style {
        BootStyle::Soft => (OperationKind::SoftReboot, &[Condition::Active][..]),
        BootStyle::Hard | BootStyle::Resume => {
            let from = &[
                Condition::Active,
                Condition::Paused,
                Condition::Suspended,
                Condition::Stopped,
                Condition::Error,
            ];
            (OperationKind::HardReboot, &from[..])
        }
    };
    need_condition(&server, "reboot", from)?;
    need_host(&server)?;
    boot(txn, caller, &server, operation, style);
    Ok(())
}

fn need_host(server: &Server) -> Result<()> {
    if server.host_id.is_some() {
        return Ok(());
    }
    let why = format!(
        "Instance {} never found a host, so there is nothing to start. Delete it and create it again.",
        server.id
    );
    Err(Error::conflict(why))
}

fn boot(txn: &mut Txn<'_>, caller: &Caller, server: &Server, operation: OperationKind, style: BootStyle) {
    let task = operation::begin(txn, server, operation, Some(caller));
    txn.update::<Server>(&server.id, |s| {
        s.wanted = Wanted::Running;
        s.boot += 1;
        s.boot_style = style;
        s.task = Some(task);
        condition::leave_error(s);
    });
}

/// Deletes a server in any state: a tombstone stands until the server's host has confirmed that the guest is gone.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerDelete)?;
    if server.wanted != Wanted::Absent {
        deletion::delete(txn, &server, Some(caller));
    }
    Ok(())
}

/// Deletes a server so that it can be restored for `keep_s` seconds. As in Nova, a server that has never run, or whose
/// guest something else is done to, is deleted for good.
pub fn soft_delete(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, keep_s: NonZeroU32) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerDelete)?;
    if server.wanted == Wanted::Absent || server.reclaim_at.is_some() {
        return Ok(());
    }
    match deletion::can_be_soft(&server) {
        true => deletion::soft_delete(txn, &server, caller, txn.now.plus_s(keep_s.get().into())),
        false => deletion::delete(txn, &server, Some(caller)),
    }
    Ok(())
}

/// Gets a soft-deleted server back: its guest starts. A shelved server stays shelved.
///
/// # Errors
/// The server is not soft-deleted, or its project has no quota left for it.
pub fn restore(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerRestore)?;
    if server.reclaim_at.is_none() || server.wanted == Wanted::Absent {
        return Err(Error::conflict(format!(
            "Cannot 'restore' instance {id} while it is in vm_state {}: only a soft-deleted server can be restored.",
            server.vm_state()
        )));
    }
    if server.ticket.is_some() {
        return Err(Error::conflict(format!(
            "Instance {id} is moved to another host now. Restore it when the move is over: try again in a minute."
        )));
    }
    quota::check_servers(txn, server.project_id, server.user_id, 1, &server.size)?;
    txn.update::<Server>(&id, |s| s.reclaim_at = None);
    match server.host_id {
        Some(_) => boot(txn, caller, &server, OperationKind::Restore, BootStyle::Hard),
        None => operation::note(txn, &server, OperationKind::Restore, caller),
    }
    Ok(())
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ServerChange {
    /// The name.
    pub name: Option<String>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The name that the guest gets.
    pub hostname: Option<String>,
    /// Kept for the API; has no effect.
    pub access_ipv4: Option<String>,
    /// Kept for the API; has no effect.
    pub access_ipv6: Option<String>,
    /// `MANUAL` partitioning.
    pub disk_config_manual: Option<bool>,
}

/// Changes a server's names and other fields.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, change: ServerChange) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerChange, Some(server.project_id))?;
    txn.update::<Server>(&id, |s| {
        let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
        set(&mut s.name, change.name);
        set(&mut s.hostname, change.hostname);
        set(&mut s.access_ipv4, change.access_ipv4);
        set(&mut s.access_ipv6, change.access_ipv6);
        s.description = change.description.unwrap_or(s.description.take());
        s.disk_config_manual = change.disk_config_manual.unwrap_or(s.disk_config_manual);
    });
    Ok(())
}

/// Changes a server's metadata: `edit` changes the present metadata in place.
pub fn edit_metadata(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    edit: impl FnOnce(&mut BTreeMap<String, String>) -> Result<()>,
) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerChange)?;
    let mut metadata = server.metadata.clone();
    edit(&mut metadata)?;
    quota::check_metadata(txn, server.project_id, metadata.len())?;
    check_maintenance(caller, server.project_id, (&server.metadata, &metadata))?;
    txn.update::<Server>(&id, |s| s.metadata = metadata);
    Ok(())
}

/// The longest password that a guest may post, in bytes, as in Nova.
const PASSWORD_BYTES_MAX: usize = 1020;

/// Stores the password that a guest made, encrypted with its owner's key, and posted on its host. It can be set
/// once.
///
/// # Errors
/// The host does not have the server, the text is too long, or a password is already set.
pub fn post_password(txn: &mut Txn<'_>, host: HostId, id: ServerId, password: String) -> Result<()> {
    let server = txn.servers.get(&id).filter(|server| server.host_id == Some(host));
    let server = server.ok_or_else(|| Error::not_found("Server", id))?;
    if password.len() > PASSWORD_BYTES_MAX {
        return Err(Error::invalid(format!("A password is a text of at most {PASSWORD_BYTES_MAX} bytes.")));
    }
    if server.guest_password.is_some() {
        return Err(Error::conflict("The password is set already; its owner can clear it."));
    }
    if !password.is_empty() {
        txn.update::<Server>(&id, |s| s.guest_password = Some(password));
    }
    Ok(())
}

/// Clears the password that a server's guest posted, so that the guest can post another. The guest's own password
/// does not change.
///
/// # Errors
/// The caller does not have the server, or may not act on it now.
pub fn clear_password(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    actable(txn, caller, id, Action::ServerChange)?;
    txn.update::<Server>(&id, |s| s.guest_password = None);
    Ok(())
}

/// Changes a server's tags.
pub fn edit_tags(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    edit: impl FnOnce(&mut BTreeSet<String>) -> Result<()>,
) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerChange)?;
    let mut tags = server.tags.clone();
    edit(&mut tags)?;
    if tags.len() > TAGS_MAX {
        return Err(Error::invalid(format!("The number of tags exceeded the per-server limit {TAGS_MAX}")));
    }
    txn.update::<Server>(&id, |s| s.tags = tags);
    Ok(())
}

/// Locks a server against its own users' actions.
pub fn lock(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, reason: Option<String>) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerLock, Some(server.project_id))?;
    let by_admin = caller.is_admin();
    txn.update::<Server>(&id, |s| s.locked = Some(Lock { reason, by_admin }));
    Ok(())
}

/// Unlocks a server.
pub fn unlock(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerLock, Some(server.project_id))?;
    if server.locked.as_ref().is_some_and(|l| l.by_admin) {
        policy::check(caller, Action::ServerUnlockOthers, None)?;
    }
    txn.update::<Server>(&id, |s| s.locked = None);
    Ok(())
}

/// Tells a server's guest its network anew. Its host always answers with the present state, so nothing changes.
///
/// # Errors
/// The caller is no operator.
pub fn inject_network_info(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    actable(txn, caller, id, Action::ServerInjectNetworkInfo).map(drop)
}

/// Declares a server healthy or in error, in any state; the operation under way is given up.
pub fn reset_state(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, active: bool) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerResetState, None)?;
    if server.wanted == Wanted::Absent {
        return Err(Error::conflict(format!(
            "Instance {id} is being deleted; nothing else can be done with it."
        )));
    }
    need_in_use(&server)?;
    if !server.is_offloaded() {
        shelf::clear(txn, &server);
    }
    snapshot::give_up(txn, &server, "An operator reset the server's state.");
    let why = "An operator reset the server's state.".to_owned();
    if !suspend::give_up(txn, &server, why.clone()) {
        operation::finish_task(txn, &server, Some(why));
    }
    txn.update::<Server>(&id, |s| {
        s.task = None;
        condition::reset(s, active);
    });
    Ok(())
}
