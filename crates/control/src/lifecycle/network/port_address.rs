//! The choice of a port's addresses.

use lenticular_model::{
    NetworkId, PortId, State, SubnetId, Txn,
    error::{Error, Result},
    network::{
        mac::Mac,
        network::Network,
        port::{FixedIp, Port, PortOwner, next_address},
        subnet::{Subnet, to_address, to_number},
    },
};
use std::{net::IpAddr, sync::Arc};

/// A requested address of a port: of this subnet, this address, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskIp {
    /// The subnet.
    pub subnet: Option<SubnetId>,
    /// The address.
    pub address: Option<IpAddr>,
}

/// The port that gets addresses, and its network.
pub(crate) struct Asker<'a> {
    /// The network.
    pub network: &'a Network,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// The port's device owner.
    pub device_owner: &'a str,
}

impl Asker<'_> {
    fn is_routers(&self) -> bool {
        PortOwner::of(self.device_owner).is_routers()
    }
}

/// The addresses of a port: the requested ones, else one of each family; and all that the guest forms itself.
pub(crate) fn choose(txn: &Txn<'_>, asker: &Asker<'_>, asked: Option<&[AskIp]>) -> Result<Vec<FixedIp>> {
    let network = asker.network;
    let subnets: Vec<Arc<Subnet>> = txn.subnets_of_network(network.id).cloned().collect();
    let mut chosen: Vec<FixedIp> = Vec::new();
    let open: Vec<&Arc<Subnet>> = subnets.iter().filter(|s| s.serves(asker.device_owner)).collect();
    let Some(asked) = asked else {
        if open.is_empty() && !subnets.is_empty() {
            let why = format!("No valid service subnet for the given device owner, network {}.", network.id);
            return Err(Error::conflict(why).coded("IpAddressGenerationFailureNoMatchingSubnet"));
        }
        for v4 in [true, false] {
            let fit =
                |s: &&&Arc<Subnet>| s.cidr.addr().is_ipv4() == v4 && (!s.is_slaac() || asker.is_routers());
            let fit: Vec<&&Arc<Subnet>> = open.iter().filter(fit).collect();
            let Some(first) = fit.first() else { continue };
            let found = fit.iter().find_map(|s| Some((s.id, next_address(txn, s)?)));
            let (subnet_id, ip_address) = found.ok_or_else(|| exhausted(network.id, first.id))?;
            chosen.push(FixedIp { subnet_id, ip_address });
        }
        form(asker, &open, &mut chosen);
        return Ok(chosen);
    };
    for ask in asked {
        let next = choose_one(txn, asker, &subnets, ask, &chosen)?;
        chosen.push(next);
    }
    form(asker, &open, &mut chosen);
    Ok(chosen)
}

/// Adds the addresses that a guest forms itself, besides those requested: it hears the subnet's router and uses
/// them.
fn form(asker: &Asker<'_>, open: &[&Arc<Subnet>], chosen: &mut Vec<FixedIp>) {
    if !forms(PortOwner::of(asker.device_owner)) {
        return;
    }
    for subnet in open.iter().filter(|s| s.is_slaac()) {
        if chosen.iter().all(|ip| ip.subnet_id != subnet.id) {
            chosen.push(slaac(subnet, asker.mac));
        }
    }
}

/// Whether the device of such a port forms addresses itself.
fn forms(owner: PortOwner) -> bool {
    !owner.is_routers() && !owner.is_always_active() && owner != PortOwner::FloatingIp
}

/// Replaces the addresses that were formed from the old Ethernet address.
pub(crate) fn reform(state: &State, fixed_ips: &mut [FixedIp], old: Mac, new: Mac) {
    for ip in fixed_ips {
        let formed = state.subnets.get(&ip.subnet_id).filter(|s| s.is_slaac());
        if let Some(subnet) = formed.filter(|s| slaac(s, old) == *ip) {
            *ip = slaac(subnet, new);
        }
    }
}

/// The address that a guest forms itself (RFC 4291, appendix A).
fn slaac(subnet: &Subnet, mac: Mac) -> FixedIp {
    let number = to_number(subnet.cidr.network()) | u128::from(mac.interface_id());
    FixedIp { subnet_id: subnet.id, ip_address: to_address(number, subnet.cidr.network()) }
}

