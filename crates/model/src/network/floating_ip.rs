//! Floating IPs: addresses of an external network that lead to an address of a port (Neutron's noun).

use crate::{
    FloatingIpId, HostId, NetworkId, Owned, PortId, ProjectId, QosPolicyId, RouterId, Scoped, State,
    error::Error,
    network::{mac::Mac, port::PortOwner},
    policy::{Action, Caller},
    record,
};
use serde::{Deserialize, Serialize};
use std::{fmt::Display, net::IpAddr};

/// The port address that a floating IP leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Association {
    /// The port.
    pub port_id: PortId,
    /// The address of the port.
    pub fixed_ip: IpAddr,
}

record! {
    /// A floating IP.
    pub struct FloatingIp: FloatingIpId {
        /// Its project.
        pub project_id: ProjectId,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// The external network of the address.
        pub network_id: NetworkId,
        /// The port that holds its address there (`network:floatingip`).
        pub port_id: PortId,
        /// The address.
        pub address: IpAddr,
        /// The port address that the floating IP leads to; `None` if it leads nowhere or has port forwardings.
        #[serde(default)]
        pub fixed: Option<Association>,
        /// The router that translates it, for its association or its port forwardings.
        #[serde(default)]
        pub router_id: Option<RouterId>,
        /// Its name in DNS; empty for none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub dns_name: String,
        /// The domain of that name; empty for none.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        pub dns_domain: String,
        /// Its QoS policy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub qos_policy_id: Option<QosPolicyId>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl FloatingIp {
    /// The Ethernet address with which a host answers for the floating IP while the server is on that host. `None`
    /// if the router's gateway answers.
    pub fn mac_on(&self, state: &State, host: HostId) -> Option<Mac> {
        let port = state.ports.get(&self.fixed?.port_id)?;
        let distributed = state.routers.get(&self.router_id?)?.distributed;
        let (physical, _) = state.networks.get(&self.network_id)?.physical()?;
        let reaches = state.hosts.get(&host)?.hypervisor.wiring.reaches(physical);
        // OVN knows no host for a subport, only for its parent.
        let here = distributed && reaches && port.owner() != PortOwner::TrunkSubport;
        state.ports.get(&self.port_id).filter(|_| here).map(|holder| holder.mac)
    }
}

impl Scoped for FloatingIp {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Floating IP", id).coded("FloatingIPNotFound")
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
    }
}

impl Owned for FloatingIp {
    const WRITE: Action = Action::FloatingIpWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
