//! Subnets: their creation, change and removal.

use crate::{
    command::network::{check, pool_range},
    lifecycle::network::cascade,
    quota,
};
use ipnet::IpNet;
use lenticular_model::{
    NetworkId, ProjectId, Scoped, State, SubnetId, SubnetPoolId, Txn,
    error::{Error, Result},
    network::{
        mtu,
        network::Network,
        port::{Port, PortOwner},
        subnet::{HostRoute, Pool, Subnet, overlap, to_address, to_number},
        subnet_pool::SubnetPool,
    },
    policy::{self, Action, Caller},
};
use std::{net::IpAddr, sync::Arc};

/// The gateway address that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gateway {
    /// The first address of the range.
    First,
    /// None: the subnet leads nowhere.
    None,
    /// This address.
    At(IpAddr),
}

/// The source of a new subnet's range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From the request.
    Given(IpNet),
    /// From a pool: this range, or a free range of this prefix length, or of the pool's default length.
    Pool {
        /// The pool.
        pool: SubnetPoolId,
        /// The range.
        cidr: Option<IpNet>,
        /// The prefix length.
        prefixlen: Option<u8>,
    },
}

/// The settings of a new subnet.
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
    pub range: Range,
    /// Its gateway.
    pub gateway: Gateway,
    /// Whether it has DHCP.
    pub enable_dhcp: bool,
    /// The address ranges; `None` for all usable addresses.
    pub pools: Option<Vec<Pool>>,
    /// Resolvers.
    pub dns_nameservers: Vec<IpAddr>,
    /// Routes.
    pub host_routes: Vec<HostRoute>,
    /// IPv6 router advertisements.
    pub ipv6_ra_mode: Option<String>,
    /// IPv6 addressing.
    pub ipv6_address_mode: Option<String>,
    /// The device owners whose ports get addresses of the subnet; none or empty for all.
    pub service_types: Option<Vec<String>>,
    /// Whether its addresses are published in DNS.
    pub dns_publish_fixed_ip: bool,
}

impl NewSubnet {
    /// A subnet with the usual settings.
    pub fn of(project_id: ProjectId, network_id: NetworkId, range: Range) -> Self {
        Self {
            project_id,
            network_id,
            name: String::new(),
            description: String::new(),
            range,
            gateway: Gateway::First,
            enable_dhcp: true,
            pools: None,
            dns_nameservers: Vec::new(),
            host_routes: Vec::new(),
            ipv6_ra_mode: None,
            ipv6_address_mode: None,
            service_types: None,
            dns_publish_fixed_ip: false,
        }
    }
}

/// The subnet, if the caller may change it: the caller's project owns the subnet or its network.
fn changeable(state: &State, caller: &Caller, id: SubnetId) -> Result<Arc<Subnet>> {
    let subnet = state.visible::<Subnet>(caller, &id)?;
    let network = state.networks.get(&subnet.network_id).map_or(subnet.project_id, |n| n.project_id);
    policy::check(caller, Action::NetworkWrite, Some(subnet.project_id))
        .or_else(|_| policy::check(caller, Action::NetworkWrite, Some(network)))?;
    Ok(subnet)
}

fn bad(message: String) -> Error {
    Error::invalid(message).coded("InvalidInput")
}

/// Creates a subnet.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewSubnet) -> Result<SubnetId> {
    let owner = txn.visible::<Network>(caller, &new.network_id)?;
    policy::check(caller, Action::NetworkWrite, Some(owner.project_id))?;
    policy::check(caller, Action::NetworkWrite, Some(new.project_id))?;
    if new.service_types.is_some() {
        policy::check(caller, Action::SubnetServiceTypes, None)?;
    }
    quota::need_network(txn, new.project_id, "subnet")?;
    if let Range::Pool { pool, .. } = new.range {
        txn.visible::<SubnetPool>(caller, &pool)?;
    }
    put(txn, new)
}

