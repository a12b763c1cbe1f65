//! A server's interfaces after its creation: attaching and detaching ports, and the security groups of its ports.

use crate::{
    command::compute::{
        access::{actable, need_condition},
        nic::{self, INTERFACES_MAX},
    },
    lifecycle::{
        network::{
            cascade, group_build,
            port_address::{self, AskIp, Asker},
            port_build::{self, NewPort},
        },
        operation,
    },
    quota,
};
use lenticular_model::{
    NetworkId, PortId, SecurityGroupId, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, Nic, Server},
    },
    error::{Error, Result},
    network::{network::Network, port::Port},
    policy::{Action, Caller},
};
use std::{net::IpAddr, sync::Arc};

/// The conditions in which a server's set of interfaces can change, as in Nova. A saved memory knows the interfaces of its
/// guest.
const ATTACHABLE: &[Condition] = &[Condition::Active, Condition::Paused, Condition::Stopped];

/// The interface to attach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AttachAsk {
    /// An existing port.
    Port(PortId),
    /// A new port on this network, or on the project's only network; with these addresses, if any are given.
    Network(Option<NetworkId>, Vec<IpAddr>),
}

/// Attaches a port to a server.
pub fn attach(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, ask: AttachAsk) -> Result<PortId> {
    let server = actable(txn, caller, id, Action::InterfaceAttach)?;
    need_condition(&server, "attach_interface", ATTACHABLE)?;
    let mut port = match ask {
        AttachAsk::Port(port) => existing(txn, caller, &server, port)?,
        AttachAsk::Network(network, addresses) => {
            let network = network.map_or_else(|| only_network(txn, &server), Ok)?;
            new_port(txn, caller, &server, network, &addresses)?
        }
    };
    let slot = free_slot(txn, id)?;
    port.server_id = Some(id);
    port.server_index = slot;
    port.device_id = id.to_string();
    port.device_owner = format!("compute:{}", nic::zone_of(txn, server.host_id));
    port.host_id = server.host_id;
    port.plugged = false;
    port.revision += 1;
    port.updated_at = Some(txn.now);
    let attached = port.id;
    txn.put(port);
    renew_orders(txn, id);
    operation::note(txn, &server, OperationKind::AttachInterface, caller);
    Ok(attached)
}

/// Attaches a port to a server, under a tag.
pub fn attach_tagged(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    ask: AttachAsk,
    tag: Option<String>,
) -> Result<PortId> {
    let port = attach(txn, caller, id, ask)?;
    if tag.is_some() {
        txn.update::<Port>(&port, |port| port.device_tag = tag);
    }
    Ok(port)
}

/// The lowest slot of the guest that none of the server's ports has.
fn free_slot(txn: &Txn<'_>, id: ServerId) -> Result<u32> {
    let taken: Vec<u32> = txn.ports_of_server(id).map(|p| p.server_index).collect();
    (0..INTERFACES_MAX).find(|slot| !taken.contains(slot)).ok_or_else(|| {
        Error::conflict(format!(
            "Instance {id} has {INTERFACES_MAX} interfaces, and there is no place for another. Detach one first."
        ))
    })
}

fn renew_orders(txn: &mut Txn<'_>, id: ServerId) {
    txn.update::<Server>(&id, |s| s.interfaces += 1);
}

fn existing(txn: &Txn<'_>, caller: &Caller, server: &Server, id: PortId) -> Result<Port> {
    let missing = || Error::not_found_text(format!("Port id {id} could not be found."));
    let port = txn.visible::<Port>(caller, &id).map_err(|_| missing())?;
    port_build::check_free(&port)?;
    nic::check_own(&port, server.project_id)?;
    Ok(Port::clone(&port))
}

fn only_network(txn: &Txn<'_>, server: &Server) -> Result<NetworkId> {
    match nic::usable_networks(txn, server.project_id)[..] {
        [one] => Ok(one),
        [] => Err(Error::invalid("No networks are available to this project; name a port or a network.")),
        _ => Err(Error::invalid(
            "More than one possible network found. Specify network ID(s) to select which one(s) to connect to.",
        )),
    }
}

fn new_port(
    txn: &mut Txn<'_>,
    caller: &Caller,
    server: &Server,
    network: NetworkId,
    addresses: &[IpAddr],
) -> Result<Port> {
    let missing = || Error::not_found_text(format!("Network {network} could not be found."));
    txn.visible::<Network>(caller, &network).map_err(|_| missing())?;
    nic::check_nic(txn, caller, &Nic::Network(network, addresses.first().copied()))?;
    quota::need_network(txn, server.project_id, "port")?;
    let group = group_build::ensure_default(txn, server.project_id);
    let asked = addresses.iter().map(|ip| AskIp { subnet: None, address: Some(*ip) });
    let new = NewPort {
        fixed_ips: (!addresses.is_empty()).then(|| asked.collect()),
        security_groups: txn.is_filtered(network).then(|| vec![group]),
        ..NewPort::on(network, server.project_id)
    };
    Ok(Port { goes_with_server: true, ..port_build::build(txn, &new)? })
}

