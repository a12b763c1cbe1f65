//! Servers whose guests stand still: paused, with the memory in the host's memory, or suspended, with the memory saved
//! on the host's disk.
//!
//! ```text
//!            pause                           suspend                 memory saved
//!  Paused ◀─────────▶ running    running ─────────────▶ Suspending ──────────────▶ Suspended
//!           unpause                 ▲                       │                          │ resume: a higher boot
//!                                   ├───────────────────────┘ could not, or not        ▼
//!                                   │                         in time               Resuming
//!                                   └──────────────────────────────────────────────────┘
//!                                      with its memory, or started anew, which is said
//! ```
//!
//! A host marks a saved memory as used before its guest goes on, so one memory never runs twice.

use crate::lifecycle::{condition, operation, ports, run};
use lenticular_model::{
    Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Wanted},
    },
    host::host::PROTOCOL_WITH_SUSPEND,
    host::observation::{Attempt, FailedAttempt, StopReason},
};

/// The guest stands still, as wanted.
pub fn set_paused(txn: &mut Txn<'_>, server: &Server) {
    let settled = server.condition == Condition::Paused && server.run_task().is_none() && server.powered;
    if settled {
        return;
    }
    let task = operation::finish_run_task(txn, server, None);
    txn.update::<Server>(&server.id, |s| {
        condition::set_paused(s);
        s.task = task;
        s.powered = true;
    });
}

/// The host has saved the guest's memory. `failed` is what the host could not do since.
pub fn set_suspended(txn: &mut Txn<'_>, server: &Server, failed: Option<&FailedAttempt>) {
    let could_not_resume =
        failed.is_some_and(|failed| failed.attempt == Attempt::Resume { boot: server.boot });
    match server.wanted {
        Wanted::Suspended => {}
        // The host tells next why the guest could not go on.
        Wanted::Running if server.task.as_ref().is_some_and(|task| task.action == OperationKind::Resume) => {
            return;
        }
        // It was told to go on, without a request of its owner, and cannot: it stays suspended.
        Wanted::Running | Wanted::Paused if could_not_resume => {
            txn.update::<Server>(&server.id, |s| s.wanted = Wanted::Suspended);
        }
        // The attempt was given up, and the host had completed it: the guest goes on with its memory.
        Wanted::Running | Wanted::Paused => {
            txn.update::<Server>(&server.id, |s| {
                s.powered = false;
                s.boot += 1;
                s.boot_style = BootStyle::Resume;
            });
            return;
        }
        Wanted::Stopped | Wanted::Absent => {
            if server.powered {
                txn.update::<Server>(&server.id, |s| s.powered = false);
            }
            return;
        }
    }
    ports::set_plugged(txn, server, false);
    if server.condition == Condition::Suspended && server.run_task().is_none() && !server.powered {
        return;
    }
    let task = operation::finish_run_task(txn, server, None);
    txn.update::<Server>(&server.id, |s| {
        condition::set_suspended(s);
        s.task = task;
        s.fault = None;
        s.powered = false;
        s.ssh_forward = None;
    });
}

/// The host could not suspend or resume the guest, which stays as it was.
pub fn on_failed_attempt(txn: &mut Txn<'_>, server: &Server, seen: &FailedAttempt) {
    let is_present = match seen.attempt {
        Attempt::Suspend { number } => server.wanted == Wanted::Suspended && server.suspensions == number,
        Attempt::Resume { boot } => server.wanted == Wanted::Running && server.boot == boot,
    };
    if is_present {
        give_up(txn, server, format!("{} ({})", seen.message, seen.details));
    }
}

/// Gives a pause, an unpause, a suspension or a resumption up: the guest stays as it was. False if none is under way.
pub fn give_up(txn: &mut Txn<'_>, server: &Server, why: String) -> bool {
    let wanted = match server.task.as_ref().map(|task| task.action) {
        Some(OperationKind::Pause | OperationKind::Suspend) => Wanted::Running,
        Some(OperationKind::Unpause) => Wanted::Paused,
        Some(OperationKind::Resume) => Wanted::Suspended,
        _ => return false,
    };
    operation::finish_task(txn, server, Some(why));
    txn.update::<Server>(&server.id, |s| {
        s.wanted = wanted;
        s.task = None;
    });
    true
}

/// A guest that should stand still does not run.
pub fn saw_stopped(txn: &mut Txn<'_>, server: &Server, why: StopReason) {
    let host = server.host_id.and_then(|id| txn.hosts.get(&id));
    if server.wanted == Wanted::Suspended && host.is_some_and(|host| host.protocol < PROTOCOL_WITH_SUSPEND) {
        // An agent of an older version took the host over, and does not see the saved memory.
        return;
    }
    match why {
        // The guest's memory ended with the host's. The guest starts again, like those that ran.
        StopReason::HostRestarted => {
            let failure = Some("The host restarted; the guest starts anew.".to_owned());
            let task = operation::finish_run_task(txn, server, failure);
            txn.update::<Server>(&server.id, |s| {
                s.wanted = Wanted::Running;
                s.task = task;
                s.powered = false;
                s.boot += 1;
                s.boot_style = BootStyle::Hard;
            });
        }
        StopReason::ByGuest => run::set_stopped(txn, server),
        StopReason::Died | StopReason::Ordered | StopReason::MovedAway => {
            let message = match server.condition {
                Condition::Suspended => {
                    "The server's saved memory is gone from its host. Start the server: it starts anew."
                }
                _ => "The server's guest process ended unexpectedly. Start the server again.",
            };
            run::fail(txn, server, message.to_owned(), "the hypervisor process vanished".to_owned());
            txn.update::<Server>(&server.id, |s| s.wanted = Wanted::Stopped);
        }
    }
}
