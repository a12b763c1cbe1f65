//! A router's legs in tenants' networks: their creation by subnet or port, and their removal.

use crate::{
    command::network::{check, routing},
    lifecycle::network::{
        cascade,
        port_address::AskIp,
        port_build::{self, NewPort},
    },
    quota,
};
use lenticular_model::{
    NetworkId, PortId, ProjectId, RouterId, Scoped, State, SubnetId, Txn,
    error::{Error, Result},
    network::{
        port::{FixedIp, Port, PortOwner},
        rbac_policy::{RbacAction, RbacObject},
        router::Router,
        subnet::Subnet,
    },
    policy::Caller,
};
use std::sync::Arc;

/// The subnet or port by which a request names a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InterfaceAsk {
    /// The subnet of the leg.
    pub subnet_id: Option<SubnetId>,
    /// The port of the leg.
    pub port_id: Option<PortId>,
}

/// A leg, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The router.
    pub router_id: RouterId,
    /// The router's project.
    pub project_id: ProjectId,
    /// The network.
    pub network_id: NetworkId,
    /// The port.
    pub port_id: PortId,
    /// The subnets of the request.
    pub subnet_ids: Vec<SubnetId>,
}

/// Gives a router a leg in a subnet, at the subnet's gateway address, or makes an existing port its leg.
pub fn add_interface(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: RouterId,
    ask: InterfaceAsk,
) -> Result<Interface> {
    let router = txn.changeable::<Router>(caller, &id)?;
    let (port_id, subnet_ids) = match (ask.subnet_id, ask.port_id) {
        (Some(_), Some(_)) => {
            return Err(routing::bad("Cannot specify both subnet-id and port-id".to_owned()));
        }
        (None, None) => return Err(routing::bad("Either subnet_id or port_id must be specified".to_owned())),
        (Some(subnet), None) => (add_by_subnet(txn, caller, &router, subnet)?, vec![subnet]),
        (None, Some(port)) => {
            add_by_port(txn, caller, id, port)?;
            (port, txn.ports.get(&port).map_or(Vec::new(), |p| subnets_of(p)))
        }
    };
    routing::check_disjoint(txn, id)?;
    routing::check_leg(txn, port_id)?;
    txn.update::<Router>(&id, |r| r.revision += 1);
    let network_id = txn.need::<Port>(&port_id, || Port::missing(port_id))?.network_id;
    Ok(Interface { router_id: id, project_id: router.project_id, network_id, port_id, subnet_ids })
}

fn subnets_of(port: &Port) -> Vec<SubnetId> {
    port.fixed_ips.iter().map(|ip| ip.subnet_id).collect()
}

fn add_by_subnet(txn: &mut Txn<'_>, caller: &Caller, router: &Router, id: SubnetId) -> Result<PortId> {
    let subnet = txn.visible::<Subnet>(caller, &id)?;
    let Some(gateway) = subnet.gateway else {
        return Err(routing::bad("Subnet for router interface must have a gateway IP".to_owned()));
    };
    check_gateway_of(txn, caller, &subnet)?;
    if !subnet.cidr.contains(&gateway) {
        return Err(routing::bad(format!(
            "The gateway {gateway} of subnet {id} is outside of it; give the router a port instead."
        )));
    }
    if txn.interfaces_of_router(router.id).any(|p| p.fixed_ips.iter().any(|ip| ip.subnet_id == id)) {
        return Err(routing::bad(format!("Router already has a port on subnet {id}.")));
    }
    let address = FixedIp { subnet_id: id, ip_address: gateway };
    if let Some(holder) = txn.port_with_address(id, gateway).map(|port| port.id) {
        let why = format!(
            "Unable to complete operation for network {}. The IP address {gateway} is in use by port {holder}.",
            subnet.network_id
        );
        return Err(Error::conflict(why).coded("IpAddressInUse"));
    }
    // One leg carries all IPv6 prefixes of a network.
    let v6 = |p: &&Arc<Port>| {
        p.network_id == subnet.network_id && p.fixed_ips.iter().all(|ip| ip.ip_address.is_ipv6())
    };
    let shared =
        txn.interfaces_of_router(router.id).filter(|_| subnet.cidr.addr().is_ipv6()).find(v6).map(|p| p.id);
    if let Some(leg) = shared {
        txn.update::<Port>(&leg, |p| {
            p.fixed_ips.push(address);
            p.revision += 1;
        });
        return Ok(leg);
    }
    quota::need_network(txn, router.project_id, "port")?;
    let new = NewPort {
        device_id: router.id.to_string(),
        device_owner: PortOwner::RouterInterface.name().unwrap_or_default().to_owned(),
        fixed_ips: Some(vec![AskIp { subnet: Some(id), address: Some(gateway) }]),
        port_security_enabled: Some(false),
        ..NewPort::on(subnet.network_id, router.project_id)
    };
    let port = port_build::build(txn, &new)?;
    let leg = port.id;
    txn.put(port);
    Ok(leg)
}

/// Refuses to make a router the gateway of another project's network, unless that project has shared the network
/// with just this project. Guests would send through the first router on the gateway address (LP-1757482,
/// LP-1975603).
fn check_gateway_of(state: &State, caller: &Caller, subnet: &Subnet) -> Result<()> {
    let object = RbacObject::Network(subnet.network_id);
    let named = |own| state.rbac_allows_project(own, object, RbacAction::AccessAsShared);
    if caller.sees(subnet.project_id) || caller.project_id().is_some_and(named) {
        return Ok(());
    }
    Err(routing::bad(format!(
        "Cannot add interface to router because subnet {} is not owned by project making the request",
        subnet.id
    )))
}

