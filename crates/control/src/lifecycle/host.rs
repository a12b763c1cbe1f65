//! The records that name a host, when the host is removed.

use lenticular_model::{AggregateId, HostId, Txn, compute::aggregate::Aggregate};

/// Takes a removed host out of all aggregates.
pub fn leave_aggregates(txn: &mut Txn<'_>, host: HostId) {
    let aggregates: Vec<AggregateId> = txn.aggregate_ids_of_host(host).collect();
    for id in aggregates {
        txn.update::<Aggregate>(&id, |a| a.hosts.retain(|h| *h != host));
    }
}
