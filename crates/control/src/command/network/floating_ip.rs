//! Floating IPs: their making, where they lead, their change and removal.

use crate::{
    command::network::{port, port_forwarding, qos_policy, router},
    quota,
};
use lenticular_model::{
    error::{Error, Result},
    network::{
        floating_ip::{Association, FloatingIp},
        network::Network,
        port::{FixedIp, Port, PortOwner},
        port_forwarding::PortForwarding,
        subnet::Subnet,
    },
    policy::{self, Action, Caller},
    FloatingIpId, NetworkId, PortId, ProjectId, QosPolicyId, RouterId, Scoped, State, SubnetId, Txn,
};
use std::{net::IpAddr, sync::Arc};

/// Where a floating IP is asked to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The port.
    pub port_id: PortId,
    /// Which of its addresses; `None` for its only one.
    pub fixed_ip: Option<IpAddr>,
}

/// What a new floating IP is to be.
#[derive(Debug, Clone)]
pub struct NewFloatingIp {
    /// Its project.
    pub project_id: ProjectId,
    /// For people.
    pub description: String,
    /// The external network.
    pub network_id: NetworkId,
    /// The subnet that the address is of.
    pub subnet_id: Option<SubnetId>,
    /// The address.
    pub address: Option<IpAddr>,
    /// Where it leads.
    pub target: Option<Target>,
    /// Its name in DNS.
    pub dns_name: String,
    /// The domain of that name.
    pub dns_domain: String,
    /// Its QoS policy.
    pub qos_policy_id: Option<QosPolicyId>,
}

fn bad(why: String) -> Error {
    Error::invalid(why).coded("BadRequest")
}

