//! Migrations: their begin, their end, and the effects of their hosts' reports.

use crate::lifecycle::{condition, disk, operation, plan, ports};
use lenticular_model::{
    HostId, Kind, MigrationId, PlanId, ServerId, Timestamp, Txn,
    compute::{
        disk::{Fate, KEPT_S},
        migration::{
            FlavorSnapshot, Leg, Migration, Mode, MoveProgress, Phase, Progress, Purpose, Ticket, Unconfirmed,
        },
        operation::{MOVE_S_MAX, OperationKind},
        server::{Condition, Server, Wanted},
    },
    error::{Error, Result},
    host::{
        host::Host,
        observation::{Handover, Observation, ObservedState, SourceDecision},
    },
    policy::Caller,
};

/// The time in which a target must be ready, in seconds: it may have to fetch a large image.
pub const PREPARE_S_MAX: i64 = 1_800;

/// A decided move.
#[derive(Debug, Clone)]
pub struct Move {
    /// The target.
    pub to: HostId,
    /// How the guest travels.
    pub mode: Mode,
    /// The purpose.
    pub purpose: Purpose,
    /// The flavor of the guest at the target.
    pub snapshot: FlavorSnapshot,
    /// The plan that moves it.
    pub plan_id: Option<PlanId>,
}

/// Opens a ticket. The caller has checked that the server may move and that the target fits.
///
/// # Errors
/// The server has no host, or one of the hosts does not exist.
pub fn open(txn: &mut Txn<'_>, by: Option<&Caller>, server: &Server, decided: Move) -> Result<MigrationId> {
    let from = server.host_id.ok_or_else(|| Error::conflict("The server is on no host."))?;
    let action = match decided.purpose {
        Purpose::LiveMigrate => OperationKind::LiveMigrate,
        Purpose::Migrate | Purpose::Evacuate | Purpose::Relocate => OperationKind::Migrate,
        Purpose::Resize => OperationKind::Resize,
        Purpose::Revert => OperationKind::RevertResize,
    };
    let task = operation::begin(txn, server, action, by);
    let id = MigrationId::from_random(txn.random());
    record(txn, by, server, (id, from), &decided, Phase::Preparing)?;
    // When the target prepares, it removes any older disk of the server.
    disk::clear(txn, decided.to, server.id);
    let generation = txn.next_generation(server.id);
    let Move { to, mode, snapshot, .. } = decided;
    disk::update(txn, server.id, |disk| disk.issued = generation);
    txn.update::<Server>(&server.id, |s| {
        s.task = Some(task);
        let (leg, forced) = (Leg::Prepare, false);
        s.ticket = Some(Box::new(Ticket { migration_id: id, to, generation, mode, leg, forced, snapshot }));
    });
    Ok(id)
}

/// Writes the record of a new migration.
///
/// # Errors
/// One of the hosts does not exist.
pub fn record(
    txn: &mut Txn<'_>,
    by: Option<&Caller>,
    server: &Server,
    (id, from): (MigrationId, HostId),
    decided: &Move,
    phase: Phase,
) -> Result<()> {
    let name = |txn: &Txn<'_>, id: HostId| {
        txn.need::<Host>(&id, || Error::conflict("A host of the migration is gone.")).map(|h| h.name.clone())
    };
    let (from_name, to_name) = (name(txn, from)?, name(txn, decided.to)?);
    txn.put(Migration {
        id,
        created_at: txn.now,
        updated_at: None,
        number: txn.seq,
        server_id: server.id,
        project_id: server.project_id,
        user_id: by.map(|c| c.user_id),
        request_id: by.map(|c| c.request_id.clone()).unwrap_or_default(),
        plan_id: decided.plan_id.clone(),
        purpose: decided.purpose,
        mode: decided.mode,
        from,
        from_name,
        to: decided.to,
        to_name,
        old_flavor: server.flavor_id.clone(),
        new_flavor: decided.snapshot.flavor_id.clone(),
        phase,
        deadline: txn.now.plus_s(MOVE_S_MAX),
        unknown: Default::default(),
    });
    Ok(())
}

/// Ends a migration's record: it leaves State and stays in the store.
pub fn finish(txn: &mut Txn<'_>, id: MigrationId, phase: Phase) {
    let Some(migration) = txn.delete::<Migration>(&id) else { return };
    let migration = Migration { phase, updated_at: Some(txn.now), ..Migration::clone(&migration) };
    plan::on_move_ended(txn, &migration);
    txn.delete::<Progress>(&id);
    txn.put_cold(Kind::PastMigration, migration.past_key(), migration);
}

/// Handles the source's decision.
pub fn on_decision(txn: &mut Txn<'_>, server: &Server, handover: &Handover) {
    let Some(ticket) = server.ticket.as_ref().filter(|t| t.generation == handover.generation) else { return };
    match &handover.decision {
        SourceDecision::Released => arrive(txn, server),
        SourceDecision::Kept { message, details } => {
            let phase = match txn.migrations.get(&ticket.migration_id).map(|migration| &migration.phase) {
                Some(Phase::Withdrawing { aborted: true, .. }) => Phase::Cancelled,
                // The source only says that it was told to keep the guest.
                Some(Phase::Withdrawing { why, .. }) => Phase::Failed { why: why.clone() },
                _ => Phase::Failed { why: format!("{message} ({details})") },
            };
            close(txn, server, phase);
        }
    }
}

