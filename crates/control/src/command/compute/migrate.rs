//! Requests that move a server: live-migrate, migrate, resize; and confirm, revert, abort and force.

use crate::schedule::{RequestSpec, Verdict, schedule};
use crate::{
    command::compute::access::{actable, find_flavor, need_condition, need_disk_back, need_idle},
    lifecycle::{
        migration::{self, Move},
        operation, target,
    },
    quota,
};
use lenticular_model::{
    FlavorId, HostId, Kind, MigrationId, ServerId, State, Txn,
    compute::{
        disk::DiskKind,
        flavor::{Flavor, Size},
        migration::{FlavorSnapshot, Leg, Migration, Mode, Phase, Purpose, Unconfirmed},
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Wanted},
    },
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// Moves a running server while its guest runs.
///
/// # Errors
/// The server does not run, or no host fits: the message says why, host by host.
pub fn live_migrate(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    host: Option<&str>,
) -> Result<MigrationId> {
    let server = actable(txn, caller, id, Action::ServerMigrateLive)?;
    need_condition(&server, "os-migrateLive", &[Condition::Active, Condition::Paused])?;
    need_disk_back(txn, &server, "os-migrateLive")?;
    let snapshot = server.flavor_snapshot();
    let (to, verdict) = find_target(txn, caller, &server, &snapshot, host, Purpose::LiveMigrate)?;
    begin(
        txn,
        caller,
        &server,
        Move { to, mode: Mode::Live, purpose: Purpose::LiveMigrate, snapshot, plan_id: None },
        verdict,
    )
}

/// Moves a server to another host; its guest is stopped during the move.
///
/// # Errors
/// The server's state does not permit a move, or no host fits: the message says why, host by host.
pub fn migrate(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, host: Option<&str>) -> Result<MigrationId> {
    let server = actable(txn, caller, id, Action::ServerMigrate)?;
    if host.is_some() {
        policy::check(caller, Action::ServerMigrateToHost, None)?;
    }
    need_condition(&server, "migrate", &[Condition::Active, Condition::Stopped])?;
    need_disk_back(txn, &server, "migrate")?;
    let snapshot = server.flavor_snapshot();
    let (to, verdict) = find_target(txn, caller, &server, &snapshot, host, Purpose::Migrate)?;
    begin(
        txn,
        caller,
        &server,
        Move { to, mode: Mode::Cold, purpose: Purpose::Migrate, snapshot, plan_id: None },
        verdict,
    )
}

/// Gives a server another flavor, on its host or on another host.
///
/// # Errors
/// The flavor is not available or does not fit, or no host has room for the server.
pub fn resize(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, flavor: &FlavorId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerResize)?;
    need_condition(&server, "resize", &[Condition::Active, Condition::Stopped])?;
    need_disk_back(txn, &server, "resize")?;
    let flavor = find_flavor(txn, caller, flavor)?;
    check_new_flavor(txn, &server, &flavor)?;
    let more = flavor.size.beyond(&server.size);
    quota::check_growth(txn, server.project_id, server.user_id, &more)?;
    let snapshot = FlavorSnapshot {
        flavor_id: flavor.id.clone(),
        flavor_name: flavor.name.as_str().into(),
        size: Size {
            image_gb: if flavor.size.disk_gb == 0 { server.size.image_gb } else { 0 },
            ..flavor.size
        },
        extra_specs: flavor.extra_specs.clone(),
    };
    let (to, verdict) = find_target(txn, caller, &server, &snapshot, None, Purpose::Resize)?;
    let decided = Move { to, mode: Mode::Cold, purpose: Purpose::Resize, snapshot, plan_id: None };
    if server.host_id == Some(to) {
        return resize_here(txn, caller, &server, decided);
    }
    begin(txn, caller, &server, decided, verdict).map(drop)
}

