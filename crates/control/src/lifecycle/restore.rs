//! The state of servers after the store is restored from a backup: the hosts know better, and each is believed
//! once.
//!
//! Restoring a store begins a new incarnation of it. [`begin`] is the first transaction in the restored store, and
//! the new incarnation is named after it. From then on:
//!
//! ```text
//!                       its host, or one with a newer disk, says that it has it
//!   server: restored ──────────────────────────────────────────────────────────▶ as ever
//!              │        all hosts have said what they have, and none has it
//!              └──────────────────────────────────────────────────────────────▶ in error: lost
//! ```
//!
//! Rules:
//! - No host has orders for a restored server, and no request but its deletion is accepted: nothing starts, moves
//!   or is removed. Running guests run on. Only disks that the server had left behind before the backup keep their
//!   orders: they are older than the server's present disk.
//! - A host reports only after it has given up the orders of the old incarnation (`Registration::life`). So a host
//!   that reports that it may run a guest can no longer hand that guest to another host. Two hosts never both
//!   report so truthfully.
//! - The highest generation wins. A host not heard since the restore may even claim a server that was found on
//!   another host, if its own disk is newer. So an evacuation after the backup becomes known.
//! - After a handover the server belongs to the next host: by that host's own report, or if that host waits for the
//!   release of exactly this disk.
//! - A server that no host has is lost. It is never created again, because it may have been deleted after the
//!   backup.
//! - No action of a host is ordered twice by itself: plans that had one under way halt.
//! - A disk that a host has and no record explains is found ([`Fate::Found`]). It stays and is shown until an
//!   operator gives it up ([`give_up`]), or until its server's place shows that it is only a leftover.
//! - Two disks of one generation, both ready to run, are a conflict: the server keeps the record's host, and the
//!   other disk stays found.
//! - Generations are numbers that no earlier incarnation has issued: they continue from the time of the restore in
//!   seconds.

use crate::lifecycle::{archive::archive_if_gone, disk, migration, plan, ports, shelf, snapshot};
use lenticular_model::{
    HostId, ServerId, Txn,
    compute::{
        disk::{Disk, Fate, FoundDisk, KEPT_S},
        migration::Phase,
        server::{Restored, Server, Wanted},
    },
    host::{
        host::{Heartbeat, Host},
        observation::{Observation, ObservedState},
    },
    ops::{
        host_step::{HostStep, Stage},
        plan::PlanPhase,
    },
};
use std::sync::Arc;

const WHY: &str = "The store was restored from a backup.";

/// The first transaction in a restored store: from now on, facts in the store that hosts can report count as
/// unknown.
pub fn begin(txn: &mut Txn<'_>) {
    crate::upgrade::bring_over(txn);
    let now = txn.now;
    let hosts: Vec<HostId> = txn.hosts.keys().copied().collect();
    for id in hosts {
        txn.delete::<Heartbeat>(&id);
        txn.update::<Host>(&id, |host| {
            host.order.action = None;
            host.unheard = true;
            host.silent_since = host.silent_since.or(Some(now));
        });
    }
    halt_actions(txn);
    let since = u64::try_from(now.unix_s()).unwrap_or_default();
    let servers: Vec<Arc<Server>> = txn.servers.values().cloned().collect();
    for server in servers {
        // The hosts will report the outcome of a move.
        migration::end(txn, &server, Phase::Failed { why: WHY.to_owned() });
        txn.update::<Server>(&server.id, |s| {
            // A denial by the host after an earlier restore still holds.
            let denied = s.restored == Some(Restored::Denied) && s.host_id.is_none();
            s.restored = Some(if denied { Restored::Denied } else { Restored::Unheard });
        });
        disk::update(txn, server.id, |disk| disk.issued = disk.issued.max(disk.generation).max(since));
    }
}

/// Nobody knows whether an action ran since, and it is not run twice unless an operator says so.
fn halt_actions(txn: &mut Txn<'_>) {
    let acts = |step: &&Arc<HostStep>| matches!(step.stage, Stage::Acting { .. });
    let acting: Vec<Arc<HostStep>> = txn.host_steps.values().filter(acts).cloned().collect();
    for step in acting {
        if txn.plans.get(&step.plan_id).is_some_and(|plan| plan.is_running()) {
            let host = txn.hosts.get(&step.id).map(|host| host.name.clone()).unwrap_or_default();
            let why =
                format!("the store was restored from a backup while host {host} was {}", step.stage.text());
            plan::set_phase(txn, &step.plan_id, PlanPhase::Halted { why });
        }
    }
}