fn exhausted(network: NetworkId, subnet: SubnetId) -> Error {
    Error::conflict(format!("No more IP addresses available on network {network}, subnet {subnet}."))
        .coded("IpAddressGenerationFailure")
}

fn find_subnet<'s>(asker: &Asker<'_>, subnets: &'s [Arc<Subnet>], ask: &AskIp) -> Result<&'s Arc<Subnet>> {
    match (ask.subnet, ask.address) {
        (Some(id), _) => subnets.iter().find(|s| s.id == id).ok_or_else(|| {
            Error::invalid(format!(
                "Invalid input for operation: Failed to create port on network {}, because fixed_ips included \
                 invalid subnet {id}.",
                asker.network.id
            ))
            .coded("InvalidInput")
        }),
        (None, Some(address)) => subnets.iter().find(|s| s.cidr.contains(&address)).ok_or_else(|| {
            Error::invalid(format!(
                "IP address {address} is not a valid IP for any of the subnets on the specified network."
            ))
            .coded("InvalidIpForNetwork")
        }),
        (None, None) => Err(Error::invalid("IP allocation requires subnet_id or ip_address.").coded("InvalidInput")),
    }
}

fn choose_one(
    txn: &Txn<'_>,
    asker: &Asker<'_>,
    subnets: &[Arc<Subnet>],
    ask: &AskIp,
    chosen: &[FixedIp],
) -> Result<FixedIp> {
    let subnet = find_subnet(asker, subnets, ask)?;
    let formed = (subnet.is_slaac() && !asker.is_routers()).then(|| slaac(subnet, asker.mac));
    let Some(address) = ask.address else {
        if let Some(formed) = formed {
            return Ok(formed);
        }
        let ip_address =
            next_free(txn, subnet, chosen).ok_or_else(|| exhausted(asker.network.id, subnet.id))?;
        return Ok(FixedIp { subnet_id: subnet.id, ip_address });
    };
    if !Subnet::usable(&subnet.cidr, address) {
        return Err(Error::invalid(format!(
            "IP address {address} is not a valid IP for the specified subnet."
        ))
        .coded("InvalidIpForSubnet"));
    }
    if formed.is_some_and(|formed| formed.ip_address != address) {
        let why = format!(
            "IPv6 address {address} can not be directly assigned to a port on subnet {} since the subnet is \
             configured for automatic addresses.",
            subnet.id
        );
        return Err(Error::invalid(why).coded("AllocationOnAutoAddressSubnet"));
    }
    let fixed = FixedIp { subnet_id: subnet.id, ip_address: address };
    if chosen.contains(&fixed) || txn.port_with_address(subnet.id, address).is_some() {
        return Err(Error::conflict(format!(
            "IP address {address} already allocated in subnet {}",
            subnet.id
        ))
        .coded("IpAddressAlreadyAllocated"));
    }
    Ok(fixed)
}

/// Like `next_address`, but also skips chosen addresses that are not written yet.
fn next_free(txn: &Txn<'_>, subnet: &Subnet, chosen: &[FixedIp]) -> Option<IpAddr> {
    let first = next_address(txn, subnet)?;
    let taken = |ip: IpAddr| {
        chosen.contains(&FixedIp { subnet_id: subnet.id, ip_address: ip })
            || txn.port_with_address(subnet.id, ip).is_some()
    };
    let pool = subnet.pools.iter().find(|pool| pool.contains(first))?;
    let mut number = to_number(first);
    while number <= to_number(pool.end) {
        let ip = to_address(number, first);
        if !taken(ip) {
            return Some(ip);
        }
        number += 1;
    }
    None
}

/// Gives the existing ports of a network the addresses that they form themselves in a new subnet.
pub(crate) fn add_formed(txn: &mut Txn<'_>, id: SubnetId) {
    let Some(subnet) = txn.subnets.get(&id).filter(|s| s.is_slaac()).cloned() else { return };
    let ports = txn.ports_of_network(subnet.network_id).filter(|p| forms(p.owner()));
    let ports: Vec<PortId> = ports.map(|p| p.id).collect();
    for port in ports {
        txn.update::<Port>(&port, |p| {
            p.fixed_ips.push(slaac(&subnet, p.mac));
            p.revision += 1;
        });
    }
}
