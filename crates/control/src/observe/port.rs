//! OVN's reports of ports.

use crate::lifecycle::{ports, run};
use lenticular_model::{PortId, Txn, network::port::PortOwner};

/// Accepts OVN's reports of ports. Reports of ports that OVN does not plug do not count. Nor do reports of a
/// trunk's subports: they are plugged while the trunk's parent is, on any host.
pub fn plugged(txn: &mut Txn<'_>, news: &[(PortId, bool)]) {
    for (id, up) in news {
        let Some(port) = txn.ports.get(id).cloned() else { continue };
        let host = port.host_id.and_then(|host| txn.hosts.get(&host));
        let is_others = host.is_some_and(|host| !host.hypervisor.wiring.is_ovn());
        if is_others || port.owner() == PortOwner::TrunkSubport {
            continue;
        }
        ports::set(txn, *id, *up);
        port.server_id.into_iter().for_each(|server| run::activate_if_plugged(txn, server));
    }
}