/// The server is on another host than in the record, or its disk is newer.
pub fn adopt(txn: &mut Txn<'_>, server: &Server, host: HostId, generation: u64) {
    migration::end(txn, server, Phase::Failed { why: WHY.to_owned() });
    if let Some(last) = &server.unconfirmed {
        migration::finish(txn, last.migration_id, Phase::Confirmed);
    }
    snapshot::give_up(txn, server, WHY);
    match server.is_being_shelved() {
        true => shelf::give_up(txn, server, WHY.to_owned()),
        false => shelf::clear(txn, server),
    }
    ports::move_to(txn, server.id, host);
    let left = txn.generation_of_server(server.id);
    disk::grant(txn, server.id, host, generation);
    disk::update(txn, server.id, |disk| disk.made = true);
    txn.update::<Server>(&server.id, |s| s.unconfirmed = None);
    if let Some(from) = server.host_id.filter(|from| *from != host) {
        let fate = Fate::Kept { until: txn.now.plus_s(KEPT_S) };
        let what = "was there in the backup, and is elsewhere".to_owned();
        disk::leave(txn, server.id, from, left, fate, what);
    }
}

/// The server's place is known. `seen` is its host's report, if a report told the place. Found disks on other hosts
/// are leftovers. If the server is wanted absent, all of them are removed.
pub fn place_found(txn: &mut Txn<'_>, id: ServerId, seen: Option<&Observation>) {
    let runs = seen.is_some_and(|seen| matches!(seen.observed, ObservedState::Running { .. }));
    let suspended = seen.is_some_and(|seen| seen.observed == ObservedState::Suspended);
    let former = txn.servers.get(&id).and_then(|s| Some(s.rebuild.as_deref()?.generation));
    let is_former = |seen: &Observation| Some(seen.generation) == former;
    let made = seen.is_none_or(|seen| match seen.observed {
        _ if is_former(seen) => false,
        ObservedState::Preparing { disk_made, .. } | ObservedState::Failed { disk_made, .. } => disk_made,
        _ => true,
    });
    txn.update::<Server>(&id, |s| {
        s.restored = None;
        // The next boot needs a number that the host has not used yet.
        s.boot = s.boot.max(seen.map_or(0, |seen| seen.boot));
        s.wanted = match s.wanted {
            // The guest was suspended, or resumed, after the backup. Its memory must not be lost.
            Wanted::Running | Wanted::Paused | Wanted::Stopped if suspended => Wanted::Suspended,
            Wanted::Suspended if runs => Wanted::Running,
            Wanted::Stopped if runs && s.task.is_none() => Wanted::Running,
            wanted => wanted,
        };
    });
    disk::update(txn, id, |disk| disk.made |= made);
    let Some(server) = txn.servers.get(&id).cloned() else { return };
    if let Some(host) = server.host_id {
        disk::clear(txn, host, id);
    }
    let left: Vec<Arc<Disk>> = txn.left_disks_of_server(id).cloned().collect();
    for disk in left {
        keep_or_remove(txn, &disk);
    }
    if server.wanted == Wanted::Absent {
        migration::cancel(txn, &server);
        disk::remove_all(txn, id);
        archive_if_gone(txn, id);
    }
}

/// Decides on a found disk, once its server's place is known.
pub fn keep_or_remove(txn: &mut Txn<'_>, disk: &Disk) {
    let Some(Fate::Found { what }) = disk.fate().cloned() else { return };
    let Some(server) = txn.servers.get(&disk.server_id).filter(|s| s.restored.is_none()).cloned() else {
        return;
    };
    let until = txn.now.plus_s(KEPT_S);
    let older = disk.generation < txn.generation_of_server(server.id);
    let fate = match what {
        // The server is lost, and an operator may return it to this disk.
        FoundDisk::Released { .. } | FoundDisk::Left if server.host_id.is_none() => Fate::Kept { until },
        _ if older && server.host_id.is_some() => Fate::Kept { until },
        // The disk was coming to this host, but the server's present host can no longer release it.
        FoundDisk::Coming if server.host_id.is_some() => Fate::Doomed,
        _ => return,
    };
    txn.update::<Disk>(&disk.id, |disk| disk.left.iter_mut().for_each(|left| left.fate = fate.clone()));
}
