//! Steps of plans for hosts: their begin, their stages and their end.

use lenticular_model::{
    HostId, Kind, PlanId, Txn,
    host::host::{Host, Intent},
    ops::host_step::{Guests, HostStep, HostWas, PastHostStep, Stage},
};

/// Begins a step of a plan for a host.
pub fn begin(txn: &mut Txn<'_>, plan_id: &PlanId, host: &Host, guests: Guests) {
    txn.put(HostStep {
        id: host.id,
        created_at: txn.now,
        updated_at: None,
        plan_id: plan_id.clone(),
        guests,
        stage: Stage::Emptying,
        since: txn.now,
        before: is_now(host),
        unknown: Default::default(),
    });
}

/// What a host is now.
pub fn is_now(host: &Host) -> HostWas {
    let kernel = host.versions.get("kernel").unwrap_or(&host.kernel).clone();
    HostWas { boot_id: host.boot_id.clone(), kernel }
}

/// The host enters a stage.
pub fn enter(txn: &mut Txn<'_>, id: HostId, stage: Stage) {
    let now = txn.now;
    txn.update::<HostStep>(&id, |step| (step.stage, step.since) = (stage, now));
}

/// Ends a host's step: it leaves State and stays in the store. A host that is `done` gets back the setting that it had
/// before; another one stays closed, and an action that it has not begun is withdrawn.
pub fn end(txn: &mut Txn<'_>, id: HostId, done: bool) {
    let Some(step) = txn.delete::<HostStep>(&id) else { return };
    let Some(host) = txn.hosts.get(&id).cloned() else { return };
    let past = PastHostStep {
        plan_id: step.plan_id.clone(),
        host_id: id,
        host_name: host.name.clone(),
        begun_at: step.created_at,
        ended_at: txn.now,
        before: step.before.clone(),
        after: is_now(&host),
        stage: step.stage.clone(),
        done,
    };
    txn.put_cold(Kind::PastHostStep, PastHostStep::key(&past.plan_id, id), past);
    txn.update::<Host>(&id, |host| {
        if let (Intent::Draining { before, .. }, true) = (&host.intent, done) {
            host.intent = Intent::clone(before);
        }
        if !done {
            host.order.action = None;
        }
    });
}