/// Handles a report of the target. True if the server is on the target now.
pub fn on_target_report(txn: &mut Txn<'_>, server: &Server, seen: &Observation) -> bool {
    let Some(ticket) = &server.ticket else { return false };
    match &seen.observed {
        ObservedState::Ready if ticket.leg == Leg::Prepare => {
            set_leg(txn, server, Leg::Send, Phase::Moving);
            false
        }
        ObservedState::Unready { message, details } => {
            fail(txn, server, format!("{message} ({details})"));
            false
        }
        // Only a target that has accepted the guest reports a running guest.
        ObservedState::Running { .. }
        | ObservedState::Suspended
        | ObservedState::Stopped { .. }
        | ObservedState::Failed { disk_made: true, .. } => {
            arrive(txn, server);
            true
        }
        ObservedState::Ready
        | ObservedState::Receiving { .. }
        | ObservedState::Preparing { .. }
        | ObservedState::Failed { .. }
        | ObservedState::Kept
        | ObservedState::Absent => false,
    }
}

/// Gives a move up: at once if the source has no orders for it, else after the source's report.
pub fn fail(txn: &mut Txn<'_>, server: &Server, why: String) {
    match server.ticket.as_ref().map(|ticket| ticket.leg) {
        Some(Leg::Prepare) => close(txn, server, Phase::Failed { why }),
        Some(Leg::Send) => {
            set_leg(txn, server, Leg::Withdraw, Phase::Withdrawing { why, aborted: false });
        }
        Some(Leg::Withdraw) | None => {}
    }
}

/// Aborts a move that is not complete.
pub fn abort(txn: &mut Txn<'_>, server: &Server) {
    match server.ticket.as_ref().map(|ticket| ticket.leg) {
        Some(Leg::Prepare) => close(txn, server, Phase::Cancelled),
        Some(Leg::Send) => {
            let why = "it was asked for".to_owned();
            set_leg(txn, server, Leg::Withdraw, Phase::Withdrawing { why, aborted: true });
        }
        Some(Leg::Withdraw) | None => {}
    }
}

fn set_leg(txn: &mut Txn<'_>, server: &Server, leg: Leg, phase: Phase) {
    let Some(ticket) = &server.ticket else { return };
    txn.update::<Migration>(&ticket.migration_id, |m| m.phase = phase);
    txn.update::<Server>(&server.id, |s| s.ticket.iter_mut().for_each(|ticket| ticket.leg = leg));
}

/// The guest stays on its host. The target must remove its part of the guest.
pub fn close(txn: &mut Txn<'_>, server: &Server, phase: Phase) {
    let Some(ticket) = &server.ticket else { return };
    let what = "a move here that did not come about".to_owned();
    disk::leave(txn, server.id, ticket.to, ticket.generation, Fate::Doomed, what);
    end(txn, server, phase);
}

/// Ends a ticket without a move.
pub fn end(txn: &mut Txn<'_>, server: &Server, phase: Phase) {
    let Some(ticket) = &server.ticket else { return };
    let why = match &phase {
        Phase::Failed { why } => why.clone(),
        _ => "The migration was aborted.".to_owned(),
    };
    finish(txn, ticket.migration_id, phase);
    let moving = |action| {
        use OperationKind::{LiveMigrate, Migrate, Resize, RevertResize};
        matches!(action, Migrate | LiveMigrate | Resize | RevertResize)
    };
    let task = server.task.as_ref().filter(|task| moving(task.action));
    if let Some(task) = task {
        operation::finish(txn, task.operation_id, Some(why));
    }
    let ended = task.is_some();
    // A guest that stopped before the source knew of the move is started again: no other report follows.
    let stands = ticket.leg == Leg::Prepare && !server.powered && server.condition != Condition::Error;
    let restarts = stands && matches!(server.wanted, Wanted::Running | Wanted::Paused);
    txn.update::<Server>(&server.id, |s| {
        s.ticket = None;
        s.boot += u64::from(restarts);
        if ended {
            s.task = None;
        }
    });
}