/// Refuses a port with an address outside the pools of another project's subnet: it may be the gateway's address.
fn check_in_pools(state: &State, caller: &Caller, port: &Port) -> Result<()> {
    let legal = |ip: &FixedIp| {
        let subnet = state.subnets.get(&ip.subnet_id);
        subnet.is_none_or(|s| caller.sees(s.project_id) || s.pools.iter().any(|p| p.contains(ip.ip_address)))
    };
    match port.fixed_ips.iter().find(|ip| !legal(ip)) {
        Some(ip) => Err(routing::bad(format!(
            "Cannot add interface to router because specified port {} has an IP address out of the allocation pool of \
             subnet {}, which is not owned by the project making the request",
            port.id, ip.subnet_id
        ))),
        None => Ok(()),
    }
}

fn add_by_port(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, port_id: PortId) -> Result<()> {
    let port = txn.changeable::<Port>(caller, &port_id)?;
    check_in_pools(txn, caller, &port)?;
    if !port.device_id.is_empty() {
        let why = format!(
            "Unable to complete operation on port {port_id} for network {}. Port already has an attached device {}.",
            port.network_id, port.device_id
        );
        return Err(Error::conflict(why).coded("PortInUse"));
    }
    if port.fixed_ips.is_empty() {
        return Err(routing::bad("Router port must have at least one fixed IP".to_owned()));
    }
    check::check_not_in_trunk(txn, port_id)?;
    check_unused(txn, port_id)?;
    txn.update::<Port>(&port_id, |p| {
        p.device_id = id.to_string();
        p.device_owner = PortOwner::RouterInterface.name().unwrap_or_default().to_owned();
        // A router forwards packets of others, so its port is not filtered like a guest's port.
        p.port_security_enabled = false;
        p.security_groups.clear();
        p.allowed_address_pairs.clear();
        p.revision += 1;
    });
    Ok(())
}

/// Removes a leg from a router: the leg in this subnet, or this port, or both if they agree.
pub fn remove_interface(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: RouterId,
    ask: InterfaceAsk,
) -> Result<Interface> {
    let router = txn.changeable::<Router>(caller, &id)?;
    if ask.subnet_id.is_none() && ask.port_id.is_none() {
        return Err(routing::bad("Either subnet_id or port_id must be specified".to_owned()));
    }
    if let Some(subnet) = ask.subnet_id {
        txn.visible::<Subnet>(caller, &subnet)?;
    }
    let in_subnet = |p: &Port| ask.subnet_id.is_none_or(|s| p.fixed_ips.iter().any(|ip| ip.subnet_id == s));
    let leg = txn
        .interfaces_of_router(id)
        .find(|p| ask.port_id.is_none_or(|port| p.id == port) && in_subnet(p))
        .cloned();
    let leg = leg.ok_or_else(|| match (ask.port_id, ask.subnet_id) {
        (Some(port), Some(subnet)) if txn.interfaces_of_router(id).any(|p| p.id == port) => {
            let why =
                format!("Subnet ID mismatch: port {port} of router {id} has no address of subnet {subnet}.");
            Error::conflict(why).coded("SubnetMismatchForPort")
        }
        (Some(port), _) => {
            let why = format!("Router {id} does not have an interface with id {port}");
            Error::not_found_text(why).coded("RouterInterfaceNotFound")
        }
        (None, subnet) => {
            let subnet = subnet.unwrap_or_default();
            let why = format!("Router {id} has no interface on subnet {subnet}");
            Error::not_found_text(why).coded("RouterInterfaceNotFoundForSubnet")
        }
    })?;
    let subnet_ids = match (ask.port_id, ask.subnet_id) {
        (None, Some(subnet)) => vec![subnet],
        _ => subnets_of(&leg),
    };
    for subnet in subnet_ids.iter().filter_map(|s| txn.subnets.get(s)) {
        check_unneeded(txn, &router, subnet)?;
    }
    match subnet_ids.len() < leg.fixed_ips.len() {
        true => {
            txn.update::<Port>(&leg.id, |p| {
                p.fixed_ips.retain(|ip| !subnet_ids.contains(&ip.subnet_id));
                p.revision += 1;
            });
            cascade::on_port_address_changed(txn, leg.id);
        }
        false => cascade::delete_port(txn, leg.id),
    }
    txn.update::<Router>(&id, |r| r.revision += 1);
    let (network_id, port_id) = (leg.network_id, leg.id);
    Ok(Interface { router_id: id, project_id: router.project_id, network_id, port_id, subnet_ids })
}

/// Refuses to remove a leg that routes or floating IPs need.
fn check_unneeded(state: &State, router: &Router, subnet: &Subnet) -> Result<()> {
    if routing::needs_leg(state, router.id, subnet.id) {
        let why = format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more \
             floating IPs.",
            subnet.id, router.id
        );
        return Err(Error::conflict(why).coded("RouterInterfaceInUseByFloatingIP"));
    }
    if router.routes.iter().any(|route| subnet.cidr.contains(&route.nexthop)) {
        let why = format!(
            "Router interface for subnet {} on router {} cannot be deleted, as it is required by one or more routes.",
            subnet.id, router.id
        );
        return Err(Error::conflict(why).coded("RouterInterfaceInUseByRoute"));
    }
    Ok(())
}

/// Refuses a port that a floating IP leads to.
fn check_unused(state: &State, id: PortId) -> Result<()> {
    if state.floating_ips_of_port(id).next().is_none() && state.port_forwardings_of_port(id).next().is_none()
    {
        return Ok(());
    }
    let why = format!("A floating IP leads to port {id}; disassociate it first.");
    Err(Error::conflict(why).coded("PortInUse"))
}
