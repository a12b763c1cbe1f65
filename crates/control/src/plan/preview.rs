//! What a plan would do now: each server's target, in order, with the room that the servers before it take.

use super::{Deed, UnderWay, choose, deed};
use lenticular_model::{
    HostId, ServerId, Txn,
    compute::{migration::Mode, server::Server},
    ops::{
        plan::Plan,
        plan_step::{PlanStep, Rest},
    },
};
use std::sync::Arc;

/// What would become of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prospect {
    /// The server moves.
    Moves {
        /// The target.
        to: HostId,
        /// How the guest travels.
        mode: Mode,
    },
    /// The guest rests while its host boots, and goes on afterwards.
    Rests(Rest),
    /// The server is started.
    Starts,
    /// The server has to wait for this.
    Waits(String),
    /// No host takes the server.
    NoHost(String),
}

/// A step and its prospect.
#[derive(Debug, Clone)]
pub struct PreviewStep {
    /// The step.
    pub step: Arc<PlanStep>,
    /// The server.
    pub server: Arc<Server>,
    /// What would become of it.
    pub prospect: Prospect,
}

/// A plan that was started in a transaction that nobody commits.
#[derive(Debug, Clone)]
pub struct Preview {
    /// The plan.
    pub plan: Arc<Plan>,
    /// Its steps.
    pub steps: Vec<PreviewStep>,
}

/// Plays the moves of a plan that a scratch transaction has started, without limits of pace.
pub fn preview(mut scratch: Txn<'_>, plan: Arc<Plan>) -> Preview {
    let steps: Vec<Arc<PlanStep>> = scratch.steps_of_plan(&plan.id).cloned().collect();
    let steps = steps.into_iter().filter_map(|step| {
        let server = scratch.servers.get(&step.id).cloned()?;
        let prospect = match step.is_waiting() {
            true => prospect(&mut scratch, &plan, &server),
            false => Prospect::Starts,
        };
        Some(PreviewStep { step, server, prospect })
    });
    let steps = steps.collect();
    Preview { plan, steps }
}

fn prospect(scratch: &mut Txn<'_>, plan: &Plan, server: &Server) -> Prospect {
    let mode = match deed(scratch, plan, server) {
        Ok(Deed::Move(mode)) => mode,
        Ok(Deed::Rest(how)) => return Prospect::Rests(how),
        Err(wait) => return Prospect::Waits(wait.why),
    };
    match choose(scratch, plan, server, mode, &UnderWay::default()) {
        (Some(to), _) => {
            arrive(scratch, server.id, to);
            Prospect::Moves { to, mode }
        }
        (None, verdict) => Prospect::NoHost(verdict.explain()),
    }
}

/// The server takes its room on the target, and none on the source any more.
fn arrive(scratch: &mut Txn<'_>, server: ServerId, to: HostId) {
    scratch.update::<Server>(&server, |server| server.host_id = Some(to));
}
