//! Networks: the records that own ports and subnets (Neutron's noun).

use crate::{
    NetworkId, Owned, ProjectId, QosPolicyId, Scoped, State,
    error::Error,
    network::mac::Mac,
    policy::{Action, Caller},
    record,
};
use std::{
    fmt::Display,
    net::{Ipv4Addr, Ipv6Addr},
};

record! {
    /// A network.
    pub struct Network: NetworkId {
        /// Its project.
        pub project_id: ProjectId,
        /// Need not be unique.
        #[serde(default)]
        pub name: String,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// False stops its traffic.
        pub admin_state_up: bool,
        /// True shows it to every project.
        #[serde(default)]
        pub shared: bool,
        /// True if it leads out of the cloud.
        #[serde(default)]
        pub external: bool,
        /// True if the network is external only for the projects that an RBAC policy names.
        #[serde(default)]
        pub external_restricted: bool,
        /// True for the network that servers get when they ask for none.
        #[serde(default)]
        pub is_default: bool,
        /// Largest packet in bytes.
        pub mtu: u32,
        /// Whether new ports of the network are filtered by default.
        pub port_security_enabled: bool,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
        /// The physical side: type, physical network, segment.
        #[serde(default)]
        pub provider: Provider,
        /// The domain of its ports' names, with a dot at the end; empty for none.
        #[serde(default)]
        pub dns_domain: String,
        /// The QoS policy of its ports without a policy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub qos_policy_id: Option<QosPolicyId>,
        /// Availability zones requested for DHCP and routers.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub availability_zone_hints: Vec<String>,
        /// True for the network that the cloud made for a project's request for `auto`.
        #[serde(default)]
        pub auto_allocated: bool,
    }
}

/// The physical side of a network.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Provider {
    /// `geneve`, `flat`, `vlan`; empty if the driver chooses.
    #[serde(default)]
    pub network_type: String,
    /// The physical network's name.
    #[serde(default)]
    pub physical_network: Option<String>,
    /// VLAN or tunnel id.
    #[serde(default)]
    pub segmentation_id: Option<u32>,
}

/// The physical network of external networks that name none.
pub const EXTERNAL_PHYSICAL_NETWORK: &str = "external";

/// The address of the metadata service for guests.
pub const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The same, for guests without IPv4.
pub const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

impl Network {
    /// The physical network and the VLAN that it is bridged to, if any.
    pub fn physical(&self) -> Option<(&str, Option<u32>)> {
        let Provider { network_type, physical_network, segmentation_id } = &self.provider;
        let vlan = segmentation_id.filter(|_| network_type == "vlan");
        match physical_network {
            Some(name) => Some((name, vlan)),
            None if self.external && network_type.is_empty() => Some((EXTERNAL_PHYSICAL_NETWORK, None)),
            None => None,
        }
    }
}

/// The name of the port by which a network is bridged to its physical network.
pub fn physical_port(network: NetworkId) -> String {
    format!("physical-{network}")
}

/// The name of the port by which hosts answer for a network's metadata.
pub fn metadata_port(network: NetworkId) -> String {
    format!("metadata-{network}")
}

/// The Ethernet address of that port: the same on all hosts, and outside the guests' prefix.
pub fn metadata_mac(network: NetworkId) -> Mac {
    let [.., a, b, c, d, e] = *network.0.as_bytes();
    Mac([0x0a, a, b, c, d, e])
}

impl Scoped for Network {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Network", id).coded("NetworkNotFound")
    }

    fn visible_to(&self, state: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
            || state.is_shared_with(caller, self)
            || state.is_external_for(caller, self)
    }
}

impl Owned for Network {
    const WRITE: Action = Action::NetworkWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