/// Moves the server to the target: the target's disk is now the server's, and the source's disk is kept for a
/// while.
fn arrive(txn: &mut Txn<'_>, server: &Server) {
    let (Some(ticket), Some(from)) = (&server.ticket, server.host_id) else { return };
    let migration = txn.migrations.get(&ticket.migration_id).cloned();
    let purpose = migration.as_ref().map_or(Purpose::Migrate, |m| m.purpose);
    let until = txn.now.plus_s(KEPT_S);
    let to_name = txn.hosts.get(&ticket.to).map_or_else(|| ticket.to.to_string(), |h| h.name.clone());
    let what = format!("moved to {to_name}");
    let fate = Fate::Kept { until };
    ports::move_to(txn, server.id, ticket.to);
    let restarts = ticket.mode == Mode::Cold && matches!(server.wanted, Wanted::Running | Wanted::Paused);
    let confirmable = matches!(purpose, Purpose::Migrate | Purpose::Resize);
    let unconfirmed = confirmable.then(|| {
        let (migration_id, snapshot) = (ticket.migration_id, server.flavor_snapshot());
        Box::new(Unconfirmed { migration_id, from, snapshot, confirm_at: Some(until) })
    });
    // If the guest restarts at the target, the guest's own report ends the task.
    let ended = if restarts { None } else { server.task.as_ref() };
    if let Some(task) = ended {
        operation::finish(txn, task.operation_id, None);
    }
    let ended = ended.is_some();
    let left = txn.generation_of_server(server.id);
    disk::grant(txn, server.id, ticket.to, ticket.generation);
    disk::update(txn, server.id, |disk| disk.made = true);
    txn.update::<Server>(&server.id, |s| {
        s.ticket = None;
        s.take_flavor(ticket.snapshot.clone());
        s.boot += u64::from(restarts);
        s.powered &= !restarts;
        s.ssh_forward = None;
        if ended {
            s.task = None;
        }
        s.unconfirmed = unconfirmed;
    });
    disk::leave(txn, server.id, from, left, fate, what);
    if !txn.hosts.contains_key(&ticket.to) {
        is_lost(txn, server.id, &to_name);
    }
    match confirmable {
        true => drop(txn.update::<Migration>(&ticket.migration_id, |m| m.phase = Phase::Moved)),
        false => finish(txn, ticket.migration_id, Phase::Confirmed),
    }
    if let Some(last) = &server.unconfirmed {
        let back = purpose == Purpose::Revert;
        finish(txn, last.migration_id, if back { Phase::Reverted } else { Phase::Confirmed });
    }
}

/// The guest moved to a host that was lost meanwhile. The disk that it left behind may lack its last writes, so
/// only a person can decide to go back to that disk.
fn is_lost(txn: &mut Txn<'_>, id: ServerId, host: &str) {
    let message = format!(
        "The server moved to {host}, which was lost. Ask the operator to go back to the disk that the \
         server left behind, or delete the server."
    );
    let now = txn.now;
    disk::set_host(txn, id, None);
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Stopped;
        s.powered = false;
        condition::set_error(s, condition::fault(message, None, now));
    });
}

/// Records the progress that a source reports.
pub fn note_progress(txn: &mut Txn<'_>, host: HostId, seen: &MoveProgress) {
    let Some(server) = txn.servers.get(&seen.server_id).filter(|s| s.host_id == Some(host)) else { return };
    let Some(ticket) = server.ticket.as_ref().filter(|t| t.generation == seen.generation) else { return };
    let (id, now) = (ticket.migration_id, txn.now);
    let before = txn.migration_progress.get(&id).cloned();
    let expected_end = before.as_ref().and_then(|before| {
        let sent =
            (seen.disk[1] + seen.memory[1]).checked_sub(before.seen.disk[1] + before.seen.memory[1])?;
        let took_us = u64::try_from(now.0 - before.updated_at.unwrap_or(before.created_at).0).ok()?;
        let left_us = (seen.disk[2] + seen.memory[2]).checked_mul(took_us)?.checked_div(sent)?;
        Some(Timestamp(now.0.saturating_add(i64::try_from(left_us).ok()?)))
    });
    let created_at = before.map_or(now, |before| before.created_at);
    let (updated_at, unknown) = (Some(now), Default::default());
    txn.put(Progress { id, created_at, updated_at, seen: seen.clone(), expected_end, unknown });
}

/// Ends the move that is under way or can be reverted; the target must remove its part.
pub fn cancel(txn: &mut Txn<'_>, server: &Server) {
    close(
        txn,
        server,
        Phase::Failed { why: "The server was deleted, evacuated or restored during the move.".to_owned() },
    );
    if let Some(ticket) = server.ticket.as_ref().filter(|ticket| ticket.leg != Leg::Prepare) {
        disk::update_left(txn, ticket.to, server.id, |left| left.may_run = true);
    }
    if let Some(last) = &server.unconfirmed {
        finish(txn, last.migration_id, Phase::Confirmed);
        txn.update::<Server>(&server.id, |s| s.unconfirmed = None);
    }
}

/// Confirms the last move; the room for the way back is free.
pub fn confirm(txn: &mut Txn<'_>, server: &Server) {
    let Some(last) = &server.unconfirmed else { return };
    finish(txn, last.migration_id, Phase::Confirmed);
    txn.update::<Server>(&server.id, |s| s.unconfirmed = None);
}

/// When the phase of a migration is overdue.
pub fn due(migration: &Migration, took_over_at: Timestamp) -> Timestamp {
    let due = match migration.phase {
        Phase::Preparing => migration.created_at.plus_s(PREPARE_S_MAX).min(migration.deadline),
        _ => migration.deadline,
    };
    // The time without a leader does not count as the hosts' delay.
    due.max(took_over_at.plus_s(120))
}