/// The range of a new subnet, and the pool of the range.
fn choose_range(state: &State, new: &NewSubnet) -> Result<(IpNet, Option<SubnetPoolId>)> {
    let (cidr, pool) = match new.range {
        Range::Given(cidr) => (cidr.trunc(), None),
        Range::Pool { pool, cidr, prefixlen } => {
            let found = state.subnet_pools.get(&pool).ok_or_else(|| SubnetPool::missing(pool))?;
            (pool_range::allocate(state, found, new.project_id, cidr, prefixlen)?, Some(pool))
        }
    };
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
    for other in state.subnets_of_network(new.network_id) {
        if overlap(&other.cidr, &cidr) {
            return Err(bad(format!(
                "Invalid input for operation: Requested subnet with cidr: {cidr} for network: {} overlaps with another \
                 subnet: {}.",
                new.network_id, other.cidr
            )));
        }
        let same_family = other.cidr.addr().is_ipv4() == address.is_ipv4();
        if same_family && other.subnet_pool_id != pool {
            let why = "Subnets hosted on the same network must be allocated from the same subnet pool.";
            return Err(bad(why.to_owned()).coded("NetworkSubnetPoolAffinityError"));
        }
    }
    Ok((cidr, pool))
}

/// Makes a subnet. Existing ports that form their addresses themselves get addresses of it.
pub(crate) fn put(txn: &mut Txn<'_>, new: NewSubnet) -> Result<SubnetId> {
    let (cidr, subnet_pool_id) = choose_range(txn, &new)?;
    let mtu = txn.networks.get(&new.network_id).map_or(mtu::TUNNELED, |network| network.mtu);
    if cidr.addr().is_ipv6() && mtu < mtu::IPV6_MIN {
        return Err(check::too_small_for_ipv6(new.network_id, mtu));
    }
    if new.enable_dhcp {
        check_dhcp(&cidr)?;
    }
    check_ipv6(&cidr, &new.ipv6_ra_mode, &new.ipv6_address_mode)?;
    if !new.enable_dhcp && (new.ipv6_ra_mode.is_some() || new.ipv6_address_mode.is_some()) {
        let why = "Invalid input for operation: ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is \
                   set to False.";
        return Err(bad(why.to_owned()));
    }
    let service_types = new.service_types.unwrap_or_default();
    check_service_types(&service_types)?;
    let gateway = match new.gateway {
        Gateway::None => None,
        Gateway::At(address) => Some(check_gateway(&cidr, address)?),
        Gateway::First => first_gateway(&cidr),
    };
    let pools = match new.pools {
        Some(pools) => check_pools(&cidr, gateway, pools)?,
        None => Subnet::default_pools(&cidr, gateway),
    };
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
        subnet_pool_id,
        service_types,
        dns_publish_fixed_ip: new.dns_publish_fixed_ip,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    revise_network(txn, new.network_id);
    cascade::on_subnet_created(txn, id);
    Ok(id)
}

fn check_service_types(types: &[String]) -> Result<()> {
    let known = |t: &str| {
        ["network:", "compute:", "baremetal:", "trunk:", "neutron:"].iter().any(|p| t.starts_with(p))
    };
    match types.iter().find(|t| !known(t) || t.len() > 255) {
        Some(wrong) => {
            let why = format!("Subnet service type {wrong} does not correspond to a valid device owner.");
            Err(Error::invalid(why).coded("InvalidSubnetServiceType"))
        }
        None => Ok(()),
    }
}

/// DHCP needs an address for itself, besides the router's and a guest's.
fn check_dhcp(cidr: &IpNet) -> Result<()> {
    match cidr.max_prefix_len() - cidr.prefix_len() < 2 {
        true => Err(bad(
            "Invalid input for operation: Subnet has a prefix length that is incompatible with DHCP service enabled."
                .to_owned(),
        )),
        false => Ok(()),
    }
}

/// The first address after the range's own. A range of one address keeps that address for a guest. Its gateway is
/// then outside the range, or, after the last address, there is none.
fn first_gateway(cidr: &IpNet) -> Option<IpAddr> {
    let next = match cidr.network() {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(u128::from),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1),
    };
    next.map(|number| to_address(number, cidr.network()))
}

fn check_gateway(cidr: &IpNet, address: IpAddr) -> Result<IpAddr> {
    // A gateway may be link-local or outside the range, but not the first or last address of the range.
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

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct SubnetChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// The gateway's address; `Some(None)` removes it.
    pub gateway: Option<Option<IpAddr>>,
    /// Whether it has DHCP.
    pub enable_dhcp: Option<bool>,
    /// The address ranges.
    pub pools: Option<Vec<Pool>>,
    /// Resolvers.
    pub dns_nameservers: Option<Vec<IpAddr>>,
    /// Routes.
    pub host_routes: Option<Vec<HostRoute>>,
    /// The device owners whose ports get addresses of the subnet.
    pub service_types: Option<Vec<String>>,
    /// Whether its addresses are published in DNS.
    pub dns_publish_fixed_ip: Option<bool>,
}

