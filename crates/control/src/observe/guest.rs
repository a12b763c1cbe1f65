//! Reports of hosts about guests: which reports count, and what each changes in its server.

use crate::{
    lifecycle::{
        archive::archive_if_gone, disk, migration, ports, rebuild, rescue, run, shelf, snapshot, suspend,
    },
    observe::restore,
};
use lenticular_model::{
    HostId, State, Txn,
    compute::{
        migration::Ticket,
        server::{BootStyle, Condition, Server, Wanted},
    },
    host::observation::{Observation, ObservedState, StopReason},
};

/// Accepts a host's observations. A report counts for a guest whose host or ticket is that host, at that
/// generation, and for disks that were left behind on the host.
pub fn observe(txn: &mut Txn<'_>, host: HostId, observations: &[Observation]) {
    for seen in observations {
        if restore::judge(txn, host, seen) {
            continue;
        }
        let owned = |state: &State, s: &Server| {
            s.host_id == Some(host) && state.generation_of_server(s.id) == seen.generation
        };
        let mut server = txn.servers.get(&seen.server_id).cloned();
        if let Some(current) = &server {
            let comes = |t: &Ticket| t.to == host && t.generation == seen.generation;
            match &seen.handover {
                Some(handover) if owned(txn, current) => migration::on_decision(txn, current, handover),
                _ if current.ticket.as_ref().is_some_and(|t| comes(t)) => {
                    migration::on_target_report(txn, current, seen);
                }
                _ => {}
            }
            server = txn.servers.get(&seen.server_id).cloned();
        }
        match server.filter(|s| owned(txn, s)) {
            Some(server) => {
                observe_one(txn, &server, seen);
                observe_failures(txn, seen);
            }
            None => disk::on_gone(txn, host, seen),
        }
    }
}

/// What the host could not do, while the guest stays as it was.
fn observe_failures(txn: &mut Txn<'_>, seen: &Observation) {
    let server = txn.servers.get(&seen.server_id).cloned();
    if let (Some(server), Some(unsaved)) = (server, &seen.unsaved) {
        shelf::unsaved(txn, &server, unsaved);
        snapshot::unsaved(txn, &server, unsaved);
    }
    let server = txn.servers.get(&seen.server_id).cloned();
    if let (Some(server), Some(failed)) = (server, &seen.failed_attempt) {
        suspend::on_failed_attempt(txn, &server, failed);
    }
}

/// Notes the layout of a running guest's machine. Without a word about it, the guest has what it had in the same boot.
fn note_layout(txn: &mut Txn<'_>, server: &Server, seen: &Observation) {
    let known = (server.layout, server.layout_boot);
    let now =
        if seen.layout == 0 && seen.boot == server.layout_boot { known } else { (seen.layout, seen.boot) };
    if now != known {
        txn.update::<Server>(&server.id, |s| (s.layout, s.layout_boot) = now);
    }
}

fn observe_one(txn: &mut Txn<'_>, server: &Server, seen: &Observation) {
    if server.wanted == Wanted::Absent {
        // Only the confirmation counts; the guest's state until then does not matter.
        if seen.observed == ObservedState::Absent {
            disk::set_host(txn, server.id, None);
            archive_if_gone(txn, server.id);
        }
        return;
    }
    // What a source says of a guest that it has released; it does not know yet that the guest came back.
    if matches!(seen.observed, ObservedState::Stopped { why: StopReason::MovedAway }) {
        return;
    }
    let made = match &seen.observed {
        ObservedState::Preparing { disk_made, .. } | ObservedState::Failed { disk_made, .. } => *disk_made,
        ObservedState::Running { .. } | ObservedState::Suspended | ObservedState::Stopped { .. } => true,
        ObservedState::Receiving { .. }
        | ObservedState::Ready
        | ObservedState::Unready { .. }
        | ObservedState::Kept
        | ObservedState::Absent => false,
    };
    if made && !txn.has_made_disks(server.id) {
        disk::update(txn, server.id, |disk| disk.made = true);
    }
    if made {
        rebuild::on_made(txn, server);
    }
    if matches!(seen.observed, ObservedState::Running { .. }) {
        note_layout(txn, server, seen);
    }
    let is_there = matches!(
        seen.observed,
        ObservedState::Running { .. } | ObservedState::Suspended | ObservedState::Stopped { .. }
    );
    if is_there {
        disk::came_back(txn, server.id);
        shelf::came_back(txn, server);
    }
    if seen.boot < server.boot {
        // The host has not acted on the present boot yet. Only whether the guest runs is new.
        let runs = matches!(seen.observed, ObservedState::Running { .. });
        if server.powered != runs {
            txn.update::<Server>(&server.id, |s| s.powered = runs);
        }
        return;
    }
    observe_present(txn, server, seen, made);
}

