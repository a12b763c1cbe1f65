//! Subnets: their making, change and removal.

use super::{network, quota};
use ipnet::IpNet;
use lenticular_model::{
    error::{Error, Result},
    policy::{self, Action, Caller},
    subnet::{to_address, to_number, HostRoute, Pool, Subnet},
    NetworkId, ProjectId, State, SubnetId, Txn,
};
use std::{net::IpAddr, sync::Arc};

/// The router's address that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// The first of the range.
    First,
    /// None: the subnet leads nowhere.
    None,
    /// This one.
    At(IpAddr),
}

/// What a new subnet is to be.
#[derive(Debug, Clone)]
pub struct NewSubnet {
    /// Its project.
    pub project_id: ProjectId,
    /// Its network.
    pub network_id: NetworkId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its range.
    pub cidr: IpNet,
    /// Its router.
    pub gateway: Gateway,
    /// Whether it has DHCP.
    pub enable_dhcp: bool,
    /// What is handed out; `None` for all.
    pub pools: Option<Vec<Pool>>,
    /// Resolvers.
    pub dns_nameservers: Vec<IpAddr>,
    /// Routes.
    pub host_routes: Vec<HostRoute>,
    /// IPv6 router advertisements.
    pub ipv6_ra_mode: Option<String>,
    /// IPv6 addressing.
    pub ipv6_address_mode: Option<String>,
}

/// The subnets of a network.
pub fn of_network(state: &State, id: NetworkId) -> impl Iterator<Item = &Arc<Subnet>> {
    let range = state.index.network_subnets.range((id, SubnetId(Default::default()))..);
    range.take_while(move |(n, _)| *n == id).filter_map(|(_, subnet)| state.subnets.get(subnet))
}

/// The subnet, if it exists for the caller.
pub fn visible(state: &State, caller: &Caller, id: SubnetId) -> Result<Arc<Subnet>> {
    let seen = |s: &&Arc<Subnet>| {
        caller.sees(s.project_id) || network::visible(state, caller, s.network_id).is_ok_and(|n| n.shared)
    };
    let subnet = state.subnets.get(&id).filter(seen).cloned();
    subnet.ok_or_else(|| Error::not_found("Subnet", id).coded("SubnetNotFound"))
}

fn bad(message: String) -> Error {
    Error::invalid(message).coded("InvalidInput")
}

/// Creates a subnet.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewSubnet) -> Result<SubnetId> {
    let owner = network::visible(txn, caller, new.network_id)?;
    policy::check(caller, Action::NetworkWrite, Some(owner.project_id))?;
    policy::check(caller, Action::NetworkWrite, Some(new.project_id))?;
    let used = txn.subnets.values().filter(|s| s.project_id == new.project_id).count();
    quota::check_network(txn, new.project_id, "subnet", used)?;
    put(txn, new)
}

/// Makes a subnet with the usual settings.
pub(super) fn put_simple(
    txn: &mut Txn<'_>,
    project_id: ProjectId,
    network_id: NetworkId,
    name: &str,
    cidr: &str,
) -> Result<SubnetId> {
    let cidr = cidr.parse().map_err(Error::internal)?;
    let new = NewSubnet {
        project_id,
        network_id,
        name: name.to_owned(),
        description: String::new(),
        cidr,
        gateway: Gateway::First,
        enable_dhcp: true,
        pools: None,
        dns_nameservers: Vec::new(),
        host_routes: Vec::new(),
        ipv6_ra_mode: None,
        ipv6_address_mode: None,
    };
    put(txn, new)
}

