//! A cloud with several servers on one host, and the controller of plans at work in it.

use super::{
    cloud::{Cloud, admin, seen},
    common::server,
};
use lenticular_control::{
    command::ops::plan::{self, NewGoal, NewPlan},
    lifecycle::disk,
    observe::guest::observe,
    plan::{UnderWay, wait},
    reconcile::{Key, reconcile},
};
use lenticular_model::{
    HostId, PlanId, ServerId, Timestamp, Txn,
    compute::{
        migration::Mode,
        server::{Condition, Server, Wanted},
    },
    host::observation::{Observation, ObservedState, StopReason},
    ops::{limits::Limits, plan::Plan},
};
use std::sync::Arc;

/// The plan's servers besides the cloud's first one.
pub fn id(n: u8) -> ServerId {
    ServerId::from_random([100 + n; 16])
}

/// A server that runs on a host.
pub fn put_server(cloud: &mut Cloud, n: u8, host: usize, change: impl FnOnce(&mut Server)) {
    let mut record = Server {
        id: id(n),
        name: format!("web-{n}"),
        condition: Condition::Active,
        powered: true,
        ..server(cloud.hosts[host])
    };
    change(&mut record);
    cloud
        .run(|txn| {
            disk::create(txn, &record);
            disk::update(txn, record.id, |disk| disk.made = true);
            txn.put(record);
            Ok(())
        })
        .unwrap();
}

/// Three hosts, and `n` servers more that run on the first.
pub fn fleet(n: u8) -> Cloud {
    let mut cloud = Cloud::new();
    (0..n).for_each(|n| put_server(&mut cloud, n, 0, |_| {}));
    cloud
}

pub fn drain_of(host: HostId) -> NewPlan {
    NewPlan {
        goal: NewGoal::Drain(host),
        to: None,
        reason: "a new kernel".to_owned(),
        limits: Limits::default(),
        loosened: None,
        deadline_s: None,
    }
}

pub fn drain(cloud: &mut Cloud, host: usize) -> PlanId {
    let new = drain_of(cloud.hosts[host]);
    cloud.run(|txn| plan::start(txn, &admin(), &new)).unwrap()
}

pub fn change(cloud: &mut Cloud, how: impl FnOnce(&mut Txn<'_>)) {
    let done = cloud.run(|txn| {
        how(txn);
        Ok(())
    });
    done.unwrap();
}

pub fn pass(cloud: &mut Cloud, s: i64) {
    cloud.at += s * 1_000_000;
}

/// The controller runs until it has nothing more to do at this time.
pub fn tick(cloud: &mut Cloud, plan: &PlanId) {
    for _ in 0..20 {
        let before = cloud.state.seq;
        let mut entropy = || {
            cloud.entropy = cloud.entropy.wrapping_add(1);
            [cloud.entropy; 16]
        };
        let mut txn = Txn::new(&cloud.state, Timestamp(cloud.at), &mut entropy);
        reconcile(Key::Plan(plan.clone()), &mut txn);
        if txn.is_empty() {
            return;
        }
        cloud.state = txn.finish().0;
        assert!(cloud.state.seq > before);
    }
    panic!("the controller never rests");
}

pub fn plan(cloud: &Cloud, id: &PlanId) -> Arc<Plan> {
    cloud.state.plans[id].clone()
}

pub fn moving(cloud: &Cloud) -> Vec<ServerId> {
    let steps = cloud.state.plan_steps.values().filter(|step| step.is_under_way());
    steps.map(|step| step.id).collect()
}

pub fn mode_of(cloud: &Cloud, server: ServerId) -> Option<Mode> {
    cloud.state.servers[&server].ticket.as_ref().map(|ticket| ticket.mode)
}

/// The target has the guest, and runs it or keeps it stopped.
pub fn arrive(cloud: &mut Cloud, server: ServerId) {
    let record = cloud.state.servers[&server].clone();
    let ticket = record.ticket.as_ref().unwrap();
    let runs = record.wanted == Wanted::Running;
    let end = match runs {
        true => ObservedState::Running { ssh_forward: None, paused: false },
        false => ObservedState::Stopped { why: StopReason::Ordered },
    };
    let (to, generation, cold) = (ticket.to, ticket.generation, ticket.mode == Mode::Cold);
    let say = |cloud: &mut Cloud, observed: ObservedState, boot: u64| {
        let word = Observation { server_id: server, boot, ..seen(generation, observed) };
        change(cloud, |txn| observe(txn, to, &[word]));
    };
    say(cloud, ObservedState::Ready, record.boot);
    say(cloud, end.clone(), record.boot);
    if cold && runs {
        say(cloud, end, record.boot + 1);
    }
    assert_eq!(cloud.state.servers[&server].host_id, Some(to));
}

pub fn why_waits(cloud: &Cloud, plan_id: &PlanId, server: ServerId) -> String {
    let (plan, step) = (plan(cloud, plan_id), cloud.state.plan_steps[&server].clone());
    let others = UnderWay::of(&cloud.state);
    let record = cloud.state.servers[&server].clone();
    wait(&cloud.state, (&plan, &step), &record, &others, Timestamp(cloud.at)).unwrap_err().why
}
