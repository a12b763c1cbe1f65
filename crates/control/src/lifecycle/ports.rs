//! Whether ports are plugged: as OVN says on its hosts, as the guest's process says on others.
//!
//! ```text
//!   the host sees the guest run ──┐
//!                                 ├──▶ active
//!   OVN says that its ports are up┘
//! ```

use lenticular_model::{
    compute::server::{Server, Wanted},
    network::port::{Port, PortOwner},
    PortId, ServerId, State, Txn,
};
use std::sync::Arc;

/// Whether OVN says when the server's ports are plugged.
fn is_ovns(state: &State, server: &Server) -> bool {
    let host = server.host_id.and_then(|host| state.hosts.get(&host));
    host.is_some_and(|host| host.hypervisor.wiring.is_ovn())
}

/// Takes in that a server's guest runs or does not, which on hosts without OVN is all that there is to know.
pub(crate) fn seen(txn: &mut Txn<'_>, of: &Server, plugged: bool) {
    if !plugged && of.awaits_ports.is_some() {
        txn.update::<Server>(&of.id, |s| s.awaits_ports = None);
    }
    if is_ovns(txn, of) {
        return;
    }
    let ports: Vec<PortId> = txn.ports_of_server(of.id).map(|p| p.id).collect();
    ports.into_iter().for_each(|id| set(txn, id, plugged));
}

/// Whether a server whose guest runs is not active yet.
pub(crate) fn must_wait(state: &State, of: &Server) -> bool {
    is_ovns(state, of) && state.ports_of_server(of.id).any(|port| port.admin_state_up && !port.plugged)
}

/// Takes in what OVN says of ports. What it says of ports that others plug does not count, nor of a trunk's subports: they
/// are plugged as long as their trunk's parent is, wherever that goes.
pub fn plugged(txn: &mut Txn<'_>, news: &[(PortId, bool)]) {
    for (id, up) in news {
        let Some(port) = txn.ports.get(id).cloned() else { continue };
        let host = port.host_id.and_then(|host| txn.hosts.get(&host));
        let is_others = host.is_some_and(|host| !host.hypervisor.wiring.is_ovn());
        if is_others || port.owner() == PortOwner::TrunkSubport {
            continue;
        }
        set(txn, *id, *up);
        port.server_id.into_iter().for_each(|server| settle(txn, server));
    }
}

/// Makes a server active that has waited for ports and has none left to wait for.
pub(crate) fn settle(txn: &mut Txn<'_>, id: ServerId) {
    let waits = |s: &&Arc<Server>| {
        s.awaits_ports == Some(s.boot) && s.powered && s.wanted == Wanted::Running && s.ticket.is_none()
    };
    let server = txn.servers.get(&id).filter(waits).cloned();
    if let Some(server) = server.filter(|server| !must_wait(txn, server)) {
        crate::observe::host::settle_running(txn, &server, server.ssh_forward.clone());
    }
}

fn set(txn: &mut Txn<'_>, id: PortId, plugged: bool) {
    if txn.ports.get(&id).is_some_and(|port| port.plugged != plugged) {
        txn.update::<Port>(&id, |port| {
            port.plugged = plugged;
            port.revision += 1;
        });
    }
}
