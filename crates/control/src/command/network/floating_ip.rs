//! Floating IPs: their creation, association, change and removal.

use crate::{
    command::network::{check, routing},
    lifecycle::{
        network::{
            cascade,
            port_address::AskIp,
            port_build::{self, NewPort},
        },
        ports,
    },
    quota,
};
use lenticular_model::{
    FloatingIpId, NetworkId, PortId, ProjectId, QosPolicyId, Scoped, State, SubnetId, Txn,
    error::{Error, Result},
    network::{
        floating_ip::{Association, FloatingIp},
        network::Network,
        port::{FixedIp, Port, PortOwner},
    },
    policy::{self, Action, Caller},
};
use std::net::IpAddr;

/// The port address that a floating IP should lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The port.
    pub port_id: PortId,
    /// The address of the port; `None` for its only address.
    pub fixed_ip: Option<IpAddr>,
}

/// The settings of a new floating IP.
#[derive(Debug, Clone)]
pub struct NewFloatingIp {
    /// Its project.
    pub project_id: ProjectId,
    /// For people.
    pub description: String,
    /// The external network.
    pub network_id: NetworkId,
    /// The subnet of the address.
    pub subnet_id: Option<SubnetId>,
    /// The address.
    pub address: Option<IpAddr>,
    /// The port address that it leads to.
    pub target: Option<Target>,
    /// Its name in DNS.
    pub dns_name: String,
    /// The domain of that name.
    pub dns_domain: String,
    /// Its QoS policy.
    pub qos_policy_id: Option<QosPolicyId>,
}

/// Creates a floating IP.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewFloatingIp) -> Result<FloatingIpId> {
    policy::check(caller, Action::FloatingIpWrite, Some(new.project_id))?;
    if new.address.is_some() {
        policy::check(caller, Action::FloatingIpAddress, Some(new.project_id))?;
    }
    let network = txn.visible::<Network>(caller, &new.network_id)?;
    if !txn.is_external_for(caller, &network) {
        return Err(routing::bad(format!("Network {} is not a valid external network", network.id)));
    }
    if let Some(address) = new.address.filter(|_| !caller.sees(network.project_id)) {
        check_given_out(txn, &network, address)?;
    }
    check::check_dns(&new.dns_name, &new.dns_domain)?;
    check::check_qos_policy(txn, caller, new.qos_policy_id, None)?;
    quota::need_network(txn, new.project_id, "floatingip")?;
    let id = FloatingIpId::from_random(txn.random());
    let port = build_port(txn, &network, id, &new)?;
    let (port_id, address) = match port.fixed_ips.first() {
        Some(ip) => (port.id, ip.ip_address),
        None => return Err(routing::bad(format!("Network {} does not contain any IPv4 subnet", network.id))),
    };
    txn.put(port);
    txn.put(FloatingIp {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        description: new.description,
        network_id: new.network_id,
        port_id,
        address,
        fixed: None,
        router_id: None,
        dns_name: new.dns_name,
        dns_domain: new.dns_domain,
        qos_policy_id: new.qos_policy_id,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    if let Some(target) = new.target {
        associate(txn, caller, id, target)?;
    }
    Ok(id)
}

/// Refuses an address outside the pools of another project's network: it may be the gateway's address.
fn check_given_out(state: &State, network: &Network, address: IpAddr) -> Result<()> {
    let mut subnets = state.subnets_of_network(network.id);
    match subnets.any(|s| s.pools.iter().any(|pool| pool.contains(address))) {
        true => Ok(()),
        false => Err(routing::bad(format!("Network {} does not give out the address {address}", network.id))),
    }
}

/// The port that holds a new floating IP's address.
fn build_port(txn: &mut Txn<'_>, network: &Network, id: FloatingIpId, new: &NewFloatingIp) -> Result<Port> {
    let owner = PortOwner::FloatingIp.name().unwrap_or_default();
    let v4: Vec<SubnetId> = txn
        .subnets_of_network(network.id)
        .filter(|s| s.cidr.addr().is_ipv4() && s.serves(owner))
        .map(|s| s.id)
        .collect();
    if v4.is_empty() {
        return Err(routing::bad(format!("Network {} does not contain any IPv4 subnet", network.id)));
    }
    if new.address.is_some_and(|address| address.is_ipv6()) {
        return Err(routing::bad("A floating IP has an IPv4 address".to_owned()));
    }
    let build = |txn: &mut Txn<'_>, subnet: Option<SubnetId>| {
        let asked = NewPort {
            device_id: id.to_string(),
            device_owner: owner.to_owned(),
            fixed_ips: Some(vec![AskIp { subnet, address: new.address }]),
            port_security_enabled: Some(false),
            ..NewPort::on(network.id, ProjectId::CLOUD)
        };
        port_build::build(txn, &asked)
    };
    if new.subnet_id.is_some() || new.address.is_some() {
        return build(txn, new.subnet_id);
    }
    let mut refusal = None;
    for subnet in v4 {
        match build(txn, Some(subnet)) {
            Ok(port) => return Ok(port),
            Err(error) => refusal = Some(error),
        }
    }
    Err(refusal
        .unwrap_or_else(|| routing::bad(format!("Network {} does not contain any IPv4 subnet", network.id))))
}

