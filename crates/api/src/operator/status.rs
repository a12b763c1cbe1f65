//! The state of the cloud: which hosts take servers, why others do not, and what operators overrule.

use super::{host, readiness::overrides};
use crate::{ctx::Ctx, fault::Handled, respond::json};
use lenticular_model::{
    State, Timestamp,
    host::{
        canary,
        evidence::{CANARY, Finding, GUESTS, TUNNELS},
        host::Host,
        readiness,
    },
    policy::{self, Action},
};
use lenticular_wire::operator::{ClosedFor, StatusView};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// `GET /operator/v1/status`
pub async fn show(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    json(200, &status(&ctx.state, ctx.app.now()))
}

fn status(state: &State, now: Timestamp) -> StatusView {
    let mut closed: BTreeMap<(String, String), ClosedFor> = BTreeMap::new();
    let mut ready = 0;
    let mut close = |what: &str, host: &Host, why: &str| {
        // Hosts with the same reason stand together.
        let group = closed.entry((what.to_owned(), why.to_owned()));
        let new = || ClosedFor { what: what.to_owned(), hosts: Vec::new(), why: why.to_owned() };
        group.or_insert_with(new).hosts.push(host.name.clone());
    };
    for one in state.hosts_by_name() {
        let view = host::view(state, one);
        match view.state.as_str() {
            "up" => ready += 1,
            "not ready" => {
                let standing = readiness::of_host(state, one).into_iter().filter(|line| !line.overruled);
                standing.for_each(|line| close(&line.name, one, &line.text));
            }
            other => close(other, one, view.reason.as_deref().unwrap_or("no reason given")),
        }
    }
    StatusView {
        events: events(state, now),
        hosts: state.hosts.len(),
        ready,
        closed: closed.into_values().collect(),
        overrides: state.hosts_by_name().flat_map(|host| overrides(state, host)).collect(),
    }
}

/// What happens to many hosts together, which hosts could not renew their proof, and which plans do not go on.
fn events(state: &State, now: Timestamp) -> Vec<String> {
    let zones: BTreeSet<&str> = state.hosts.values().map(|host| host.zone.as_str()).collect();
    let cut_off = zones.iter().filter_map(|zone| {
        let (failing, all) = readiness::many_fail(state, zone, TUNNELS)?;
        Some(format!(
            "{failing} of {all} hosts of zone {zone} reach no other host. So many at once are one event of the network \
             between hosts, and none of them is closed for it."
        ))
    });
    let silent = zones.iter().filter_map(|zone| {
        let (failing, all) = readiness::many_fail(state, zone, GUESTS)?;
        Some(format!(
            "The guests of {failing} of {all} hosts of zone {zone} fell silent. So many at once are one event, and none of \
             them is closed for it."
        ))
    });
    let is_stale = |host: &&Arc<Host>| {
        let passed = host.evidence.get(CANARY).is_some_and(Finding::has_passed);
        let good_until = host.canaries.ended_at.map(|at| at.plus_s(canary::GOOD_FOR_S));
        passed && state.must_run_canary(host) && good_until.is_some_and(|until| until < now)
    };
    let stale: Vec<&str> = state.hosts_by_name().filter(is_stale).map(|host| host.name.as_str()).collect();
    let stale = (!stale.is_empty()).then(|| {
        format!(
            "Hosts that have not run a canary for {} days, and keep what they proved: {}.",
            canary::GOOD_FOR_S / 86_400,
            stale.join(", ")
        )
    });
    let is_outdated = |host: &&Arc<Host>| host.has_outdated_proof() && state.must_run_canary(host);
    let outdated: Vec<&str> =
        state.hosts_by_name().filter(is_outdated).map(|host| host.name.as_str()).collect();
    let outdated = (!outdated.is_empty()).then(|| {
        format!(
            "Hosts that were changed, and keep their proof until a canary proves them again: {}.",
            outdated.join(", ")
        )
    });
    let frozen = state
        .freeze()
        .map(|freeze| format!("All plans are frozen since {}: {}", freeze.created_at.iso(), freeze.reason));
    let stopped = state
        .plans
        .values()
        .filter_map(|plan| Some(format!("Plan {} is {}: {}", plan.id, plan.phase.name(), plan.phase.why()?)));
    cut_off.chain(silent).chain(stale).chain(outdated).chain(frozen).chain(stopped).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{HostId, Incarnation, Txn, host::rule::HostRule};
    use serde_json::json;

    const DAY_S: i64 = 86_400;

    #[test]
    fn a_proof_that_could_not_be_renewed_is_told_and_closes_nothing() {
        let passed = json!({ "canary": { "since": 0 } });
        let capacity = json!({ "vcpus": 4, "memory_mb": 8_192, "disk_gb": 100 });
        let hypervisor = json!({
            "driver": "qemu", "acceleration": "kvm", "version": 1, "arch": "x86_64", "cpu_model": "",
            "wiring": { "driver": "ovn" }
        });
        let host: Host = serde_json::from_value(json!({
            "id": HostId::from_random([1; 16]), "created_at": 0, "updated_at": null, "name": "rack-1",
            "intent": { "is": "enabled" }, "zone": "nova", "address": "", "peer_address": "", "capacity": capacity,
            "hypervisor": hypervisor, "boot_id": "a", "number": 1, "cpu_ratio": 4.0, "evidence": passed,
            "canaries": { "ended": 1, "ordered_at": 0, "ended_at": 0 }
        }))
        .unwrap();
        let rule: HostRule = serde_json::from_value(json!({
            "id": "proven", "created_at": 0, "updated_at": null, "effect": "require", "subject": { "check": "canary" },
            "range": "*", "scope": "all", "reason": "x", "user_id": "00000000-0000-0000-0000-000000000001"
        }))
        .unwrap();
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(0));
        let mut entropy = || [9; 16];
        let mut txn = Txn::new(&state, Timestamp(0), &mut entropy);
        txn.put(host);
        txn.put(rule);
        let state = txn.finish().0;
        let told = |days: i64| status(&state, Timestamp(0).plus_s(days * DAY_S + 1));
        assert!(told(6).events.is_empty());
        let late = told(7);
        assert_eq!(
            late.events,
            ["Hosts that have not run a canary for 7 days, and keep what they proved: rack-1."]
        );
        assert_eq!((late.ready, late.closed.len()), (1, 0));
    }
}
