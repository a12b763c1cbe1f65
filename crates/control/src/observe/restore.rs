//! What becomes of the record when the store goes back to a backup: the hosts know better, and are believed once.
//!
//! Restoring a store begins a new life of it. [`begin`] is the first transaction in the restored store, and the new
//! incarnation is named after it; from then on:
//!
//! ```text
//!                       its host, or one with a newer disk, says that it has it
//!   server: restored ──────────────────────────────────────────────────────────▶ as ever
//!              │        all hosts have said what they have, and none has it
//!              └──────────────────────────────────────────────────────────────▶ in error: lost
//! ```
//!
//! Rules:
//! - Nobody has orders for a restored server, and no request but its deletion is taken: nothing starts, moves or is
//!   removed. What runs goes on running. Only of the disks that it had left behind before the backup a host is told what
//!   it was told before: they are older than whatever the server has now.
//! - A host speaks only after it has given up the orders of the life before (`Introduction::life`). So a host that says
//!   that it may run a guest cannot hand that guest to another any more, and two hosts never both say so truthfully.
//! - The highest generation wins. A host that has not been heard since the restore may claim even a server that another
//!   host was found to have, if its disk is newer: that is how an evacuation shows that the backup does not know.
//! - A disk that was handed over makes its server the next host's: by that host's own word, or if it waits for just that
//!   one.
//! - A server that no host has is lost, and is never made afresh: it may have been deleted since.
//! - What a host has and the record does not explain is found ([`Fate::Found`]): left alone and shown, until an operator
//!   gives it up ([`give_up`]), or what becomes of its server makes plain that it is only a leftover.
//! - Two disks of one generation, both ready to run, are a conflict: the server keeps the host of the record, the other
//!   disk stays found.
//! - Generations are numbers that no life before has issued: they count on from the time of the restore in seconds.

use crate::{
    command::compute::{server, shelve},
    lifecycle::{migration, operation},
};
use lenticular_model::{
    compute::{
        disk_copy::{DiskCopy, Fate, Found, KEPT_S},
        migration::Phase,
        server::{Condition, Fault, Restored, Server, Wanted},
    },
    error::{Error, Result},
    host::{
        host::{Contact, Host},
        observation::{Observation, Sight, StopReason, Verdict},
    },
    policy::{self, Action, Caller},
    DiskCopyId, HostId, ServerId, State, Timestamp, Txn,
};
use std::{collections::BTreeSet, sync::Arc};

const WHY: &str = "The store was restored from a backup.";

/// How often a restored server is looked at, in seconds.
const LOOK_S: i64 = 10;

/// The first transaction in a store that was restored: from here on nothing in it is believed that a host can tell.
pub fn begin(txn: &mut Txn<'_>) {
    let now = txn.now;
    let hosts: Vec<HostId> = txn.hosts.keys().copied().collect();
    for id in hosts {
        txn.delete::<Contact>(&id);
        txn.update::<Host>(&id, |host| {
            host.unheard = true;
            host.silent_since = host.silent_since.or(Some(now));
        });
    }
    let since = u64::try_from(now.unix_s()).unwrap_or_default();
    let servers: Vec<Arc<Server>> = txn.servers.values().cloned().collect();
    for server in servers {
        // What came of it, its hosts will say.
        migration::end(txn, &server, Phase::Failed { why: WHY.to_owned() });
        txn.update::<Server>(&server.id, |s| {
            // What its host denied after an earlier restore, it denies still.
            let denied = s.restored == Some(Restored::Denied) && s.host_id.is_none();
            s.restored = Some(if denied { Restored::Denied } else { Restored::Unheard });
            s.disk.issued = s.disk.issued.max(s.disk.generation).max(since);
        });
    }
}

/// What a host says of its part in a server; `None` if it has none.
fn claim(seen: &Observation) -> Option<Found> {
    let handover = seen.handover.as_ref().filter(|handover| handover.verdict == Verdict::Released);
    match &seen.sight {
        Sight::Absent => None,
        Sight::Receiving { .. } | Sight::Ready | Sight::Unready { .. } => Some(Found::Coming),
        _ if handover.is_some() => handover.map(|h| Found::Released { generation: h.generation }),
        Sight::Kept | Sight::Stopped { why: StopReason::MovedAway } => Some(Found::Left),
        Sight::Stopped { .. } | Sight::Running { .. } | Sight::Failed { .. } | Sight::Preparing { .. } => {
            Some(Found::Own)
        }
    }
}

/// Takes in all that a host has: what the record does not know is noted as found, what was found once and is not there
/// any more is forgotten.
pub(crate) fn inventory(txn: &mut Txn<'_>, host: HostId, all: &[Observation]) {
    let there: BTreeSet<ServerId> =
        all.iter().filter(|seen| claim(seen).is_some()).map(|seen| seen.server_id).collect();
    for copy in found_on(txn, host) {
        if !there.contains(&copy.server_id) {
            txn.delete::<DiskCopy>(&copy.id);
            server::bury_if_gone(txn, copy.server_id);
        }
    }
    let unheard = txn.hosts.get(&host).is_some_and(|host| host.unheard);
    for seen in all {
        match txn.servers.get(&seen.server_id).cloned() {
            None => note_found(txn, host, seen),
            Some(server) if server.restored.is_none() => correct(txn, &server, host, seen, unheard),
            _ => {}
        }
    }
    if unheard {
        txn.update::<Host>(&host, |host| host.unheard = false);
    }
}

