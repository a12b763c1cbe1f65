//! Servers after their creation: start, stop, reboot, delete, change, lock.

use crate::{
    command::{compute::shelve, network::cascade},
    lifecycle::{migration, operation},
};
use lenticular_model::{
    compute::{
        operation::Action as Operation,
        server::{BootStyle, Condition, Lock, Server, Wanted},
    },
    error::{Error, Result},
    network::port::Port,
    policy::{self, Action, Caller},
    HostId, Kind, ServerId, Txn,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The server, if the caller may do `action` to it and it is not locked against them.
pub(crate) fn actable(txn: &Txn<'_>, caller: &Caller, id: ServerId, action: Action) -> Result<Arc<Server>> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, action, Some(server.project_id))?;
    if server.locked.is_some() && !caller.is_admin() {
        return Err(Error::conflict(format!("Instance {id} is locked")));
    }
    if server.restored.is_some() && action != Action::ServerDelete {
        return Err(Error::conflict(format!(
            "The store was restored from a backup, and no host has said yet that it has instance {id}. Wait for that; \
             its operator can see which hosts are silent."
        )));
    }
    Ok(server)
}

/// Refuses `verb` unless the server is in one of these conditions and nothing else is being done to it.
pub(crate) fn need_condition(server: &Server, verb: &str, conditions: &[Condition]) -> Result<()> {
    need_idle(server, verb, conditions)?;
    if server.unconfirmed.is_none() {
        return Ok(());
    }
    Err(Error::conflict(format!("Cannot '{verb}' instance {} while it is in vm_state resized", server.id)))
}

/// The same for what can be done to a server whose last move is not confirmed.
pub(crate) fn need_idle(server: &Server, verb: &str, conditions: &[Condition]) -> Result<()> {
    if server.wanted == Wanted::Absent {
        let why = format!("Cannot '{verb}' instance {} while it is in task_state deleting", server.id);
        return Err(Error::conflict(why));
    }
    let shelved = server.is_offloaded() && server.host_id.is_none();
    if shelved || !conditions.contains(&server.condition) {
        return Err(Error::conflict(format!(
            "Cannot '{verb}' instance {} while it is in vm_state {}",
            server.id,
            server.vm_state()
        )));
    }
    let state = server.task.as_ref().map(|task| task.action.task_state());
    match state.or(server.ticket.is_some().then_some("migrating")) {
        Some(state) => {
            let why = format!("Cannot '{verb}' instance {} while it is in task_state {state}", server.id);
            Err(Error::conflict(why))
        }
        None => Ok(()),
    }
}

/// Starts a stopped server, or one in error that has a host.
pub fn start(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    need_condition(&server, "start", &[Condition::Stopped, Condition::Error])?;
    need_host(&server)?;
    boot(txn, caller, &server, Operation::Start, BootStyle::Hard);
    Ok(())
}

/// Stops a server's guest: first by asking it, then by force.
pub fn stop(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    need_condition(&server, "stop", &[Condition::Active, Condition::Error])?;
    need_host(&server)?;
    let task = operation::begin(txn, &server, Operation::Stop, Some(caller));
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Stopped;
        s.task = Some(task);
        leave_error(s);
    });
    Ok(())
}

/// A new attempt leaves the error behind: whoever waits for it must not take the old one for its outcome.
fn leave_error(server: &mut Server) {
    if server.condition == Condition::Error {
        server.condition =
            if server.launched_at.is_some() { Condition::Stopped } else { Condition::Building };
        server.fault = None;
    }
}

/// Starts the guest anew; `Hard` also gets a server out of error.
pub fn reboot(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, style: BootStyle) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerAct)?;
    let (operation, from) = match style {
        BootStyle::Soft => (Operation::SoftReboot, &[Condition::Active][..]),
        BootStyle::Hard => {
            (Operation::HardReboot, &[Condition::Active, Condition::Stopped, Condition::Error][..])
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

fn boot(txn: &mut Txn<'_>, caller: &Caller, server: &Server, operation: Operation, style: BootStyle) {
    let task = operation::begin(txn, server, operation, Some(caller));
    txn.update::<Server>(&server.id, |s| {
        s.wanted = Wanted::Running;
        s.boot += 1;
        s.boot_style = style;
        s.task = Some(task);
        leave_error(s);
    });
}

/// Deletes a server, whatever it is doing: a tombstone stands until its host has confirmed that the guest is gone.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerDelete)?;
    if server.wanted == Wanted::Absent {
        return Ok(());
    }
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, Some("The server was deleted.".to_owned()));
    }
    if server.restored.is_none() {
        migration::forsake(txn, &server);
    }
    shelve::forget(txn, &server);
    let task = operation::begin(txn, &server, Operation::Delete, Some(caller));
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Absent;
        s.task = Some(task);
    });
    bury_if_gone(txn, id);
    Ok(())
}

