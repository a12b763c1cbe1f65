//! Rescued servers: the guest starts from another image's disk, and has its own disks beside it.
//!
//! ```text
//!           rescue: a higher boot                 the guest runs
//!  none ──────────────────────────▶ Rescue, BUILD ──────────────▶ Rescue: RESCUE
//!   ▲                                 │                             │ unrescue: a higher boot
//!   └─────────────────────────────────┴─────────────────────────────┘
//!                   the host could not: the guest starts from its own disk again
//! ```
//!
//! The rescue disk has no record: its host makes it from the image at a start, and removes it at the next start without.

use crate::lifecycle::operation;
use lenticular_model::{
    Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Server, Wanted},
    },
};

/// The host could not start the guest from the rescue disk: the guest starts from its own disk again. False if no rescue
/// is under way.
pub fn go_back(txn: &mut Txn<'_>, server: &Server, message: &str, details: &str) -> bool {
    let under_way = server.task.as_ref().is_some_and(|task| task.action == OperationKind::Rescue);
    let Some(rescue) = server.rescue.as_deref().filter(|_| under_way) else { return false };
    let wanted = if rescue.ran { Wanted::Running } else { Wanted::Stopped };
    operation::finish_task(txn, server, Some(format!("{message} ({details})")));
    txn.update::<Server>(&server.id, |s| {
        s.rescue = None;
        s.task = None;
        s.wanted = wanted;
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
    });
    true
}