/// Detaches a port from a server; a port that was made for the server is deleted.
pub fn detach(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, port: PortId) -> Result<()> {
    let server = actable(txn, caller, id, Action::InterfaceDetach)?;
    need_condition(&server, "detach_interface", ATTACHABLE)?;
    let found = txn.ports_of_server(id).find(|p| p.id == port).cloned();
    let missing = || Error::not_found_text(format!("Port {port} is not attached to instance {id}."));
    match found.ok_or_else(missing)?.goes_with_server {
        true => cascade::delete_port(txn, port),
        false => cascade::release_port(txn, port),
    }
    renew_orders(txn, id);
    operation::note(txn, &server, OperationKind::DetachInterface, caller);
    Ok(())
}

/// Adds an address to a server on one of its networks.
pub fn add_fixed_ip(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, network: NetworkId) -> Result<()> {
    let server = actable(txn, caller, id, Action::InterfaceAttach)?;
    need_condition(&server, "add_fixed_ip", &[Condition::Active, Condition::Stopped])?;
    let refused = || {
        Error::invalid(format!(
            "No fixed IP of network {network} can be given to instance {id}: it is not on it, or its subnets are full."
        ))
    };
    let port = txn.ports_of_server(id).find(|p| p.network_id == network).cloned().ok_or_else(refused)?;
    let record = txn.networks.get(&network).cloned().ok_or_else(refused)?;
    let subnets: Vec<_> = txn.subnets_of_network(network).filter(|s| !s.is_slaac()).map(|s| s.id).collect();
    let asker = Asker { network: &record, mac: port.mac, device_owner: &port.device_owner };
    let ask = |subnet| [AskIp { subnet: Some(subnet), address: None }];
    let found = subnets.into_iter().find_map(|s| port_address::choose(txn, &asker, Some(&ask(s))).ok());
    let more = found.ok_or_else(refused)?;
    txn.update::<Port>(&port.id, |p| {
        p.fixed_ips.extend(more.into_iter().filter(|ip| !port.fixed_ips.contains(ip)));
        p.revision += 1;
    });
    Ok(())
}

/// Removes an address from a server, and the floating IPs and port forwardings to it.
pub fn remove_fixed_ip(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, address: IpAddr) -> Result<()> {
    let server = actable(txn, caller, id, Action::InterfaceDetach)?;
    need_condition(&server, "remove_fixed_ip", &[Condition::Active, Condition::Stopped])?;
    let has = |p: &&Arc<Port>| p.fixed_ips.iter().any(|ip| ip.ip_address == address);
    let missing = || Error::invalid(format!("Fixed IP address {address} is not one of instance {id}."));
    let port = txn.ports_of_server(id).find(has).map(|p| p.id).ok_or_else(missing)?;
    txn.update::<Port>(&port, |p| {
        p.fixed_ips.retain(|ip| ip.ip_address != address);
        p.revision += 1;
    });
    cascade::on_port_address_changed(txn, port);
    Ok(())
}

/// The group of the server's project with this name or id.
fn find_group(txn: &Txn<'_>, server: &Server, name: &str) -> Result<SecurityGroupId> {
    let usable = |id: &SecurityGroupId| txn.may_use_security_group(server.project_id, *id);
    if let Some(id) = name.parse().ok().filter(usable) {
        return Ok(id);
    }
    group_build::by_name(txn, server.project_id, name).map_err(|error| match error.kind {
        lenticular_model::error::Kind::Conflict => error,
        _ => Error::not_found_text(format!(
            "Security group {name} not found for project {}.",
            server.project_id
        )),
    })
}

/// Puts all filtered ports of a server into a security group.
pub fn add_group(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, name: &str) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerGroupsWrite)?;
    let group = find_group(txn, &server, name)?;
    let open = |p: &&Arc<Port>| p.port_security_enabled && !p.fixed_ips.is_empty();
    let ports: Vec<PortId> = txn.ports_of_server(id).filter(open).map(|p| p.id).collect();
    if ports.is_empty() {
        return Err(Error::invalid(format!(
            "Instance {id} has no port that a security group could be added to."
        )));
    }
    for port in ports {
        txn.update::<Port>(&port, |p| {
            if !p.security_groups.contains(&group) {
                p.security_groups.push(group);
                p.revision += 1;
            }
        });
    }
    Ok(())
}

/// Removes a server's ports from a security group.
pub fn remove_group(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, name: &str) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerGroupsWrite)?;
    let group = find_group(txn, &server, name)?;
    let inside = |p: &&Arc<Port>| p.security_groups.contains(&group);
    let ports: Vec<PortId> = txn.ports_of_server(id).filter(inside).map(|p| p.id).collect();
    if ports.is_empty() {
        let why = format!("Security group {name} not associated with the instance {id}");
        return Err(Error::not_found_text(why));
    }
    for port in ports {
        txn.update::<Port>(&port, |p| {
            p.security_groups.retain(|g| *g != group);
            p.revision += 1;
        });
    }
    Ok(())
}
