//! The hosts that have orders for a server, the reason, and the commit of the last change.

use super::Index;
use crate::{HostId, ServerId};

/// The reason why a host has orders for a server, and the commit of the last change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderRef {
    /// The last commit that changed the orders.
    pub seq: u64,
    /// The server is on the host or moves to it.
    pub server: bool,
    /// How many disks the server left on the host.
    pub left: u32,
}

impl Index {
    /// Orders only grow newer. A store loads records in the order of their kinds, so a port that changed last may
    /// come before its server. The same holds for a disk. An agent that has not seen the change must still get it.
    pub(super) fn order(
        &mut self,
        host: HostId,
        server: ServerId,
        seq: u64,
        set: impl FnOnce(&mut OrderRef),
    ) {
        let old = self.order_refs.get(&(server, host)).copied();
        let mut now = old.unwrap_or_default();
        now.seq = now.seq.max(seq);
        set(&mut now);
        if now.server {
            let ports = self.server_ports.of(server);
            let ports = ports.filter_map(|id| self.port_seq.get(&id));
            let changed = ports.chain(self.disk_seq.get(&server)).copied().max();
            now.seq = now.seq.max(changed.unwrap_or_default());
        }
        self.set_order(host, server, old, Some(now));
    }

    pub(super) fn unorder(&mut self, host: HostId, server: ServerId, clear: impl FnOnce(&mut OrderRef)) {
        let Some(old) = self.order_refs.get(&(server, host)).copied() else { return };
        let mut now = old;
        clear(&mut now);
        let now = Some(now).filter(|now| now.server || now.left > 0);
        self.set_order(host, server, Some(old), now);
    }

    /// Renews the orders of the hosts that the server is on or moves to.
    pub(super) fn reorder(&mut self, server: ServerId, seq: u64) {
        let refs = self.order_refs.range((server, HostId::default())..);
        let refs = refs.take_while(|((s, _), _)| *s == server).filter(|(_, order)| order.server);
        let refs: Vec<(HostId, OrderRef)> = refs.map(|((_, host), order)| (*host, *order)).collect();
        for (host, old) in refs {
            let now = OrderRef { seq: old.seq.max(seq), ..old };
            self.set_order(host, server, Some(old), Some(now));
        }
    }

    fn set_order(&mut self, host: HostId, server: ServerId, old: Option<OrderRef>, new: Option<OrderRef>) {
        let feed = |order: OrderRef| (host, order.seq, server);
        self.order_feed.set(old.map(feed), new.map(feed));
        match new {
            Some(new) => drop(self.order_refs.insert((server, host), new)),
            None => drop(self.order_refs.remove(&(server, host))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortId, State};

    fn orders(index: &Index, host: HostId, after: u64) -> Vec<(u64, ServerId)> {
        let state = State { index: index.clone(), ..State::new(Default::default(), Default::default()) };
        state.orders_after(host, after).collect()
    }

    #[test]
    fn orders_never_look_older_when_a_port_is_loaded_before_its_server() {
        let (host, server) = (HostId::from_random([1; 16]), ServerId::from_random([2; 16]));
        let mut index = Index::default();
        let set = |r: &mut OrderRef| r.server = true;
        let port = PortId::from_random([3; 16]);
        index.server_ports.set(None, Some((server, 0, port)));
        index.port_seq.insert(port, 9);
        index.order(host, server, 5, set);
        assert_eq!(orders(&index, host, 8), [(9, server)]);
        assert_eq!(index.order_feed.iter().count(), 1);
        index.order(host, server, 12, set);
        assert_eq!(orders(&index, host, 0), [(12, server)]);
        index.reorder(server, 15);
        assert_eq!(orders(&index, host, 12), [(15, server)]);
    }

    #[test]
    fn a_host_has_orders_as_long_as_anything_of_the_server_is_there() {
        let (host, server) = (HostId::from_random([1; 16]), ServerId::from_random([2; 16]));
        let mut index = Index::default();
        index.order(host, server, 1, |r| r.server = true);
        index.order(host, server, 2, |r| r.left += 1);
        index.unorder(host, server, |r| r.server = false);
        assert_eq!(orders(&index, host, 0), [(2, server)]);
        index.unorder(host, server, |r| r.left -= 1);
        assert!(index.order_feed.iter().next().is_none() && index.order_refs.is_empty());
    }
}
