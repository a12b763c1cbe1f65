//! Hosts and aggregates by name, the resources taken of each host, and each host's orders.

use super::relations;
use crate::{
    AggregateId, HostId, ServerId, State,
    compute::aggregate::Aggregate,
    host::{candidate::HostTable, host::Host},
    index::Taken,
};
use std::sync::Arc;

relations! {
    /// The aggregates of a host.
    fn aggregates_of_host(HostId) -> Aggregate = host_aggregates;
}

impl State {
    /// The host with this name.
    pub fn host_named(&self, name: &str) -> Option<&Arc<Host>> {
        self.hosts.get(&self.index.host_names.get(name)?)
    }

    /// All hosts in the order of their names.
    pub fn hosts_by_name(&self) -> impl Iterator<Item = &Arc<Host>> {
        self.index.host_names.ids().filter_map(|id| self.hosts.get(&id))
    }

    /// The host table of the scheduler.
    pub fn host_table(&self) -> &HostTable {
        &self.index.host_table
    }

    /// The resources that servers take of a host.
    pub fn taken_of_host(&self, host: HostId) -> Taken {
        self.index.host_usage.get(&host).copied().unwrap_or_default()
    }

    /// The ids of a host's aggregates.
    pub fn aggregate_ids_of_host(&self, host: HostId) -> impl Iterator<Item = AggregateId> + '_ {
        self.index.host_aggregates.of(host)
    }

    /// The aggregate with this name.
    pub fn aggregate_named(&self, name: &str) -> Option<&Arc<Aggregate>> {
        self.aggregates.get(&self.index.aggregate_names.get(name)?)
    }

    /// The aggregate with this number.
    pub fn aggregate_numbered(&self, number: u64) -> Option<&Arc<Aggregate>> {
        self.aggregates.get(&self.index.aggregate_numbers.at((), number)?)
    }

    /// All aggregates in the order of their numbers.
    pub fn aggregates_by_number(&self) -> impl Iterator<Item = &Arc<Aggregate>> {
        self.index.aggregate_numbers.of(()).filter_map(|id| self.aggregates.get(&id))
    }

    /// Servers whose orders for this host changed after commit `after`, oldest change first.
    pub fn orders_after(&self, host: HostId, after: u64) -> impl Iterator<Item = (u64, ServerId)> + '_ {
        self.index.order_feed.from(host, after.saturating_add(1))
    }

    /// True if the orders about the host itself changed after commit `after`.
    pub fn host_order_after(&self, host: HostId, after: u64) -> bool {
        self.index.host_orders.get(&host).is_some_and(|seq| *seq > after)
    }

    /// The hosts whose orders for a server changed in commit `seq` or later.
    pub fn ordered_at(&self, server: ServerId, seq: u64) -> impl Iterator<Item = HostId> + '_ {
        let refs = self.index.order_refs.range((server, HostId::default())..);
        let refs = refs.take_while(move |((s, _), _)| *s == server);
        refs.filter(move |(_, order)| order.seq >= seq).map(|((_, host), _)| *host)
    }
}
