//! Canaries: when a host has to prove that it can run a guest, and what becomes of a proof that never comes.
//!
//! ```text
//!            a rule asks, and it is due; or an operator          the host says how it ended
//!  (nothing) ──────────────────────────────────────▶ Running ───────────────────────────────▶ Passed or Failed
//!      ▲                                                │ not in time: Unknown                      │
//!      │                                                └──────────────────────────────────────────▶│
//!      └──────────────────── the host boots or is changed, or it is due again ──────────────────────┘
//! ```
//!
//! - Passed: due again after a third of 7 days. A host that cannot run it then keeps what it proved.
//! - Failed or Unknown: due again after ten minutes.
//! - A change voids a proof only while few hosts of the zone have to prove themselves. Otherwise the proof holds, and is due
//!   now: an update of all hosts closes a few of them at a time. A boot always voids it.
//! - A few hosts of a zone run one at once. The others wait, and are woken when one ends.

use lenticular_model::{
    HostId, State, Timestamp, Txn,
    host::{
        canary::{self, ENDS_WITHIN_S, RETRIED_AFTER_S},
        evidence::{CANARY, Finding, Level},
        host::{Canaries, Host},
    },
};

/// Orders a canary if the host has to run one now. Returns when to look again.
pub fn advance(txn: &mut Txn<'_>, id: HostId) -> Option<Timestamp> {
    let now = txn.now;
    let host = txn.hosts.get(&id)?.clone();
    if host.runs_canary(now) {
        return host.canaries.ordered_at.map(|at| at.plus_s(ENDS_WITHIN_S));
    }
    if host.order.canary.as_ref().is_some_and(|order| order.number > host.canaries.ended) {
        give_up(txn, id);
        return txn.hosts.get(&id).and_then(|host| due(host));
    }
    if !host.answers_probes() || !txn.must_run_canary(&host) {
        return None;
    }
    if let Some(due) = due(&host).filter(|due| *due > now) {
        return Some(due);
    }
    order_if_room(txn, &host).map(|_| now.plus_s(ENDS_WITHIN_S))
}

/// Orders a canary if few other hosts of the zone run one. Returns its number.
pub fn order_if_room(txn: &mut Txn<'_>, host: &Host) -> Option<u64> {
    has_room(txn, host).then(|| order(txn, host))
}

/// Orders a canary. Returns its number.
pub fn order(txn: &mut Txn<'_>, host: &Host) -> u64 {
    let number = host.order.canary.as_ref().map_or(0, |last| last.number) + 1;
    let (ordered, now) = (canary::order(host.id, host.number, number), txn.now);
    txn.update::<Host>(&host.id, |host| {
        (host.order.canary, host.canaries.ordered_at) = (ordered, Some(now));
    });
    number
}

/// When the host has to run one; `None` means now.
fn due(host: &Host) -> Option<Timestamp> {
    let found = host.evidence.get(CANARY)?;
    let Canaries { ended, outdated, .. } = host.canaries;
    let after_s = if !found.has_passed() {
        RETRIED_AFTER_S
    } else if !host.has_outdated_proof() {
        canary::renewed_after_s(host.id)
    } else if outdated.is_none_or(|outdated| ended > outdated) {
        // It was tried since the change, and could not be run.
        RETRIED_AFTER_S
    } else {
        return None;
    };
    Some(host.canaries.ended_at?.plus_s(after_s))
}

/// The host did not say in time how its canary ended.
fn give_up(txn: &mut Txn<'_>, id: HostId) {
    let now = txn.now;
    txn.update::<Host>(&id, |host| {
        host.canaries.ended = host.order.canary.as_ref().map_or(0, |order| order.number);
        host.canaries.ended_at = Some(now);
        // What it proved before stands: nobody knows that it is wrong.
        if host.evidence.get(CANARY).is_none_or(|found| !found.has_passed()) {
            let trouble = Some("the host's agent did not say how its canary ended".to_owned());
            host.evidence.insert(CANARY.to_owned(), Finding { trouble, level: Level::Unknown, since: now });
        }
    });
}

/// True if a change may void this host's proof: with the host, at most one in ten of its zone, and at least one, has to
/// prove itself.
pub fn may_void(state: &State, host: &Host) -> bool {
    let zone = state.hosts.values().filter(|other| other.zone == host.zone && state.must_run_canary(other));
    let (all, unproven) = zone
        .filter(|other| other.id != host.id)
        .fold((1, 1), |(all, unproven), other| (all + 1, unproven + usize::from(is_unproven(other))));
    is_unproven(host) || unproven <= canary::void_at_once(all)
}

fn is_unproven(host: &Host) -> bool {
    host.evidence.get(CANARY).is_none_or(|found| !found.has_passed())
}

/// True if another host of the zone may run a canary.
fn has_room(state: &Txn<'_>, host: &Host) -> bool {
    let zone = || state.hosts.values().filter(|other| other.zone == host.zone);
    let running = zone().filter(|other| other.runs_canary(state.now)).count();
    running < canary::at_once(zone().filter(|other| other.answers_probes()).count())
}

/// The hosts of a zone that may wait for a canary to end.
pub fn waiting<'a>(state: &'a State, zone: &'a str) -> impl Iterator<Item = HostId> + 'a {
    let lacks = |host: &Host| is_unproven(host) || host.has_outdated_proof();
    let here = state.hosts.values().filter(move |host| host.zone == zone && lacks(host));
    here.filter(|host| state.must_run_canary(host)).map(|host| host.id)
}