/// The address of a port for a floating IP.
fn choose_fixed(port: &Port, asked: Option<IpAddr>) -> Result<FixedIp> {
    let mut v4 = port.fixed_ips.iter().filter(|ip| ip.ip_address.is_ipv4());
    match asked {
        Some(address) => v4
            .find(|ip| ip.ip_address == address)
            .copied()
            .ok_or_else(|| routing::bad(format!("Port {} does not have fixed ip {address}", port.id))),
        None => match (v4.next(), v4.next()) {
            (Some(one), None) => Ok(*one),
            (Some(_), Some(_)) => Err(routing::bad(format!(
                "Port {} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a \
                 floating IP",
                port.id
            ))),
            (None, _) => Err(routing::bad(format!(
                "Cannot add floating IP to port {} that has no fixed IPv4 addresses",
                port.id
            ))),
        },
    }
}

/// Associates a floating IP with an address of a port.
fn associate(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId, target: Target) -> Result<()> {
    let floating = txn.need::<FloatingIp>(&id, || FloatingIp::missing(id))?;
    let port = txn.visible::<Port>(caller, &target.port_id)?;
    if port.project_id != floating.project_id && !caller.is_admin() {
        return Err(routing::bad(format!(
            "Port {} is associated with a different tenant than Floating IP {id} and therefore cannot be bound.",
            port.id
        )));
    }
    let cannot = port.owner().is_routers() || port.owner() == PortOwner::Metadata;
    if cannot {
        return Err(routing::bad(format!(
            "Port {} is the cloud's own; a floating IP cannot lead to it.",
            port.id
        )));
    }
    if txn.port_forwardings_of(id).next().is_some() {
        let why =
            format!("Floating IP {id} has port forwardings; remove those to let all of it lead to one port.");
        return Err(Error::conflict(why).coded("FipInUseByPortForwarding"));
    }
    let fixed = choose_fixed(&port, target.fixed_ip)?;
    let router_id = routing::router_for(txn, floating.network_id, port.id, &fixed)?;
    let taken = txn.floating_ips_of_port(port.id).find(|f| {
        f.id != id
            && f.network_id == floating.network_id
            && f.fixed.is_some_and(|a| a.fixed_ip == fixed.ip_address)
    });
    if taken.is_some() {
        let why = format!(
            "Cannot associate floating IP {} ({id}) with port {} using fixed IP {}, as that fixed IP already has a \
             floating IP on external network {}.",
            floating.address, port.id, fixed.ip_address, floating.network_id
        );
        return Err(Error::conflict(why).coded("FloatingIPPortAlreadyAssociated"));
    }
    let association = Association { port_id: port.id, fixed_ip: fixed.ip_address };
    let was = floating.fixed.map(|was| was.port_id).filter(|was| *was != port.id);
    txn.update::<FloatingIp>(&id, |f| {
        f.fixed = Some(association);
        f.router_id = Some(router_id);
    });
    was.into_iter().chain([port.id]).for_each(|port| ports::renew_orders(txn, port));
    Ok(())
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct FloatingIpChange {
    /// For people.
    pub description: Option<String>,
    /// The port address that it leads to; `Some(None)` for none.
    pub target: Option<Option<Target>>,
    /// Its QoS policy; `Some(None)` removes it.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
}

/// Changes a floating IP.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId, change: FloatingIpChange) -> Result<()> {
    let old = txn.changeable::<FloatingIp>(caller, &id)?;
    check::check_qos_policy(txn, caller, change.qos_policy_id.flatten(), old.qos_policy_id)?;
    match change.target {
        Some(Some(target)) => associate(txn, caller, id, target)?,
        Some(None) => cascade::disassociate(txn, id),
        None => {}
    }
    txn.update::<FloatingIp>(&id, |f| {
        f.description = change.description.unwrap_or(std::mem::take(&mut f.description));
        f.qos_policy_id = change.qos_policy_id.unwrap_or(f.qos_policy_id);
        f.revision += 1;
    });
    Ok(())
}

/// Removes a floating IP with its port forwardings; its address becomes free.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId) -> Result<()> {
    txn.changeable::<FloatingIp>(caller, &id)?;
    cascade::delete_floating_ip(txn, id);
    Ok(())
}