/// Changes a subnet.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: SubnetId, change: SubnetChange) -> Result<()> {
    let mut subnet = Subnet::clone(&*changeable(txn, caller, id)?);
    if change.service_types.is_some() {
        policy::check(caller, Action::SubnetServiceTypes, None)?;
    }
    match change.enable_dhcp {
        Some(true) if !subnet.enable_dhcp => check_dhcp(&subnet.cidr)?,
        Some(false) if subnet.ipv6_ra_mode.is_some() || subnet.ipv6_address_mode.is_some() => {
            let why = "Invalid input for operation: Cannot disable enable_dhcp with ipv6 attributes set.";
            return Err(bad(why.to_owned()));
        }
        _ => {}
    }
    if let Some(gateway) = change.gateway.filter(|g| *g != subnet.gateway) {
        check_gateway_free(txn, &subnet)?;
        subnet.gateway = gateway.map(|address| check_gateway(&subnet.cidr, address)).transpose()?;
    }
    if let Some(types) = &change.service_types {
        check_service_types(types)?;
    }
    let pools = change.pools.unwrap_or(subnet.pools);
    subnet.pools = check_pools(&subnet.cidr, subnet.gateway, pools)?;
    subnet.name = change.name.unwrap_or(subnet.name);
    subnet.description = change.description.unwrap_or(subnet.description);
    subnet.enable_dhcp = change.enable_dhcp.unwrap_or(subnet.enable_dhcp);
    subnet.dns_nameservers = change.dns_nameservers.unwrap_or(subnet.dns_nameservers);
    subnet.host_routes = change.host_routes.unwrap_or(subnet.host_routes);
    subnet.service_types = change.service_types.unwrap_or(subnet.service_types);
    subnet.dns_publish_fixed_ip = change.dns_publish_fixed_ip.unwrap_or(subnet.dns_publish_fixed_ip);
    subnet.revision += 1;
    subnet.updated_at = Some(txn.now);
    revise_network(txn, subnet.network_id);
    txn.put(subnet);
    cascade::on_subnet_changed(txn, id);
    Ok(())
}

/// Renews the revision of a network: its subnets are part of it.
fn revise_network(txn: &mut Txn<'_>, id: NetworkId) {
    txn.update::<Network>(&id, |n| n.revision += 1);
}

/// Refuses to change a gateway address that a router has.
fn check_gateway_free(state: &State, subnet: &Subnet) -> Result<()> {
    let Some(gateway) = subnet.gateway else { return Ok(()) };
    let holder = state.port_with_address(subnet.id, gateway);
    match holder.filter(|p| p.owner() == PortOwner::RouterInterface) {
        Some(port) => {
            let why =
                format!("Current gateway ip {gateway} already in use by port {}. Unable to update.", port.id);
            Err(Error::conflict(why).coded("GatewayIpInUse"))
        }
        None => Ok(()),
    }
}

/// Removes a subnet without ports. Addresses that ports formed themselves, and the cloud's own, are removed with
/// it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SubnetId) -> Result<()> {
    let subnet = changeable(txn, caller, id)?;
    let (low, high) = (subnet.cidr.network(), subnet.cidr.broadcast());
    let mut holders: Vec<Arc<Port>> = txn.ports_with_addresses(id, low, high).cloned().collect();
    holders.dedup_by_key(|p| p.id);
    let goes = |p: &Port| match p.owner() {
        PortOwner::Metadata | PortOwner::Dhcp => true,
        owner => subnet.is_slaac() && !owner.is_routers(),
    };
    if !holders.iter().all(|p| goes(p)) {
        let why = format!(
            "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."
        );
        return Err(Error::conflict(why).coded("SubnetInUse"));
    }
    for port in holders {
        txn.update::<Port>(&port.id, |p| {
            p.fixed_ips.retain(|ip| ip.subnet_id != id);
            p.revision += 1;
        });
    }
    txn.delete::<Subnet>(&id);
    revise_network(txn, subnet.network_id);
    cascade::sync_metadata(txn, subnet.network_id);
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
