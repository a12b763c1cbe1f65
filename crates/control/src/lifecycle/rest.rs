//! Guests that rest while their host boots: a plan brings them to rest, and has them go on.

use crate::lifecycle::{condition, operation};
use lenticular_model::{
    Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Wanted},
    },
    ops::plan_step::Rest,
    policy::Caller,
};

/// The tag with which a server's owner says when the server is started among others: `lenticular:start-order=1`.
const START_ORDER: &str = "lenticular:start-order=";

/// The server's place among those that are started; servers without the tag are the last.
pub fn start_place(server: &Server) -> u32 {
    let place = server.tags.iter().find_map(|tag| tag.strip_prefix(START_ORDER)?.parse().ok());
    place.unwrap_or(u32::MAX)
}

/// Begins to bring a running guest to rest.
pub fn begin(txn: &mut Txn<'_>, server: &Server, how: Rest, by: &Caller) {
    let (action, wanted) = match how {
        Rest::Suspend => (OperationKind::Suspend, Wanted::Suspended),
        Rest::Stop => (OperationKind::Stop, Wanted::Stopped),
    };
    let task = operation::begin(txn, server, action, Some(by));
    txn.update::<Server>(&server.id, |server| {
        (server.wanted, server.task) = (wanted, Some(task));
        server.suspensions += u64::from(how == Rest::Suspend);
    });
}

/// Has a guest go on, or start anew if it has no saved memory.
pub fn wake(txn: &mut Txn<'_>, server: &Server, by: &Caller) {
    let (action, style) = match server.condition {
        Condition::Suspended => (OperationKind::Resume, BootStyle::Resume),
        _ => (OperationKind::Start, BootStyle::Hard),
    };
    let task = operation::begin(txn, server, action, Some(by));
    txn.update::<Server>(&server.id, |server| {
        (server.wanted, server.task) = (Wanted::Running, Some(task));
        (server.boot, server.boot_style) = (server.boot + 1, style);
        condition::leave_error(server);
    });
}

/// True if the guest rests, as a plan wanted.
pub fn has_come_to(server: &Server, how: Rest) -> bool {
    let (wanted, condition) = match how {
        Rest::Suspend => (Wanted::Suspended, Condition::Suspended),
        Rest::Stop => (Wanted::Stopped, Condition::Stopped),
    };
    server.task.is_none() && !server.powered && (server.wanted, server.condition) == (wanted, condition)
}

/// True if a guest runs, or is to run.
pub fn is_on(server: &Server) -> bool {
    server.powered || matches!(server.wanted, Wanted::Running | Wanted::Paused) && !is_down(server)
}

/// True if the server is in error, and its guest does not run though its disk is there.
pub fn is_down(server: &Server) -> bool {
    let free = server.task.is_none() && server.ticket.is_none() && server.restored.is_none();
    server.condition == Condition::Error && !server.powered && free && server.wanted != Wanted::Absent
}
