//! Servers on two hosts, and an aggregate to move them to.

use super::{
    cloud::Cloud,
    fleet::{change, fleet, put_server},
};
use lenticular_model::{AggregateId, Timestamp, compute::aggregate::Aggregate};

/// Servers on two hosts, and an aggregate of the third.
pub fn two_hosts() -> (Cloud, AggregateId) {
    let mut cloud = fleet(1);
    put_server(&mut cloud, 5, 1, |_| {});
    let to = AggregateId::from_random([5; 16]);
    let hosts = vec![cloud.hosts[2]];
    let aggregate = Aggregate {
        id: to,
        created_at: Timestamp(1),
        updated_at: None,
        number: 1,
        name: "group3".to_owned(),
        hosts,
        metadata: Default::default(),
        unknown: Default::default(),
    };
    change(&mut cloud, |txn| txn.put(aggregate));
    (cloud, to)
}