/// A report of the present boot.
fn observe_present(txn: &mut Txn<'_>, server: &Server, seen: &Observation, made: bool) {
    if seen.boot > server.boot {
        // The store was restored, and the record is older than the boot. The next boot needs a higher number.
        txn.update::<Server>(&server.id, |known| known.boot = seen.boot);
        let caught_up = Server { boot: seen.boot, ..server.clone() };
        return observe_present(txn, &caught_up, seen, made);
    }
    match &seen.observed {
        // The host does not know yet that the server is now its own.
        ObservedState::Receiving { .. }
        | ObservedState::Ready
        | ObservedState::Unready { .. }
        | ObservedState::Kept => {}
        ObservedState::Preparing { .. } => {}
        ObservedState::Running { ssh_forward, paused } => {
            saw_running(txn, server, ssh_forward.clone(), *paused, seen.memory_lost.clone());
        }
        ObservedState::Suspended => suspend::set_suspended(txn, server, seen.failed_attempt.as_ref()),
        ObservedState::Stopped { why } => saw_stopped(txn, server, *why),
        ObservedState::Failed { message, details, .. } if shelf::never_came(txn, server, made) => {
            shelf::go_back(txn, server, message, details);
        }
        ObservedState::Failed { message, details, .. } => {
            let goes_back = !made && rebuild::go_back(txn, server, message, details)
                || made && rescue::go_back(txn, server, message, details);
            if !goes_back {
                run::fail(txn, server, message.clone(), details.clone());
            }
        }
        ObservedState::Absent => run::fail(
            txn,
            server,
            "The server's disk is gone from its host. Ask the operator what happened. If the disk cannot be \
             brought back, delete the server."
                .to_owned(),
            "the agent reports the guest as absent without having been told to remove it".to_owned(),
        ),
    }
}

fn saw_running(
    txn: &mut Txn<'_>,
    server: &Server,
    ssh_forward: Option<String>,
    paused: bool,
    memory_lost: Option<String>,
) {
    ports::set_plugged(txn, server, true);
    // Something else is under way and not done, such as a stop or a move; a running guest is not its outcome.
    let runs_as_wanted = match server.wanted {
        Wanted::Running => !paused,
        Wanted::Paused => paused,
        Wanted::Suspended | Wanted::Stopped | Wanted::Absent => false,
    };
    if !runs_as_wanted || server.ticket.is_some() {
        if !server.powered {
            txn.update::<Server>(&server.id, |s| s.powered = true);
        }
        return;
    }
    if paused {
        return suspend::set_paused(txn, server);
    }
    let settled = server.condition == Condition::Active && server.run_task().is_none() && server.powered;
    if settled && server.ssh_forward == ssh_forward {
        return;
    }
    if ports::must_wait(txn, server) {
        txn.update::<Server>(&server.id, |s| (s.powered, s.awaits_ports) = (true, Some(s.boot)));
        return;
    }
    run::set_running(txn, server, ssh_forward, memory_lost);
}

fn saw_stopped(txn: &mut Txn<'_>, server: &Server, why_stopped: StopReason) {
    ports::set_plugged(txn, server, false);
    match (server.wanted, why_stopped) {
        (Wanted::Running, StopReason::Died) => {
            let message = match server.rescue {
                Some(_) => "The rescued server's guest process ended unexpectedly. Unrescue the server.",
                None => "The server's guest process ended unexpectedly. Start the server again.",
            };
            run::fail(txn, server, message.to_owned(), "the hypervisor process vanished".to_owned());
            txn.update::<Server>(&server.id, |s| s.wanted = Wanted::Stopped);
        }
        // The move is decided first: the source may have released the guest before.
        (Wanted::Running | Wanted::Paused, StopReason::HostRestarted) if server.ticket.is_some() => {
            let why = "The source host restarted.".to_owned();
            migration::fail(txn, server, why);
            txn.update::<Server>(&server.id, |s| s.powered = false);
            if let Some(still) = txn.servers.get(&server.id).filter(|s| s.ticket.is_none()).cloned() {
                saw_stopped(txn, &still, why_stopped);
            }
        }
        (Wanted::Running, StopReason::HostRestarted) => {
            // The host's disk is the newest, and no other host may run the guest: the guest starts again
            // automatically.
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.boot += 1;
            });
        }
        (Wanted::Running, StopReason::ByGuest) | (Wanted::Stopped, _) => run::set_stopped(txn, server),
        // The guest was stopped for a move.
        (Wanted::Running, StopReason::Ordered | StopReason::MovedAway) if server.ticket.is_some() => {
            if server.powered {
                txn.update::<Server>(&server.id, |s| s.powered = false);
            }
        }
        // The guest was stopped for a move, and stays: it is started again on its host.
        (Wanted::Running, StopReason::Ordered) => {
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.boot += 1;
                s.boot_style = BootStyle::Hard;
            });
        }
        (Wanted::Paused | Wanted::Suspended, why) => suspend::saw_stopped(txn, server, why),
        (Wanted::Running, StopReason::MovedAway) | (Wanted::Absent, _) => {}
    }
}
