//! A host that a plan boots: what it and its guests say meanwhile.

use super::{
    cloud::{Cloud, admin, seen},
    fleet::{change, drain_of, fleet, moving, pass, plan as plan_of, tick},
};
use lenticular_control::{
    command::ops::plan::{self, NewGoal, NewPlan},
    observe::guest::observe,
};
use lenticular_model::{
    PlanId, ServerId,
    host::{
        action::{ActionResult, ActionState, REBOOT},
        host::{Admission, Host},
        observation::{Observation, ObservedState},
    },
    ops::{
        host_step::{Act, Guests, Stage},
        plan::PlanPhase,
        plan_step::StepState,
    },
};

/// A fleet whose first host allows the action that boots it.
pub fn bootable(servers: u8) -> Cloud {
    let mut cloud = fleet(servers);
    let host = cloud.hosts[0];
    change(&mut cloud, |txn| {
        txn.update::<Host>(&host, |host| host.actions = vec![REBOOT.to_owned()]);
    });
    cloud
}

/// A plan with this goal.
pub fn new(cloud: &Cloud, goal: NewGoal) -> NewPlan {
    NewPlan { goal, ..drain_of(cloud.hosts[0]) }
}

/// Starts the plan that boots the first host.
pub fn reboot(cloud: &mut Cloud, guests: Guests) -> PlanId {
    let new = new(cloud, NewGoal::Act(cloud.hosts[0], Act::reboot(guests)));
    let plan_id = cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap();
    tick(cloud, &plan_id);
    plan_id
}

/// The stage of the first host.
pub fn stage(cloud: &Cloud) -> Stage {
    cloud.state.host_steps[&cloud.hosts[0]].stage.clone()
}

/// The state of the step of a server.
pub fn state_of(cloud: &Cloud, server: ServerId) -> StepState {
    cloud.state.plan_steps[&server].state.clone()
}

/// The first host says how a guest is, in its present boot.
pub fn say(cloud: &mut Cloud, server: ServerId, observed: ObservedState) {
    let (host, boot) = (cloud.hosts[0], cloud.state.servers[&server].boot);
    let word = Observation { server_id: server, boot, ..seen(1, observed) };
    change(cloud, |txn| observe(txn, host, &[word]));
}

/// A guest runs.
pub const RUNS: ObservedState = ObservedState::Running { ssh_forward: None, paused: false };

/// All guests of the plan come to rest, and the host is told to boot.
pub fn rest_all(cloud: &mut Cloud, plan_id: &PlanId, observed: &ObservedState) {
    for _ in 0..cloud.state.plan_steps.len() {
        tick(cloud, plan_id);
        for server in moving(cloud) {
            if matches!(state_of(cloud, server), StepState::Resting { .. }) {
                say(cloud, server, observed.clone());
            }
        }
        tick(cloud, plan_id);
        pass(cloud, 2);
    }
    tick(cloud, plan_id);
}

/// The host is back with another boot id.
pub fn boot(cloud: &mut Cloud, plan_id: &PlanId) {
    let host = cloud.hosts[0];
    change(cloud, |txn| {
        txn.update::<Host>(&host, |host| "another boot".clone_into(&mut host.boot_id));
    });
    tick(cloud, plan_id);
}

/// The host has made the check that was asked of it, and is admitted as it is now.
pub fn prove(cloud: &mut Cloud, plan_id: &PlanId) {
    let host = cloud.hosts[0];
    change(cloud, |txn| {
        let now = txn.now;
        txn.update::<Host>(&host, |host| {
            host.checked = host.order.check;
            let (boot_id, versions) = (Some(host.boot_id.clone()), host.versions.clone());
            host.admission = Some(Admission { at: now, boot_id, versions, by: None });
        });
    });
    tick(cloud, plan_id);
}

/// The phase of a plan that is not over.
pub fn phase(cloud: &Cloud, plan_id: &PlanId) -> PlanPhase {
    plan_of(cloud, plan_id).phase.clone()
}

/// The first host says how its last action stands.
pub fn say_action(cloud: &mut Cloud, plan_id: &PlanId, state: ActionState) {
    let host = cloud.hosts[0];
    change(cloud, |txn| {
        txn.update::<Host>(&host, |host| {
            let number = host.order.action.as_ref().map_or(0, |order| order.number);
            host.action = Some(ActionResult { number, state });
        });
    });
    tick(cloud, plan_id);
}
