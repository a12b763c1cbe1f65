//! Plans: the order in which servers move, what holds a move back, and what a plan would do. Pure reads of State; the plan
//! controller (`reconcile/plan.rs`) carries plans out.

mod busy;
mod order;
mod pace;
mod preview;
mod under_way;
mod wait;

pub use busy::what_runs;
pub use order::in_order;
pub use pace::{Pace, pace};
pub use preview::{Preview, PreviewStep, Prospect, preview};
pub use under_way::UnderWay;
pub use wait::{Deed, Wait, deed, turn, wait};

use crate::{
    lifecycle::target,
    schedule::{Planned, RequestSpec, Verdict, schedule},
};
use lenticular_model::{
    HostId, State,
    compute::{
        migration::{Mode, Purpose},
        server::Server,
    },
    ops::plan::Plan,
};

/// The host that a server would move to now, and the scheduler's reasons.
pub fn choose(
    state: &State,
    plan: &Plan,
    server: &Server,
    mode: Mode,
    others: &UnderWay,
) -> (Option<HostId>, Verdict) {
    let mut ask: RequestSpec = target::spec(state, server, &server.flavor_snapshot(), purpose(mode));
    if let Some(moves) = &mut ask.moves {
        moves.planned = Planned { to: plan.to, busy: others.busy(state, &plan.limits) };
    }
    schedule(state, &ask)
}

/// The purpose of a plan's move.
pub fn purpose(mode: Mode) -> Purpose {
    match mode {
        Mode::Live => Purpose::LiveMigrate,
        Mode::Cold => Purpose::Relocate,
    }
}