fn found_on(state: &State, host: HostId) -> Vec<Arc<DiskCopy>> {
    let copies = state.disk_copies_on_host(host);
    copies.filter(|copy| matches!(copy.fate, Fate::Found { .. })).cloned().collect()
}

/// A host speaks of a server that another is known to have. Only if it was not heard since the restore it may know better.
fn correct(txn: &mut Txn<'_>, server: &Server, host: HostId, seen: &Observation, unheard: bool) {
    let comes = server.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    match claim(seen) {
        Some(Found::Own) if unheard && seen.generation > server.disk.generation => {
            adopt(txn, server, host, seen.generation);
            settle(txn, server.id, Some(seen));
        }
        _ if comes || server.host_id == Some(host) => {}
        _ => note_found(txn, host, seen),
    }
}

/// Judges what a host says of a restored server. True if nothing more is to be made of it.
pub(crate) fn judge(txn: &mut Txn<'_>, host: HostId, seen: &Observation) -> bool {
    let Some(server) = txn.servers.get(&seen.server_id).filter(|s| s.restored.is_some()).cloned() else {
        return false;
    };
    let newer = seen.generation > server.disk.generation;
    let here = server.host_id == Some(host) && seen.generation == server.disk.generation;
    match claim(seen) {
        Some(Found::Own) if here => settle(txn, server.id, Some(seen)),
        // The record knows that it was released to this host, which does not yet.
        Some(Found::Coming) if here => settle(txn, server.id, None),
        Some(Found::Own) if newer => {
            adopt(txn, &server, host, seen.generation);
            settle(txn, server.id, Some(seen));
        }
        None => migration::copy_is_gone(txn, host, seen),
        Some(_) => {
            if server.host_id == Some(host) {
                // Whoever has it, it is not this one.
                txn.update::<Server>(&server.id, |s| {
                    s.host_id = None;
                    s.restored = Some(Restored::Denied);
                });
            }
            note_found(txn, host, seen);
            pair(txn, server.id);
        }
    }
    txn.servers.get(&seen.server_id).is_none_or(|s| s.restored.is_some())
}

/// One host has handed the server on, and another waits for it under that generation: it is the other's.
fn pair(txn: &mut Txn<'_>, id: ServerId) {
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    let copies: Vec<Arc<DiskCopy>> = txn.disk_copies_of_server(id).cloned().collect();
    let released = |copy: &DiskCopy| {
        copies
            .iter()
            .any(|other| other.fate == Fate::Found { what: Found::Released { generation: copy.generation } })
    };
    let comes = copies.iter().find(|copy| {
        let coming = copy.fate == Fate::Found { what: Found::Coming };
        coming && copy.generation > server.disk.generation && released(copy)
    });
    if let Some(copy) = comes {
        adopt(txn, &server, copy.host_id, copy.generation);
        settle(txn, id, None);
    }
}

/// The server is on another host than the record says, or its disk is newer.
fn adopt(txn: &mut Txn<'_>, server: &Server, host: HostId, generation: u64) {
    migration::end(txn, server, Phase::Failed { why: WHY.to_owned() });
    if let Some(last) = &server.unconfirmed {
        migration::finish(txn, last.migration_id, Phase::Confirmed);
    }
    match server.is_being_shelved() {
        true => shelve::give_up(txn, server, WHY.to_owned()),
        false => shelve::forget(txn, server),
    }
    migration::move_ports(txn, server.id, host);
    txn.update::<Server>(&server.id, |s| {
        s.unconfirmed = None;
        s.host_id = Some(host);
        s.disk.generation = generation;
        s.disk.issued = s.disk.issued.max(generation);
        s.disk.revives = None;
        s.disk.made = true;
    });
    if let Some(from) = server.host_id.filter(|from| *from != host) {
        let fate = Fate::Kept { until: txn.now.plus_s(KEPT_S) };
        let what = "was there in the backup, and is elsewhere".to_owned();
        migration::leave_copy(txn, server.id, from, server.disk.generation, fate, what);
    }
}

/// Where a server is, is known, by what its host saw if that told it: what is found of it elsewhere is a leftover, and if
/// it is to be gone, all of it is.
fn settle(txn: &mut Txn<'_>, id: ServerId, seen: Option<&Observation>) {
    let runs = seen.is_some_and(|seen| matches!(seen.sight, Sight::Running { .. }));
    let made = seen.is_none_or(|seen| match seen.sight {
        Sight::Preparing { disk_made, .. } | Sight::Failed { disk_made, .. } => disk_made,
        _ => true,
    });
    txn.update::<Server>(&id, |s| {
        s.restored = None;
        s.disk.made |= made;
        // What was booted since is not to be booted again, nor a later boot to be taken for one that was.
        s.boot = s.boot.max(seen.map_or(0, |seen| seen.boot));
        if runs && s.wanted == Wanted::Stopped && s.task.is_none() {
            s.wanted = Wanted::Running;
        }
    });
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    if let Some(host) = server.host_id {
        migration::forget_copy(txn, host, id);
    }
    let copies: Vec<Arc<DiskCopy>> = txn.disk_copies_of_server(id).cloned().collect();
    for copy in copies {
        settle_found(txn, &copy);
    }
    if server.wanted == Wanted::Absent {
        migration::forsake(txn, &server);
        server::bury_if_gone(txn, id);
    }
}

