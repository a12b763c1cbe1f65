//! Plans: the order in which servers move, what holds a move back, and what a plan would do. Pure reads of State; the plan
//! controller (`reconcile/plan.rs`) carries plans out.

mod in_flight;
mod order;
mod pace;
mod preview;
mod wait;

pub use in_flight::InFlight;
pub use order::in_order;
pub use pace::{Pace, pace};
pub use preview::{Preview, PreviewStep, Prospect, preview};
pub use wait::{Wait, mode, turn, wait};

use crate::{
    lifecycle::{
        migration::{self, Move},
        target,
    },
    schedule::{Planned, RequestSpec, Verdict, schedule},
};
use lenticular_model::{
    HostId, Kind, MigrationId, State, Txn,
    compute::{
        migration::{Mode, Purpose},
        server::Server,
    },
    error::Result,
    ops::plan::Plan,
    policy::{Caller, RoleLevel, Scope},
};

/// The host that a server would move to now, and the scheduler's reasons.
pub fn choose(
    state: &State,
    plan: &Plan,
    server: &Server,
    mode: Mode,
    flight: &InFlight,
) -> (Option<HostId>, Verdict) {
    let mut ask: RequestSpec = target::spec(state, server, &server.flavor_snapshot(), purpose(mode));
    if let Some(moves) = &mut ask.moves {
        moves.planned = Planned { to: plan.to, busy: flight.busy(state, &plan.limits) };
    }
    schedule(state, &ask)
}

fn purpose(mode: Mode) -> Purpose {
    match mode {
        Mode::Live => Purpose::LiveMigrate,
        Mode::Cold => Purpose::Relocate,
    }
}

/// Begins the move of a server.
///
/// # Errors
/// One of the hosts is gone.
pub fn begin(
    txn: &mut Txn<'_>,
    plan: &Plan,
    server: &Server,
    (to, mode): (HostId, Mode),
    verdict: Verdict,
) -> Result<MigrationId> {
    let by = Caller {
        user_id: plan.user_id,
        scope: Scope::System,
        level: RoleLevel::Admin,
        request_id: plan.request_id.clone(),
    };
    let (purpose, snapshot, plan_id) = (purpose(mode), server.flavor_snapshot(), Some(plan.id.clone()));
    let id = migration::open(txn, Some(&by), server, Move { to, mode, purpose, snapshot, plan_id })?;
    txn.put_cold(Kind::Verdict, server.id.to_string(), verdict);
    Ok(id)
}
