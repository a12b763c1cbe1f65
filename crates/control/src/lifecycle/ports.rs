//! Whether ports are plugged: OVN reports it on its hosts, the guest's process decides it on others.
//!
//! ```text
//!   the host sees the guest run ──┐
//!                                 ├──▶ active
//!   OVN says that its ports are up┘
//! ```

use lenticular_model::{HostId, PortId, ServerId, State, Txn, compute::server::Server, network::port::Port};

/// Whether OVN reports when the server's ports are plugged.
fn is_ovns(state: &State, server: &Server) -> bool {
    let host = server.host_id.and_then(|host| state.hosts.get(&host));
    host.is_some_and(|host| host.hypervisor.wiring.is_ovn())
}

/// A server's guest runs or does not. On hosts without OVN, its ports are plugged while the guest runs.
pub fn set_plugged(txn: &mut Txn<'_>, of: &Server, plugged: bool) {
    if !plugged && of.awaits_ports.is_some() {
        txn.update::<Server>(&of.id, |s| s.awaits_ports = None);
    }
    if is_ovns(txn, of) {
        return;
    }
    let ports: Vec<PortId> = txn.ports_of_server(of.id).map(|p| p.id).collect();
    ports.into_iter().for_each(|id| set(txn, id, plugged));
}

/// Whether a server with a running guest must wait for its ports before it is active.
pub fn must_wait(state: &State, of: &Server) -> bool {
    is_ovns(state, of) && state.ports_of_server(of.id).any(|port| port.admin_state_up && !port.plugged)
}

/// Records whether a port is plugged.
pub fn set(txn: &mut Txn<'_>, id: PortId, plugged: bool) {
    if txn.ports.get(&id).is_some_and(|port| port.plugged != plugged) {
        txn.update::<Port>(&id, |port| {
            port.plugged = plugged;
            port.revision += 1;
        });
    }
}

/// Renews the orders of the host of a port's server: what a guest is told of its addresses has changed. For its owner
/// the server has not changed.
pub fn renew_orders(txn: &mut Txn<'_>, port: PortId) {
    let server = txn.ports.get(&port).and_then(|port| port.server_id).and_then(|id| txn.servers.get(&id));
    if let Some(server) = server.cloned() {
        txn.put(Server { interfaces: server.interfaces + 1, ..Server::clone(&server) });
    }
}

/// Binds a server's ports to a host, or to none; they are not plugged yet.
pub fn bind(txn: &mut Txn<'_>, server: ServerId, host: Option<HostId>) {
    let ports: Vec<PortId> = txn.ports_of_server(server).map(|port| port.id).collect();
    for id in ports {
        txn.update::<Port>(&id, |port| {
            port.host_id = host;
            port.plugged = false;
            port.revision += 1;
        });
    }
}

/// Binds a server's ports to the host that its guest has moved to.
pub fn move_to(txn: &mut Txn<'_>, server: ServerId, to: HostId) {
    let zone = txn.hosts.get(&to).map(|host| host.zone.clone()).unwrap_or_default();
    let ports: Vec<PortId> = txn.ports_of_server(server).map(|port| port.id).collect();
    for id in ports {
        txn.update::<Port>(&id, |port| {
            port.host_id = Some(to);
            port.device_owner = format!("compute:{zone}");
            port.revision += 1;
        });
    }
}
