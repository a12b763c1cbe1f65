//! The interfaces of new servers: the networks and ports that a caller may name, and the ports made from them.

use crate::{
    lifecycle::network::{
        port_address::AskIp,
        port_build::{self, NewPort},
    },
    quota,
};
use lenticular_model::{
    HostId, NetworkId, ProjectId, SecurityGroupId, Txn,
    compute::server::{Nic, Server},
    error::{Error, Result},
    network::{network::Network, port::Port},
    policy::Caller,
};

/// The most interfaces of a server: a guest has this many slots for them.
pub const INTERFACES_MAX: u32 = 8;

/// Refuses a port of another project, even if the server's project sees the port.
pub(crate) fn check_own(port: &Port, project: ProjectId) -> Result<()> {
    match port.project_id == project {
        true => Ok(()),
        false => Err(Error::invalid(format!("Port {} not usable for a server of another project.", port.id))),
    }
}

pub(crate) fn zone_of(txn: &Txn<'_>, host: Option<HostId>) -> String {
    host.and_then(|id| txn.hosts.get(&id)).map_or("nova".to_owned(), |h| h.zone.clone())
}

/// The networks for a project's server that names none: the project's own networks, else those shared with it.
pub(crate) fn usable_networks(txn: &Txn<'_>, project: ProjectId) -> Vec<NetworkId> {
    let own = txn.networks_of_project(project).filter(|n| !n.external && has_subnet(txn, n.id));
    let own: Vec<NetworkId> = own.map(|network| network.id).collect();
    if !own.is_empty() {
        return own;
    }
    let shared = txn.open_networks().filter(|n| n.shared && !n.external && has_subnet(txn, n.id));
    shared.map(|network| network.id).collect()
}

fn has_subnet(txn: &Txn<'_>, network: NetworkId) -> bool {
    txn.subnets_of_network(network).next().is_some()
}

pub(crate) fn check_nic(txn: &Txn<'_>, caller: &Caller, nic: &Nic) -> Result<()> {
    match nic {
        Nic::Network(id, address) => {
            let missing = || Error::invalid(format!("Network {id} could not be found."));
            let network = txn.need::<Network>(id, missing)?;
            txn.visible::<Network>(caller, id).map_err(|_| missing())?;
            let shared = txn.is_shared_with(caller, &network);
            if network.external && !shared && !caller.is_admin() {
                return Err(Error::forbidden(format!(
                    "It is not allowed to create an interface on external network {id}"
                )));
            }
            if !has_subnet(txn, *id) {
                return Err(Error::invalid(format!(
                    "Network {id} requires a subnet in order to boot instances on."
                )));
            }
            if let Some(address) = address {
                port_build::check_owner_only(caller, &network, "fixed_ips")?;
                if txn.is_address_taken(*id, *address) {
                    return Err(Error::invalid(format!(
                        "Fixed IP address {address} is already in use on instance."
                    )));
                }
            }
            Ok(())
        }
        Nic::Port(id) => {
            let port = txn
                .visible::<Port>(caller, id)
                .map_err(|_| Error::invalid(format!("Port {id} could not be found.")))?;
            port_build::check_free(&port)
        }
    }
}

/// Makes a new server's ports, or binds existing ports, and writes them.
pub fn make_ports(
    txn: &mut Txn<'_>,
    caller: &Caller,
    nics: &[Nic],
    groups: &[SecurityGroupId],
    server: &Server,
    host: Option<HostId>,
) -> Result<Vec<Port>> {
    let mut ports = Vec::with_capacity(nics.len());
    for (index, nic) in nics.iter().enumerate() {
        let mut port = match nic {
            Nic::Port(id) => {
                let port = txn.visible::<Port>(caller, id)?;
                port_build::check_free(&port)?;
                check_own(&port, server.project_id)?;
                Port::clone(&port)
            }
            Nic::Network(network, address) => {
                quota::check_network(
                    txn,
                    server.project_id,
                    "port",
                    txn.ports_of_project(server.project_id).count() + index,
                )?;
                let new = NewPort {
                    fixed_ips: address.map(|ip| vec![AskIp { subnet: None, address: Some(ip) }]),
                    security_groups: txn.is_filtered(*network).then(|| groups.to_vec()),
                    ..NewPort::on(*network, server.project_id)
                };
                Port { goes_with_server: true, ..port_build::build(txn, &new)? }
            }
        };
        port.server_id = Some(server.id);
        port.server_index = index as u32;
        port.device_id = server.id.to_string();
        port.device_owner = format!("compute:{}", zone_of(txn, host));
        port.host_id = host;
        port.revision += 1;
        // Written at once, so that the next interface of this server gets another address.
        txn.put(port.clone());
        ports.push(port);
    }
    Ok(ports)
}