/// Buries a server that is to be gone, if no host has anything of it that could run.
pub fn bury_if_gone(txn: &mut Txn<'_>, id: ServerId) {
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let may_run = || txn.disk_copies_of_server(id).any(|copy| copy.may_run);
    if server.wanted == Wanted::Absent && server.host_id.is_none() && server.restored.is_none() && !may_run()
    {
        bury(txn, &server);
    }
}

/// Removes a server whose guest is gone: its ports go with it or are freed, and it stays as a past server.
fn bury(txn: &mut Txn<'_>, server: &Server) {
    let ports: Vec<Arc<Port>> = txn.ports_of_server(server.id).cloned().collect();
    for port in ports {
        if port.goes_with_server {
            cascade::delete_port(txn, port.id);
        } else {
            cascade::release_port(txn, port.id);
        }
    }
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, None);
    }
    txn.delete::<Server>(&server.id);
    let id = server.id.to_string();
    if server.has_user_data {
        txn.delete_cold(Kind::UserData, id.clone());
    }
    txn.delete_cold(Kind::Verdict, id.clone());
    let past = Server { updated_at: Some(txn.now), ..server.clone() }.past();
    txn.put_cold(Kind::PastServerOf, past.past_key(), past.id);
    txn.put_cold(Kind::PastServer, id, past);
}

/// What an update changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ServerChange {
    /// The name.
    pub name: Option<String>,
    /// The description; `Some(None)` removes it.
    pub description: Option<Option<String>>,
    /// The name the guest is told.
    pub hostname: Option<String>,
    /// Shown back.
    pub access_ipv4: Option<String>,
    /// Shown back.
    pub access_ipv6: Option<String>,
    /// `MANUAL` partitioning.
    pub disk_config_manual: Option<bool>,
}

/// Changes what a server is called.
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

/// Changes a server's metadata: `edit` gets what is there and leaves what shall be.
pub fn edit_metadata(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    edit: impl FnOnce(&mut BTreeMap<String, String>) -> Result<()>,
) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerChange)?;
    let mut metadata = server.metadata.clone();
    edit(&mut metadata)?;
    let limits = crate::quota::limits(txn, crate::quota::Service::Compute, server.project_id);
    let limit = limits.iter().find(|(name, _)| *name == "metadata_items").map_or(-1, |(_, n)| *n);
    if limit >= 0 && metadata.len() as i64 > limit {
        return Err(Error::over_quota(format!("Maximum number of metadata items exceeds {limit}")));
    }
    txn.update::<Server>(&id, |s| s.metadata = metadata);
    Ok(())
}

/// The longest password that a guest may post, in bytes, as Nova has it.
const PASSWORD_BYTES_MAX: usize = 1020;

/// Takes in the password that a guest has made, encrypted to its owner's key, and posted on its host. It is set once.
///
/// # Errors
/// The server is not the host's, the text is too long, or there is a password.
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

/// Forgets the password that a server's guest has posted, so that it can post another. The guest's own is untouched.
///
/// # Errors
/// The server is not the caller's, or not to be acted on.
pub fn clear_password(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    actable(txn, caller, id, Action::ServerChange)?;
    txn.update::<Server>(&id, |s| s.guest_password = None);
    Ok(())
}

/// The most tags on one server, as Nova has it.
pub const TAGS_MAX: usize = 50;

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

/// Takes a lock off.
pub fn unlock(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerLock, Some(server.project_id))?;
    if server.locked.as_ref().is_some_and(|l| l.by_admin) {
        policy::check(caller, Action::ServerUnlockOthers, None)?;
    }
    txn.update::<Server>(&id, |s| s.locked = None);
    Ok(())
}

/// Declares a server to be well, or in error, whatever it is; what is under way is given up.
pub fn reset_state(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, active: bool) -> Result<()> {
    let server = txn.visible::<Server>(caller, &id)?;
    policy::check(caller, Action::ServerResetState, None)?;
    if server.wanted == Wanted::Absent {
        return Err(Error::conflict(format!("Instance {id} is being deleted; only that can go on.")));
    }
    if !server.is_offloaded() {
        shelve::forget(txn, &server);
    }
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, Some("An operator reset the server's state.".to_owned()));
    }
    txn.update::<Server>(&id, |s| {
        s.task = None;
        s.condition = if active { Condition::Active } else { Condition::Error };
        if active {
            s.fault = None;
        }
    });
    Ok(())
}