fn check_new_flavor(state: &State, server: &Server, flavor: &Flavor) -> Result<()> {
    if flavor.id == server.flavor_id {
        return Err(Error::invalid("When resizing, instances must change flavor!"));
    }
    let (old, new) = (server.size, flavor.size);
    if new.disk_gb == 0 && old.disk_gb != 0 {
        return Err(Error::invalid("Resize to zero disk flavor is not allowed."));
    }
    let grows = new.disk_gb == 0 || new.disk_gb >= old.root_gb();
    let has = state.disks_of_server(server.id).map(|disk| disk.kind);
    if has.ne(DiskKind::all_of(&new)) {
        return Err(Error::invalid(
            "Resize error: the flavor has an ephemeral or a swap disk where the server has none, or the other way \
             round. Choose a flavor with the same disks.",
        ));
    }
    let shrinks = new.ephemeral_gb < old.ephemeral_gb || new.swap_mb < old.swap_mb;
    if !grows || shrinks {
        return Err(Error::invalid(format!(
            "Resize error: Unable to resize disk down: the flavor has {} GiB, {} GiB ephemeral and {} MiB swap; the \
             server {} GiB, {} GiB and {} MiB. Choose a flavor whose disks are at least as large.",
            new.disk_gb,
            new.ephemeral_gb,
            new.swap_mb,
            old.root_gb(),
            old.ephemeral_gb,
            old.swap_mb
        )));
    }
    Ok(())
}

/// Resizes a server on its own host: no disk travels, and the guest restarts with the new flavor.
fn resize_here(txn: &mut Txn<'_>, caller: &Caller, server: &Server, decided: Move) -> Result<()> {
    let task = operation::begin(txn, server, OperationKind::Resize, Some(caller));
    let id = MigrationId::from_random(txn.random());
    migration::record(txn, Some(caller), server, (id, decided.to), &decided, Phase::Moved)?;
    let confirm_at = Some(txn.now.plus_s(lenticular_model::compute::disk::KEPT_S));
    let last =
        Unconfirmed { migration_id: id, from: decided.to, snapshot: server.flavor_snapshot(), confirm_at };
    reshape(txn, server, task, decided.snapshot, Some(last));
    Ok(())
}

/// Gives a server a flavor on its present host; a running guest restarts.
fn reshape(
    txn: &mut Txn<'_>,
    server: &Server,
    task: lenticular_model::compute::server::Task,
    snapshot: FlavorSnapshot,
    last: Option<Unconfirmed>,
) {
    let runs = server.wanted == Wanted::Running;
    if !runs {
        operation::finish(txn, task.operation_id, None);
    }
    txn.update::<Server>(&server.id, |s| {
        s.take_flavor(snapshot);
        s.unconfirmed = last.map(Box::new);
        s.task = runs.then_some(task);
        s.boot += u64::from(runs);
        s.boot_style = BootStyle::Soft;
    });
}

/// Confirms a resize or migration.
///
/// # Errors
/// There is nothing to confirm.
pub fn confirm(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerConfirmResize)?;
    need_unconfirmed(&server, "confirmResize")?;
    operation::note(txn, &server, OperationKind::ConfirmResize, caller);
    migration::confirm(txn, &server);
    Ok(())
}

/// Returns to the flavor and host before a resize or migration; the data written since is kept.
///
/// # Errors
/// There is nothing to revert, or the previous host cannot take the server.
pub fn revert(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerRevertResize)?;
    let last = need_unconfirmed(&server, "revertResize")?;
    let snapshot = last.snapshot.clone();
    let host = txn.hosts.get(&last.from).filter(|host| host.is_up()).cloned();
    let Some(host) = host else {
        let why = "Cannot revert: the host that the server came from does not answer. Confirm the resize, then \
                   migrate or resize again.";
        return Err(Error::conflict(why));
    };
    if server.host_id == Some(host.id) {
        let task = operation::begin(txn, &server, OperationKind::RevertResize, Some(caller));
        migration::finish(txn, last.migration_id, Phase::Reverted);
        reshape(txn, &server, task, snapshot, None);
        return Ok(());
    }
    let decided = Move { to: host.id, mode: Mode::Cold, purpose: Purpose::Revert, snapshot, plan_id: None };
    migration::open(txn, Some(caller), &server, decided).map(drop)
}

fn need_unconfirmed<'s>(server: &'s Server, verb: &str) -> Result<&'s Unconfirmed> {
    need_idle(server, verb, &[Condition::Active, Condition::Stopped])?;
    server.unconfirmed.as_deref().ok_or_else(|| {
        let why =
            format!("Cannot '{verb}' instance {} while it is in vm_state {}", server.id, server.vm_state());
        Error::conflict(why)
    })
}

