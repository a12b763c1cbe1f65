//! Subnets: the address ranges of a network, and the choice of the next address (Neutron's noun).

use crate::{
    NetworkId, Owned, ProjectId, Scoped, State, SubnetId, SubnetPoolId,
    error::Error,
    network::network::Network,
    policy::{Action, Caller},
    record,
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    fmt::Display,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// Addresses from `start` to `end`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The first address.
    pub start: IpAddr,
    /// The last address.
    pub end: IpAddr,
}

/// A route that DHCP gives to guests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostRoute {
    /// The destination.
    pub destination: IpNet,
    /// The next hop.
    pub nexthop: IpAddr,
}

record! {
    /// A subnet.
    pub struct Subnet: SubnetId {
        /// Its project.
        pub project_id: ProjectId,
        /// Its network.
        pub network_id: NetworkId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// Its range, with no bits beyond the prefix.
        pub cidr: IpNet,
        /// The router's address; `None` for a subnet that leads nowhere.
        pub gateway: Option<IpAddr>,
        /// Whether guests are configured by DHCP.
        pub enable_dhcp: bool,
        /// The ranges of addresses that ports get.
        pub pools: Vec<Pool>,
        /// Resolvers that DHCP gives to guests.
        #[serde(default)]
        pub dns_nameservers: Vec<IpAddr>,
        /// Routes that DHCP gives to guests.
        #[serde(default)]
        pub host_routes: Vec<HostRoute>,
        /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
        #[serde(default)]
        pub ipv6_ra_mode: Option<String>,
        /// `slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`.
        #[serde(default)]
        pub ipv6_address_mode: Option<String>,
        /// The pool that its range was taken from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub subnet_pool_id: Option<SubnetPoolId>,
        /// The device owners whose ports get addresses here; empty for all.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub service_types: Vec<String>,
        /// Whether its addresses are published in DNS.
        #[serde(default)]
        pub dns_publish_fixed_ip: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

/// The address as a number.
pub fn to_number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address `number` in the family of `like`.
pub fn to_address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from(number)),
    }
}

impl Pool {
    /// The number of addresses.
    pub fn size(&self) -> u128 {
        to_number(self.end).saturating_sub(to_number(self.start)).saturating_add(1)
    }

    /// Whether the address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv4() == self.start.is_ipv4() && self.start <= address && address <= self.end
    }
}

/// Whether two ranges have an address in common.
pub fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

impl Subnet {
    /// True if guests form their addresses themselves, from the prefix and their Ethernet address.
    pub fn is_slaac(&self) -> bool {
        let by_itself = |mode: &Option<String>| matches!(mode.as_deref(), Some("slaac" | "dhcpv6-stateless"));
        by_itself(&self.ipv6_address_mode) || by_itself(&self.ipv6_ra_mode)
    }

    /// Whether a port with this device owner gets addresses of the subnet without naming it.
    pub fn serves(&self, device_owner: &str) -> bool {
        self.service_types.is_empty()
            || self
                .service_types
                .iter()
                .any(|t| !device_owner.is_empty() && device_owner.starts_with(t.as_str()))
    }

    /// True if guests reach the metadata service through an address of this subnet.
    pub fn has_metadata(&self) -> bool {
        self.enable_dhcp && self.cidr.addr().is_ipv4()
    }

    /// Whether a host may have the address: inside the range and, for IPv4, neither its first nor its last.
    pub fn usable(cidr: &IpNet, address: IpAddr) -> bool {
        let edge = match cidr {
            IpNet::V4(net) if net.prefix_len() < 31 => {
                address == IpAddr::V4(net.network()) || address == IpAddr::V4(net.broadcast())
            }
            IpNet::V4(_) => false,
            IpNet::V6(net) => net.prefix_len() < 127 && address == IpAddr::V6(net.network()),
        };
        cidr.contains(&address) && !edge
    }

    /// The pools of a subnet that names none: every usable address except the gateway's.
    pub fn default_pools(cidr: &IpNet, gateway: Option<IpAddr>) -> Vec<Pool> {
        let small = cidr.max_prefix_len() - cidr.prefix_len() < 2;
        let (skip_low, skip_high) = match cidr {
            _ if small => (0, 0),
            IpNet::V4(_) => (1, 1),
            IpNet::V6(_) => (1, 0),
        };
        let first = to_number(cidr.network()) + skip_low;
        let last = to_number(cidr.broadcast()) - skip_high;
        let pool = |a: u128, b: u128| {
            (a <= b)
                .then(|| Pool { start: to_address(a, cidr.network()), end: to_address(b, cidr.network()) })
        };
        match gateway.map(to_number).filter(|g| (first..=last).contains(g)) {
            Some(g) => {
                let below = g.checked_sub(1).and_then(|b| pool(first, b));
                below.into_iter().chain(pool(g + 1, last)).collect()
            }
            None => pool(first, last).into_iter().collect(),
        }
    }
}

impl Scoped for Subnet {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Subnet", id).coded("SubnetNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        let of_visible_network =
            |n: &Arc<Network>| caller.sees(n.project_id) || state.is_shared_with(caller, n);
        caller.sees(self.project_id) || state.networks.get(&self.network_id).is_some_and(of_visible_network)
    }
}

impl Owned for Subnet {
    const WRITE: Action = Action::NetworkWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_pools_leave_out_gateway_and_edges() {
        let cidr: IpNet = "10.0.0.0/29".parse().unwrap();
        let pools = Subnet::default_pools(&cidr, Some("10.0.0.1".parse().unwrap()));
        assert_eq!(pools, [Pool { start: "10.0.0.2".parse().unwrap(), end: "10.0.0.6".parse().unwrap() }]);
        let pools = Subnet::default_pools(&cidr, Some("10.0.0.3".parse().unwrap()));
        assert_eq!(pools.iter().map(Pool::size).sum::<u128>(), 5);
        let one: IpNet = "10.0.0.9/32".parse().unwrap();
        assert_eq!(Subnet::default_pools(&one, None).len(), 1);
    }
}
