//! Hosts: their admission, and the records that name a host when it is removed.

use lenticular_model::{
    AggregateId, HostId, Txn,
    compute::aggregate::Aggregate,
    host::{host::Host, readiness},
};

/// Takes a removed host out of all aggregates.
pub fn leave_aggregates(txn: &mut Txn<'_>, host: HostId) {
    let aggregates: Vec<AggregateId> = txn.aggregate_ids_of_host(host).collect();
    for id in aggregates {
        txn.update::<Aggregate>(&id, |a| a.hosts.retain(|h| *h != host));
    }
}

/// Admits a host that has not proved itself as it is now, if nothing else speaks against it. An override is no proof.
pub fn admit_if_proven(txn: &mut Txn<'_>, id: HostId) {
    let Some(host) = txn.hosts.get(&id).filter(|host| !host.is_admitted() && host.is_up()).cloned() else {
        return;
    };
    let lines = readiness::of_host(txn, &host);
    if host.hypervisor_trouble().is_none() && lines.iter().all(|line| line.name == readiness::ADMISSION) {
        let now = txn.now;
        txn.update::<Host>(&id, |host| host.admission = Some(host.admission_now(now, None)));
    }
}