/// The migration under way, if it is the server's and the caller may see it.
fn under_way(
    txn: &Txn<'_>,
    caller: &Caller,
    id: ServerId,
    number: u64,
    action: Action,
) -> Result<Arc<Migration>> {
    txn.visible::<Server>(caller, &id)?;
    policy::check(caller, action, None)?;
    txn.migrations_of_server(id).find(|m| m.number == number).cloned().ok_or_else(|| {
        Error::not_found_text(format!("Migration {number} for server {id} could not be found or is over."))
    })
}

/// Aborts a live migration: the guest stays on its host, unless it has left already.
///
/// # Errors
/// The migration does not exist, or it is too far advanced.
pub fn abort(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, number: u64) -> Result<()> {
    let migration = under_way(txn, caller, id, number, Action::ServerMigrationAbort)?;
    let server = txn.visible::<Server>(caller, &id)?;
    need_live(&migration, &[Leg::Prepare, Leg::Send], &server)?;
    migration::abort(txn, &server);
    Ok(())
}

/// Forces a live migration to complete: the guest is slowed down or stopped until its memory has been copied.
///
/// # Errors
/// The migration does not exist, or it does not run.
pub fn force(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, number: u64) -> Result<()> {
    let migration = under_way(txn, caller, id, number, Action::ServerMigrationForce)?;
    let server = txn.visible::<Server>(caller, &id)?;
    need_live(&migration, &[Leg::Send], &server)?;
    txn.update::<Server>(&id, |s| s.ticket.iter_mut().for_each(|ticket| ticket.forced = true));
    Ok(())
}

fn need_live(migration: &Migration, legs: &[Leg], server: &Server) -> Result<()> {
    let ticket = server.ticket.as_ref().filter(|ticket| ticket.migration_id == migration.id);
    let right = ticket.is_some_and(|ticket| legs.contains(&ticket.leg));
    if right && migration.purpose == Purpose::LiveMigrate {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Migration {} state of instance {} is {}. Cannot do this to it in that state.",
        migration.number,
        server.id,
        migration.phase.name(migration.purpose)
    )))
}

fn begin(
    txn: &mut Txn<'_>,
    caller: &Caller,
    server: &Server,
    decided: Move,
    verdict: Verdict,
) -> Result<MigrationId> {
    let id = migration::open(txn, Some(caller), server, decided)?;
    txn.put_cold(Kind::Verdict, server.id.to_string(), verdict);
    Ok(id)
}

/// Chooses the target of a move.
fn find_target(
    txn: &Txn<'_>,
    caller: &Caller,
    server: &Server,
    snapshot: &FlavorSnapshot,
    wanted: Option<&str>,
    purpose: Purpose,
) -> Result<(HostId, Verdict)> {
    let from =
        server.host_id.ok_or_else(|| Error::conflict(format!("Instance {} is on no host.", server.id)))?;
    let source = txn.hosts.get(&from);
    if let Some(name) = wanted {
        let known = txn.host_named(name).map(|host| &host.id);
        let known =
            known.ok_or_else(|| Error::invalid(format!("Compute host {name} could not be found.")))?;
        if *known == from {
            let why = format!("Unable to migrate instance ({}) to current host ({name}).", server.id);
            return Err(Error::invalid(why));
        }
    }
    if source.is_none_or(|host| !host.is_up()) {
        let name = source.map_or("of the server", |host| host.name.as_str());
        return Err(Error::invalid(format!(
            "Compute service of host {name} is unavailable at this time: nothing can be moved away from it. If the \
             host is lost, evacuate the server."
        )));
    }
    let ask = RequestSpec { host: wanted.map(str::to_owned), ..target::spec(txn, server, snapshot, purpose) };
    match schedule(txn, &ask) {
        (Some(host), verdict) => Ok((host, verdict)),
        (None, verdict) if caller.is_admin() => Err(Error::invalid(verdict.explain())),
        (None, verdict) => Err(Error::invalid(verdict.summary())),
    }
}
