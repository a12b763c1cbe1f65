//! Ports: the connection of a server and a network (Neutron's noun), and the allocation of addresses.

use crate::{
    HostId, NetworkId, Owned, PortId, ProjectId, QosPolicyId, Scoped, SecurityGroupId, ServerId, State,
    SubnetId,
    error::Error,
    network::{
        mac::Mac,
        subnet::{Subnet, to_address, to_number},
    },
    policy::{Action, Caller},
    record,
};
use serde::{Deserialize, Serialize};
use std::{fmt::Display, net::IpAddr};

/// An address of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FixedIp {
    /// The subnet of the address.
    pub subnet_id: SubnetId,
    /// The address.
    pub ip_address: IpAddr,
}

/// Addresses that a port may also send from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPair {
    /// An address or a range.
    pub ip_address: String,
    /// The Ethernet address of the pair; the port's own if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac_address: Option<Mac>,
}

/// The binding profile that an administrator sets: any JSON object.
pub type Profile = serde_json::Map<String, serde_json::Value>;

/// The purpose of a port, from its `device_owner`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PortOwner {
    /// Nothing yet.
    Nobody,
    /// A server (`compute:<zone>`).
    Server,
    /// A router's leg in a tenant's network; `device_id` is the router.
    RouterInterface,
    /// A router's leg in an external network; `device_id` is the router.
    RouterGateway,
    /// Holds the address of a floating IP; `device_id` is the floating IP.
    FloatingIp,
    /// The metadata service's port in a network, on each host.
    Metadata,
    /// Takes addresses for DHCP.
    Dhcp,
    /// A subport of a trunk; `device_id` is the trunk.
    TrunkSubport,
    /// A load balancer's address, which other ports announce.
    LoadBalancer,
    /// A purpose that only the client knows.
    Other,
}

impl PortOwner {
    /// The purpose that a `device_owner` names.
    pub fn of(device_owner: &str) -> Self {
        match device_owner {
            "" => Self::Nobody,
            "network:router_interface" => Self::RouterInterface,
            "network:router_gateway" => Self::RouterGateway,
            "network:floatingip" => Self::FloatingIp,
            "network:distributed" => Self::Metadata,
            "network:dhcp" => Self::Dhcp,
            "trunk:subport" => Self::TrunkSubport,
            owner if owner.to_ascii_lowercase().contains("loadbalancer") => Self::LoadBalancer,
            owner if owner.starts_with("compute:") => Self::Server,
            _ => Self::Other,
        }
    }

    /// The `device_owner` of the cloud's own ports; `None` if the client or the zone decides the `device_owner`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::RouterInterface => Some("network:router_interface"),
            Self::RouterGateway => Some("network:router_gateway"),
            Self::FloatingIp => Some("network:floatingip"),
            Self::Metadata => Some("network:distributed"),
            Self::Dhcp => Some("network:dhcp"),
            Self::TrunkSubport => Some("trunk:subport"),
            Self::Nobody => Some(""),
            Self::Server | Self::LoadBalancer | Self::Other => None,
        }
    }

    /// True for ports that are active without a host: no host plugs them.
    pub fn is_always_active(self) -> bool {
        matches!(self, Self::RouterInterface | Self::RouterGateway | Self::Metadata | Self::Dhcp)
    }

    /// True for ports that clients cannot remove directly: the port's router or floating IP removes them.
    pub fn is_routers(self) -> bool {
        matches!(self, Self::RouterInterface | Self::RouterGateway | Self::FloatingIp)
    }
}

/// A DHCP option of a port, besides the options of its subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpOption {
    /// Its name, as dnsmasq has it, or its number.
    pub name: String,
    /// Its value.
    pub value: String,
    /// 4 or 6.
    pub ip_version: u8,
}

