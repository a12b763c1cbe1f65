//! The host controller: notices that a host falls silent or sends heartbeats again, admits hosts, ends overrides, says
//! which hosts a host probes, and has it run canaries.

use crate::lifecycle::{canary, host::admit_if_proven};
use lenticular_model::{
    HostId, Timestamp, Txn,
    host::host::{Host, PROTOCOL_WITH_HOST_ORDERS, SILENT_AFTER_S},
};

/// One step for one host.
pub fn reconcile(id: HostId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let wakes = [note_silence(id, txn), end_overrides(id, txn), canary::advance(txn, id)];
    order_probe(id, txn);
    order_packages(id, txn);
    // What spoke against the host may be over: a rule, or siblings that were newer.
    admit_if_proven(txn, id);
    wakes.into_iter().flatten().min()
}

/// Silence counts from the last heartbeat, but not from before the running leader took over: the absence of the
/// control plane is no silence of a host.
fn note_silence(id: HostId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let host = txn.hosts.get(&id)?.clone();
    let heartbeat = txn.heartbeats.get(&id).map_or(txn.took_over_at, |c| c.at.max(txn.took_over_at));
    let silent_at = heartbeat.plus_s(SILENT_AFTER_S);
    if txn.now < silent_at {
        // A host that was silent before the take-over stays silent until its first heartbeat.
        let heard = txn.heartbeats.get(&id).is_some();
        if host.silent_since.is_some() && heard {
            txn.update::<Host>(&id, |h| h.silent_since = None);
        }
        return Some(silent_at);
    }
    if host.silent_since.is_none() {
        txn.update::<Host>(&id, |h| h.silent_since = Some(heartbeat));
    }
    None
}

/// Tells the host which others to ask whether they answer.
fn order_probe(id: HostId, txn: &mut Txn<'_>) {
    let Some(host) = txn.hosts.get(&id) else { return };
    let wanted = txn.probe_order(host);
    if host.order.probe != wanted {
        txn.update::<Host>(&id, |host| host.order.probe = wanted);
    }
}

/// Tells the host which packages' versions to report.
fn order_packages(id: HostId, txn: &mut Txn<'_>) {
    let wanted = txn.ruled_packages();
    let Some(host) = txn.hosts.get(&id).filter(|host| host.protocol >= PROTOCOL_WITH_HOST_ORDERS) else {
        return;
    };
    if host.order.packages != wanted {
        txn.update::<Host>(&id, |host| host.order.packages = wanted);
    }
}

/// Removes overrides whose time is over. Returns when the next one ends.
fn end_overrides(id: HostId, txn: &mut Txn<'_>) -> Option<Timestamp> {
    let now = txn.now;
    let host = txn.hosts.get(&id)?;
    if host.overrides.values().any(|one| one.until <= now) {
        txn.update::<Host>(&id, |host| host.overrides.retain(|_, one| one.until > now));
    }
    txn.hosts.get(&id)?.overrides.values().map(|one| one.until).min()
}
