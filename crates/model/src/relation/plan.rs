//! The steps of a plan, the plan that drains a host, and the moves that are under way.

use crate::{
    HostId, PlanId, SingletonId, State, Timestamp,
    compute::migration::{Migration, Phase},
    host::host::Intent,
    ops::{
        freeze::{FREEZE, Freeze},
        host_step::HostStep,
        pace::PACE,
        plan::Plan,
        plan_step::PlanStep,
    },
};
use std::sync::Arc;

impl State {
    /// A plan's steps that are not over, in their order.
    pub fn steps_of_plan(&self, plan: &PlanId) -> impl Iterator<Item = &Arc<PlanStep>> {
        let prefix = format!("{plan}/");
        let from = self.index.plan_steps.from(prefix.as_str().into());
        let own = from.take_while(move |(text, _)| text.starts_with(&prefix));
        own.filter_map(|(_, server)| self.plan_steps.get(&server))
    }

    /// The plan that drains a host.
    pub fn drain_of_host(&self, host: HostId) -> Option<&Arc<Plan>> {
        match &self.hosts.get(&host)?.intent {
            Intent::Draining { plan_id, .. } => self.plans.get(plan_id),
            Intent::Enabled | Intent::Disabled { .. } | Intent::Drained { .. } => None,
        }
    }

    /// The step of a plan for a host.
    pub fn host_step_of_plan(&self, plan: &PlanId) -> Option<&Arc<HostStep>> {
        self.host_steps.values().find(|step| step.plan_id == *plan)
    }

    /// The moves between hosts that are under way: those of plans, and those that users and operators asked for.
    pub fn moves_under_way(&self) -> impl Iterator<Item = &Arc<Migration>> {
        self.migrations.values().filter(|migration| {
            matches!(migration.phase, Phase::Preparing | Phase::Moving | Phase::Withdrawing { .. })
        })
    }

    /// When a plan last began a move.
    pub fn last_begin_of_plans(&self) -> Option<Timestamp> {
        self.plan_paces.get(&SingletonId::from(PACE)).map(|pace| pace.last_begin)
    }

    /// The freeze, if all plans are frozen.
    pub fn freeze(&self) -> Option<&Arc<Freeze>> {
        self.freezes.get(&SingletonId::from(FREEZE))
    }
}