record! {
    /// A port.
    pub struct Port: PortId {
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
        /// False stops its traffic.
        pub admin_state_up: bool,
        /// Its Ethernet address, unique in the network.
        pub mac: Mac,
        /// Its addresses.
        #[serde(default)]
        pub fixed_ips: Vec<FixedIp>,
        /// The device that it belongs to, as given (a server's id, or a client's text).
        #[serde(default)]
        pub device_id: String,
        /// The kind of the device (`compute:nova`).
        #[serde(default)]
        pub device_owner: String,
        /// The server it belongs to. Set only by the compute side.
        #[serde(default)]
        pub server_id: Option<ServerId>,
        /// Its place among the server's ports.
        #[serde(default)]
        pub server_index: u32,
        /// The tag under which its server's guest finds it in its metadata.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub device_tag: Option<String>,
        /// True if the port was made for its server. It is then deleted with the server.
        #[serde(default)]
        pub goes_with_server: bool,
        /// The host that plugs it.
        #[serde(default)]
        pub host_id: Option<HostId>,
        /// True once its host plugged it.
        #[serde(default)]
        pub plugged: bool,
        /// Its security groups.
        #[serde(default)]
        pub security_groups: Vec<SecurityGroupId>,
        /// Whether it is filtered.
        pub port_security_enabled: bool,
        /// Addresses it may also send from.
        #[serde(default)]
        pub allowed_address_pairs: Vec<AddressPair>,
        /// `normal`, …
        #[serde(default)]
        pub vnic_type: String,
        /// The binding profile that an administrator set.
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        pub binding_profile: Profile,
        /// The host that an administrator chose for a port without a server; empty for none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub binding_host: String,
        /// Its name in DNS; empty for none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub dns_name: String,
        /// The domain of that name, if it is not the network's domain.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub dns_domain: String,
        /// The port's own DHCP options.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub extra_dhcp_opts: Vec<DhcpOption>,
        /// The port's QoS policy; without one, the network's policy applies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub qos_policy_id: Option<QosPolicyId>,
        /// Whether the guest sees when the host loses its uplink. Only network cards with a hardware switch act on
        /// it.
        #[serde(default = "propagates")]
        pub propagate_uplink_status: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

/// The default for ports that do not set the field.
fn propagates() -> bool {
    true
}

impl Port {
    /// The `device_id` of a network's metadata port.
    pub fn metadata_device(network: NetworkId) -> String {
        format!("ovnmeta-{network}")
    }

    /// The port's purpose.
    pub fn owner(&self) -> PortOwner {
        PortOwner::of(&self.device_owner)
    }

    /// True if traffic can flow: a host plugged the port or its carrier, or the port needs no plugging.
    pub fn is_active(&self, state: &State) -> bool {
        self.owner().is_always_active() || self.carrier(state).is_some_and(|port| port.plugged)
    }

    /// The port that hosts plug for this port: for a subport the parent of its trunk, else the port itself.
    pub fn carrier<'s>(&'s self, state: &'s State) -> Option<&'s Port> {
        if self.owner() != PortOwner::TrunkSubport {
            return Some(self);
        }
        let trunk = state.trunk_of_subport(self.id)?;
        state.ports.get(&trunk.port_id).map(|port| &**port)
    }
}

/// A port's name in DNS: its own name, else the hostname of its server; empty for none.
pub fn dns_name<'s>(state: &'s State, port: &'s Port) -> &'s str {
    match port.dns_name.as_str() {
        "" => port.server_id.and_then(|id| state.servers.get(&id)).map_or("", |s| s.hostname.as_str()),
        own => own,
    }
}

/// The first free address of the subnet's pools; `None` if they are exhausted.
///
/// Walks taken addresses in order, so the cost is the run of taken addresses, not the size of the pool.
pub fn next_address(state: &State, subnet: &Subnet) -> Option<IpAddr> {
    subnet.pools.iter().find_map(|pool| {
        let mut candidate = to_number(pool.start);
        let last = to_number(pool.end);
        // Start after the highest address in use. Freed addresses are reused only after the pool has wrapped.
        if let Some(highest) = state.addresses_between(subnet.id, pool.start, pool.end).next_back() {
            candidate = to_number(highest).saturating_add(1);
        }
        if candidate <= last {
            return Some(to_address(candidate, pool.start));
        }
        first_gap(state, subnet.id, pool.start, pool.end)
    })
}

fn first_gap(state: &State, subnet: SubnetId, start: IpAddr, end: IpAddr) -> Option<IpAddr> {
    let mut candidate = to_number(start);
    for taken in state.addresses_between(subnet, start, end) {
        match to_number(taken) {
            taken if taken == candidate => candidate = candidate.checked_add(1)?,
            taken if taken > candidate => break,
            _ => {}
        }
    }
    (candidate <= to_number(end)).then(|| to_address(candidate, start))
}

impl Scoped for Port {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Port", id).coded("PortNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.networks.get(&self.network_id).is_some_and(|n| caller.sees(n.project_id))
    }
}

impl Owned for Port {
    const WRITE: Action = Action::PortWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_read_as_they_are_named() {
        use PortOwner::*;
        for owner in [Nobody, RouterInterface, RouterGateway, FloatingIp, Metadata, Dhcp, TrunkSubport] {
            assert_eq!(owner.name().map(PortOwner::of), Some(owner));
        }
        assert_eq!(PortOwner::of("compute:nova"), Server);
        assert_eq!(PortOwner::of("Octavia:LoadBalancerV2"), LoadBalancer);
        assert_eq!(PortOwner::of("network:something"), Other);
        assert!(!Server.is_always_active() && RouterGateway.is_always_active());
    }
}