/// Creates a floating IP.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewFloatingIp) -> Result<FloatingIpId> {
    policy::check(caller, Action::FloatingIpWrite, Some(new.project_id))?;
    if new.address.is_some() {
        policy::check(caller, Action::FloatingIpAddress, Some(new.project_id))?;
    }
    let network = txn.visible::<Network>(caller, &new.network_id)?;
    if !txn.is_external_for(caller, &network) {
        return Err(bad(format!("Network {} is not a valid external network", network.id)));
    }
    if let Some(address) = new.address.filter(|_| !caller.sees(network.project_id)) {
        check_given_out(txn, &network, address)?;
    }
    port::check_dns(&new.dns_name, &new.dns_domain)?;
    qos_policy::check_use(txn, caller, new.qos_policy_id, None)?;
    quota::need_network(txn, new.project_id, "floatingip")?;
    let id = FloatingIpId::from_random(txn.random());
    let port = build_port(txn, &network, id, &new)?;
    let (port_id, address) = match port.fixed_ips.first() {
        Some(ip) => (port.id, ip.ip_address),
        None => return Err(bad(format!("Network {} does not contain any IPv4 subnet", network.id))),
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

/// Refuses an address that another's network does not give out: it may be that of the gateway.
fn check_given_out(state: &State, network: &Network, address: IpAddr) -> Result<()> {
    let mut subnets = state.subnets_of_network(network.id);
    match subnets.any(|s| s.pools.iter().any(|pool| pool.contains(address))) {
        true => Ok(()),
        false => Err(bad(format!("Network {} does not give out the address {address}", network.id))),
    }
}

/// The port that holds a new floating IP's address.
fn build_port(txn: &mut Txn<'_>, network: &Network, id: FloatingIpId, new: &NewFloatingIp) -> Result<Port> {
    let owner = PortOwner::FloatingIp.name().unwrap_or_default();
    let v4: Vec<SubnetId> = txn
        .subnets_of_network(network.id)
        .filter(|s| router::is_v4(&s.cidr) && s.serves(owner))
        .map(|s| s.id)
        .collect();
    if v4.is_empty() {
        return Err(bad(format!("Network {} does not contain any IPv4 subnet", network.id)));
    }
    if new.address.is_some_and(|address| address.is_ipv6()) {
        return Err(bad("A floating IP has an IPv4 address".to_owned()));
    }
    let build = |txn: &mut Txn<'_>, subnet: Option<SubnetId>| {
        let asked = port::NewPort {
            device_id: id.to_string(),
            device_owner: owner.to_owned(),
            fixed_ips: Some(vec![port::AskIp { subnet, address: new.address }]),
            port_security_enabled: Some(false),
            ..port::NewPort::on(network.id, ProjectId::CLOUD)
        };
        port::build(txn, &asked)
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
    Err(refusal.unwrap_or_else(|| bad(format!("Network {} does not contain any IPv4 subnet", network.id))))
}

/// The address of a port that a floating IP shall lead to.
fn choose_fixed(port: &Port, asked: Option<IpAddr>) -> Result<FixedIp> {
    let mut v4 = port.fixed_ips.iter().filter(|ip| ip.ip_address.is_ipv4());
    match asked {
        Some(address) => v4.find(|ip| ip.ip_address == address).copied().ok_or_else(|| {
            bad(format!("Port {} does not have fixed ip {address}", port.id))
        }),
        None => match (v4.next(), v4.next()) {
            (Some(one), None) => Ok(*one),
            (Some(_), Some(_)) => Err(bad(format!(
                "Port {} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address when assigning a \
                 floating IP",
                port.id
            ))),
            (None, _) => {
                Err(bad(format!("Cannot add floating IP to port {} that has no fixed IPv4 addresses", port.id)))
            }
        },
    }
}

/// The router by which an address of a port is reached from an external network.
pub(crate) fn router_for(
    state: &State,
    external: NetworkId,
    port: PortId,
    fixed: &FixedIp,
) -> Result<RouterId> {
    let subnet = state.subnets.get(&fixed.subnet_id).ok_or_else(|| Subnet::missing(fixed.subnet_id))?;
    router::reaching(state, external, subnet).ok_or_else(|| {
        let why = format!(
            "External network {external} is not reachable from subnet {}.  Therefore, cannot associate Port {port} \
             with a Floating IP.",
            subnet.id
        );
        Error::not_found_text(why).coded("ExternalGatewayForFloatingIPNotFound")
    })
}

/// Lets a floating IP lead to an address of a port.
fn associate(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId, target: Target) -> Result<()> {
    let floating = txn.need::<FloatingIp>(&id, || FloatingIp::missing(id))?;
    let port = txn.visible::<Port>(caller, &target.port_id)?;
    if port.project_id != floating.project_id && !caller.is_admin() {
        return Err(bad(format!(
            "Port {} is associated with a different tenant than Floating IP {id} and therefore cannot be bound.",
            port.id
        )));
    }
    let cannot = port.owner().is_routers() || port.owner() == PortOwner::Metadata;
    if cannot {
        return Err(bad(format!("Port {} is the cloud's own; a floating IP cannot lead to it.", port.id)));
    }
    if txn.port_forwardings_of(id).next().is_some() {
        let why =
            format!("Floating IP {id} has port forwardings; remove those to let all of it lead to one port.");
        return Err(Error::conflict(why).coded("FipInUseByPortForwarding"));
    }
    let fixed = choose_fixed(&port, target.fixed_ip)?;
    let router_id = router_for(txn, floating.network_id, port.id, &fixed)?;
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
    txn.update::<FloatingIp>(&id, |f| {
        f.fixed = Some(association);
        f.router_id = Some(router_id);
    });
    Ok(())
}

/// What an update changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct FloatingIpChange {
    /// For people.
    pub description: Option<String>,
    /// Where it leads; `Some(None)` for nowhere.
    pub target: Option<Option<Target>>,
    /// Its QoS policy; `Some(None)` takes it away.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
}

/// Changes a floating IP.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId, change: FloatingIpChange) -> Result<()> {
    let old = txn.changeable::<FloatingIp>(caller, &id)?;
    qos_policy::check_use(txn, caller, change.qos_policy_id.flatten(), old.qos_policy_id)?;
    match change.target {
        Some(Some(target)) => associate(txn, caller, id, target)?,
        Some(None) => disassociate(txn, id),
        None => {}
    }
    txn.update::<FloatingIp>(&id, |f| {
        f.description = change.description.unwrap_or(std::mem::take(&mut f.description));
        f.qos_policy_id = change.qos_policy_id.unwrap_or(f.qos_policy_id);
        f.revision += 1;
    });
    Ok(())
}

/// Lets a floating IP lead nowhere. The router of its port forwardings stays.
fn disassociate(txn: &mut Txn<'_>, id: FloatingIpId) {
    let forwards = txn.port_forwardings_of(id).next().is_some();
    txn.update::<FloatingIp>(&id, |f| {
        f.fixed = None;
        f.router_id = f.router_id.filter(|_| forwards);
        f.revision += 1;
    });
}