fn settle_found(txn: &mut Txn<'_>, copy: &DiskCopy) {
    let Fate::Found { what } = copy.fate else { return };
    let Some(server) = txn.servers.get(&copy.server_id).filter(|s| s.restored.is_none()).cloned() else {
        return;
    };
    let until = txn.now.plus_s(KEPT_S);
    let older = copy.generation < server.disk.generation;
    let fate = match what {
        // Its server is lost, and an operator may go back to it.
        Found::Released { .. } | Found::Left if server.host_id.is_none() => Fate::Kept { until },
        _ if older && server.host_id.is_some() => Fate::Kept { until },
        // It was to go there, and whoever has it can release it to nobody any more.
        Found::Coming if server.host_id.is_some() => Fate::Doomed,
        _ => return,
    };
    txn.update::<DiskCopy>(&copy.id, |copy| copy.fate = fate);
}

/// Notes what a host has and the record does not explain.
fn note_found(txn: &mut Txn<'_>, host: HostId, seen: &Observation) {
    let Some(what) = claim(seen) else { return };
    let fate = Fate::Found { what };
    let known = txn.disk_copy_on(host, seen.server_id);
    let explained = known.is_some_and(|copy| match copy.fate {
        Fate::Found { .. } => copy.generation == seen.generation && copy.fate == fate,
        Fate::Kept { .. } | Fate::Doomed => copy.generation >= seen.generation,
    });
    if explained {
        return;
    }
    let why = "found there, and no record says how it came to be".to_owned();
    migration::leave_copy(txn, seen.server_id, host, seen.generation, fate, why);
    let id = txn.disk_copy_on(host, seen.server_id).map(|copy| copy.id);
    let Some(id) = id else { return };
    txn.update::<DiskCopy>(&id, |copy| copy.may_run = what == Found::Own);
    if let Some(copy) = txn.disk_copies.get(&id).cloned() {
        settle_found(txn, &copy);
    }
}

/// One step for a restored server: once every host has said what it has, one that none has is lost.
pub fn reconcile(txn: &mut Txn<'_>, server: &Server) -> Option<Timestamp> {
    let silent = |host: &Host| host.unheard && !host.fence.as_ref().is_some_and(|fence| fence.disks_lost);
    let own = server.host_id.and_then(|id| txn.hosts.get(&id));
    if own.is_some_and(|host| silent(host)) || txn.hosts.values().any(|host| silent(host)) {
        return Some(txn.now.plus_s(LOOK_S));
    }
    lose(txn, server);
    None
}

fn lose(txn: &mut Txn<'_>, server: &Server) {
    let id = server.id;
    // One that was on no host has nothing to lose.
    let never = |s: &Server| s.host_id.is_none() && s.restored == Some(Restored::Unheard);
    if let Some(server) = txn.servers.get(&id).filter(|s| !never(s)).cloned() {
        let message =
            "The store was restored from a backup, and no host has the server: it was deleted since, or is lost. Delete \
             it; or its operator may go back to a disk that it left behind.";
        if let Some(task) = server.task.as_ref().filter(|_| server.wanted != Wanted::Absent) {
            operation::finish(txn, task.operation_id, Some(message.to_owned()));
        }
        if server.is_being_shelved() {
            shelve::forget(txn, &server);
        }
        let now = txn.now;
        txn.update::<Server>(&id, |s| {
            // Never afresh: it may have been made, and deleted, since.
            s.disk.made = true;
            s.powered = false;
            s.ssh_forward = None;
            s.host_id = None;
            if s.wanted != Wanted::Absent {
                s.condition = Condition::Error;
                s.wanted = Wanted::Stopped;
                s.task = None;
                s.fault = Some(Fault { code: 500, message: message.to_owned(), details: None, at: now });
            }
        });
    }
    settle(txn, id, None);
}

/// An operator gives up what was found on a host: it is removed there, a guest that runs on it, too.
///
/// # Errors
/// There is no such disk, or it is not one that was found.
pub fn give_up(txn: &mut Txn<'_>, caller: &Caller, id: DiskCopyId) -> Result<()> {
    policy::check(caller, Action::ServerDiskRestore, None)?;
    let found = txn.disk_copies.get(&id).is_some_and(|copy| matches!(copy.fate, Fate::Found { .. }));
    if !found {
        return Err(Error::not_found_text(format!("No disk {id} was found that no record explains.")));
    }
    txn.update::<DiskCopy>(&id, |copy| copy.fate = Fate::Doomed);
    Ok(())
}