fn put(txn: &mut Txn<'_>, new: NewSubnet) -> Result<SubnetId> {
    let cidr = new.cidr.trunc();
    if cidr.prefix_len() == 0 {
        return Err(bad(format!("'{cidr}' is not a usable range: its prefix length is 0.")));
    }
    let address = cidr.addr();
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    if address.is_loopback() || address.is_multicast() || link_local {
        return Err(bad(format!("'{cidr}' is not a usable range: it is loopback, multicast or link-local.")));
    }
    if new.enable_dhcp {
        check_dhcp(&cidr)?;
    }
    if let Some(other) = of_network(txn, new.network_id).find(|s| overlap(&s.cidr, &cidr)) {
        return Err(bad(format!(
            "Invalid input for operation: Requested subnet with cidr: {cidr} for network: {} overlaps with another \
             subnet: {}.",
            new.network_id, other.cidr
        )));
    }
    let gateway = match new.gateway {
        Gateway::None => None,
        Gateway::At(address) => Some(check_gateway(&cidr, address)?),
        Gateway::First => first_gateway(&cidr),
    };
    let pools = match new.pools {
        Some(pools) => check_pools(&cidr, gateway, pools)?,
        None => Subnet::default_pools(&cidr, gateway),
    };
    check_ipv6(&cidr, &new.ipv6_ra_mode, &new.ipv6_address_mode)?;
    let id = SubnetId::from_random(txn.random());
    txn.put(Subnet {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        network_id: new.network_id,
        name: new.name,
        description: new.description,
        cidr,
        gateway,
        enable_dhcp: new.enable_dhcp,
        pools,
        dns_nameservers: new.dns_nameservers,
        host_routes: new.host_routes,
        ipv6_ra_mode: new.ipv6_ra_mode,
        ipv6_address_mode: new.ipv6_address_mode,
        subnet_pool_id: None,
        service_types: Vec::new(),
        dns_publish_fixed_ip: false,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    Ok(id)
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

/// DHCP needs an address for itself beside the router's and a guest's.
fn check_dhcp(cidr: &IpNet) -> Result<()> {
    match cidr.max_prefix_len() - cidr.prefix_len() < 2 {
        true => Err(bad(
            "Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled."
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// The address behind the range's own. A range of one address keeps that one for a guest: its router is outside, or,
/// where there is no address behind it, nowhere.
fn first_gateway(cidr: &IpNet) -> Option<IpAddr> {
    let next = match cidr.network() {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(u128::from),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1),
    };
    next.map(|number| to_address(number, cidr.network()))
}

fn check_gateway(cidr: &IpNet, address: IpAddr) -> Result<IpAddr> {
    // A router may have a link-local address, or one outside the range, but not an edge of it.
    let edge = cidr.contains(&address) && !Subnet::usable(cidr, address) && cidr.addr().is_ipv4();
    if edge || address.is_ipv4() != cidr.addr().is_ipv4() {
        return Err(bad(format!(
            "Invalid input for operation: Gateway is not valid on subnet {cidr}: {address}."
        )));
    }
    Ok(address)
}

fn check_pools(cidr: &IpNet, gateway: Option<IpAddr>, mut pools: Vec<Pool>) -> Result<Vec<Pool>> {
    for pool in &pools {
        let range = format!("{}-{}", pool.start, pool.end);
        if pool.start.is_ipv4() != pool.end.is_ipv4() || pool.start > pool.end {
            return Err(
                bad(format!("The allocation pool {range} is not valid.")).coded("InvalidAllocationPool")
            );
        }
        if !(Subnet::usable(cidr, pool.start) && Subnet::usable(cidr, pool.end)) {
            let why = format!("The allocation pool {range} spans beyond the subnet cidr {cidr}.");
            return Err(bad(why).coded("OutOfBoundsAllocationPool"));
        }
        if let Some(gateway) = gateway.filter(|g| pool.contains(*g)) {
            let why = format!("Gateway ip {gateway} conflicts with allocation pool {range}.");
            return Err(Error::conflict(why).coded("GatewayConflictWithAllocationPools"));
        }
    }
    pools.sort_by_key(|p| to_number(p.start));
    if pools.windows(2).any(|w| w[0].end >= w[1].start) {
        let why = format!("Found overlapping allocation pools for subnet {cidr}.");
        return Err(Error::conflict(why).coded("OverlappingAllocationPools"));
    }
    Ok(pools)
}

fn check_ipv6(cidr: &IpNet, ra: &Option<String>, address: &Option<String>) -> Result<()> {
    let modes = ["slaac", "dhcpv6-stateful", "dhcpv6-stateless"];
    for (name, mode) in [("ipv6_ra_mode", ra), ("ipv6_address_mode", address)] {
        let Some(mode) = mode else { continue };
        if !modes.contains(&mode.as_str()) {
            return Err(bad(format!("Invalid input for {name}. '{mode}' is not one of {modes:?}.")));
        }
        if cidr.addr().is_ipv4() {
            return Err(bad(format!(
                "Invalid input for operation: {name} is not valid when ip_version is 4."
            )));
        }
        if mode != "dhcpv6-stateful" && cidr.prefix_len() != 64 {
            let why = format!(
                "Invalid input for operation: Invalid CIDR {cidr} for IPv6 address mode: it must be a /64."
            );
            return Err(bad(why));
        }
    }
    match (ra, address) {
        (Some(ra), Some(address)) if ra != address => Err(bad(format!(
            "Invalid input for operation: ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is \
             not valid. If both attributes are set, they must be the same value."
        ))),
        _ => Ok(()),
    }
}

/// What an update changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct SubnetChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The router's address; `Some(None)` takes it away.
    pub gateway: Option<Option<IpAddr>>,
    /// Whether it has DHCP.
    pub enable_dhcp: Option<bool>,
    /// What is handed out.
    pub pools: Option<Vec<Pool>>,
    /// Resolvers.
    pub dns_nameservers: Option<Vec<IpAddr>>,
    /// Routes.
    pub host_routes: Option<Vec<HostRoute>>,
}

/// Changes a subnet.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: SubnetId, change: SubnetChange) -> Result<()> {
    let mut subnet = Subnet::clone(&*visible(txn, caller, id)?);
    policy::check(caller, Action::NetworkWrite, Some(subnet.project_id))?;
    if change.enable_dhcp == Some(true) && !subnet.enable_dhcp {
        check_dhcp(&subnet.cidr)?;
    }
    match change.gateway {
        Some(Some(address)) => subnet.gateway = Some(check_gateway(&subnet.cidr, address)?),
        Some(None) => subnet.gateway = None,
        None => {}
    }
    let pools = change.pools.unwrap_or(subnet.pools);
    subnet.pools = check_pools(&subnet.cidr, subnet.gateway, pools)?;
    subnet.name = change.name.unwrap_or(subnet.name);
    subnet.description = change.description.unwrap_or(subnet.description);
    subnet.enable_dhcp = change.enable_dhcp.unwrap_or(subnet.enable_dhcp);
    subnet.dns_nameservers = change.dns_nameservers.unwrap_or(subnet.dns_nameservers);
    subnet.host_routes = change.host_routes.unwrap_or(subnet.host_routes);
    subnet.revision += 1;
    subnet.updated_at = Some(txn.now);
    txn.put(subnet);
    Ok(())
}

/// Removes a subnet that no port has an address of.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SubnetId) -> Result<()> {
    let subnet = visible(txn, caller, id)?;
    policy::check(caller, Action::NetworkWrite, Some(subnet.project_id))?;
    let (low, high) = (subnet.cidr.network(), subnet.cidr.broadcast());
    if txn.index.addresses_between(id, low, high).next().is_some() {
        let why = format!("Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet.");
        return Err(Error::conflict(why).coded("SubnetInUse"));
    }
    txn.delete::<Subnet>(&id);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_one_address_has_neither_dhcp_nor_its_gateway_in_it() {
        let gateway = |cidr: &str| first_gateway(&cidr.parse().unwrap()).map(|a| a.to_string());
        assert_eq!(gateway("10.0.0.0/24").as_deref(), Some("10.0.0.1"));
        assert_eq!(gateway("10.0.0.9/32").as_deref(), Some("10.0.0.10"));
        assert_eq!(gateway("255.255.255.255/32"), None);
        assert_eq!(gateway("fd00::/64").as_deref(), Some("fd00::1"));
        let dhcp = |cidr: &str| check_dhcp(&cidr.parse().unwrap()).is_ok();
        assert!(dhcp("10.0.0.0/30") && dhcp("fd00::/126"));
        assert!(!dhcp("10.0.0.0/31") && !dhcp("10.0.0.9/32") && !dhcp("fd00::/127"));
    }
}