/// Removes a floating IP with its port forwardings; its address is free again.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: FloatingIpId) -> Result<()> {
    txn.changeable::<FloatingIp>(caller, &id)?;
    remove(txn, id);
    Ok(())
}

fn remove(txn: &mut Txn<'_>, id: FloatingIpId) {
    let forwardings: Vec<_> = txn.port_forwardings_of(id).map(|f| f.id).collect();
    forwardings.iter().for_each(|forwarding| drop(txn.delete::<PortForwarding>(forwarding)));
    if let Some(floating) = txn.delete::<FloatingIp>(&id) {
        txn.delete::<Port>(&floating.port_id);
    }
}

/// Removes the floating IPs of a network that lead nowhere.
pub(crate) fn delete_idle(txn: &mut Txn<'_>, network: NetworkId) {
    let all = txn.floating_ips_of_network(network);
    let idle: Vec<FloatingIpId> = all.filter(|f| f.router_id.is_none()).map(|f| f.id).collect();
    idle.into_iter().for_each(|id| remove(txn, id));
}

/// Lets floating IPs that lead to addresses which a port has no more lead nowhere.
pub(crate) fn settle_port(txn: &mut Txn<'_>, id: PortId) {
    let has = |address: IpAddr| {
        txn.ports.get(&id).is_some_and(|p| p.fixed_ips.iter().any(|ip| ip.ip_address == address))
    };
    let lost = |f: &&Arc<FloatingIp>| f.fixed.is_some_and(|a| !has(a.fixed_ip));
    let stale: Vec<FloatingIpId> = txn.floating_ips_of_port(id).filter(lost).map(|f| f.id).collect();
    stale.into_iter().for_each(|floating| disassociate(txn, floating));
    port_forwarding::settle_port(txn, id);
}

/// Lets nothing lead to a port that goes.
pub(crate) fn forsake_port(txn: &mut Txn<'_>, id: PortId) {
    let all: Vec<FloatingIpId> = txn.floating_ips_of_port(id).map(|f| f.id).collect();
    all.into_iter().for_each(|floating| disassociate(txn, floating));
    port_forwarding::forsake_port(txn, id);
}

/// Refuses a port that a floating IP leads to.
pub(crate) fn check_unused(state: &State, id: PortId) -> Result<()> {
    if state.floating_ips_of_port(id).next().is_none() && state.port_forwardings_of_port(id).next().is_none()
    {
        return Ok(());
    }
    let why = format!("A floating IP leads to port {id}; disassociate it first.");
    Err(Error::conflict(why).coded("PortInUse"))
}

/// The addresses of guests that a floating IP of this router leads to.
fn reached(state: &State, id: RouterId) -> Vec<FixedIp> {
    let of = |port: PortId, address: IpAddr| {
        state.ports.get(&port)?.fixed_ips.iter().find(|ip| ip.ip_address == address).copied()
    };
    let mut all = Vec::new();
    for floating in state.floating_ips_of_router(id) {
        all.extend(floating.fixed.and_then(|a| of(a.port_id, a.fixed_ip)));
        let forwardings = state.port_forwardings_of(floating.id);
        all.extend(forwardings.filter_map(|f| of(f.internal_port_id, f.internal_address.into())));
    }
    all
}

/// Whether a floating IP of the router leads into a subnet.
pub(crate) fn needs(state: &State, id: RouterId, subnet: SubnetId) -> bool {
    reached(state, id).iter().any(|ip| ip.subnet_id == subnet)
}

/// Refuses a router that has lost a leg which its floating IPs go by.
pub(crate) fn check_router(state: &State, id: RouterId) -> Result<()> {
    let legs: Vec<SubnetId> =
        state.interfaces_of_router(id).flat_map(|p| p.fixed_ips.iter().map(|ip| ip.subnet_id)).collect();
    match reached(state, id).iter().find(|ip| !legs.contains(&ip.subnet_id)) {
        Some(ip) => {
            let why = format!(
                "Router interface for subnet {} on router {id} cannot be deleted, as it is required by one or more \
                 floating IPs.",
                ip.subnet_id
            );
            Err(Error::conflict(why).coded("RouterInterfaceInUseByFloatingIP"))
        }
        None => Ok(()),
    }
}
