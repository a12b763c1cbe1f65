//! Steps of plans for hosts: their begin, their stages and their end.

use lenticular_model::{
    HostId, Kind, PlanId, Txn,
    host::{
        action::REBOOT,
        host::{Host, Intent},
    },
    ops::host_step::{Act, Expect, HostStep, HostWas, PROVEN_WITHIN_S, PastHostStep, Stage},
};

/// Begins a step of a plan for a host.
pub fn begin(txn: &mut Txn<'_>, plan_id: &PlanId, host: &Host, act: &Act) {
    txn.put(HostStep {
        id: host.id,
        created_at: txn.now,
        updated_at: None,
        plan_id: plan_id.clone(),
        act: act.clone(),
        acted: 0,
        before: is_now(host, act.expect.as_ref()),
        stage: Stage::Emptying,
        since: txn.now,
        unknown: Default::default(),
    });
}

/// What a host is now.
pub fn is_now(host: &Host, expect: Option<&Expect>) -> HostWas {
    let kernel = host.versions.get("kernel").unwrap_or(&host.kernel).clone();
    let version = expect.and_then(|expect| host.versions.get_key_value(&expect.name));
    let version = version.map(|(name, version)| (name.clone(), version.clone()));
    HostWas { boot_id: host.boot_id.clone(), kernel, version }
}

/// The host makes a check, and proves itself.
pub fn prove(txn: &mut Txn<'_>, host: &Host) {
    let check = host.order.check + 1;
    txn.update::<Host>(&host.id, |host| host.order.check = check);
    let until = txn.now.plus_s(PROVEN_WITHIN_S);
    enter(txn, host.id, Stage::Proving { check, canary: None, until });
}

/// An operator resumes the plan: an action that is not known to be over is ordered once more, and a host that proves itself begins
/// to do so anew.
pub fn retry(txn: &mut Txn<'_>, step: &HostStep) {
    let Some(host) = txn.hosts.get(&step.id).cloned() else { return };
    match &step.stage {
        Stage::Emptying | Stage::Waking => {}
        // The boot of the order is over, and will be noticed.
        Stage::Acting { name, .. } if name == REBOOT && has_booted(&host) => {}
        Stage::Acting { .. } => enter(txn, step.id, Stage::Emptying),
        Stage::Proving { .. } => prove(txn, &host),
    }
}

/// True if the host has booted since its last action was ordered.
pub fn has_booted(host: &Host) -> bool {
    host.order.action.as_ref().is_some_and(|order| order.boot_id != host.boot_id)
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
        after: is_now(&host, step.act.expect.as_ref()),
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
