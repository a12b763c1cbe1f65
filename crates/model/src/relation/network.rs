//! The records that belong to networks, and the networks that a caller may use.

use super::relations;
use crate::{
    NetworkId, ProjectId, State,
    network::{
        floating_ip::FloatingIp,
        network::Network,
        port::Port,
        rbac_policy::{RbacAction, RbacObject},
        router::Router,
        subnet::Subnet,
    },
    policy::Caller,
};
use std::sync::Arc;

relations! {
    /// The networks of a project.
    fn networks_of_project(ProjectId) -> Network = project_networks;
    /// The subnets of a network.
    fn subnets_of_network(NetworkId) -> Subnet = network_subnets;
    /// The ports of a network.
    fn ports_of_network(NetworkId) -> Port = network_ports;
    /// The routers whose gateway is in a network.
    fn routers_with_gateway_in(NetworkId) -> Router = net.gateway_routers;
    /// The floating IPs of an external network.
    fn floating_ips_of_network(NetworkId) -> FloatingIp = net.network_floating_ips;
}

impl State {
    /// The networks that every project sees: shared or external.
    pub fn open_networks(&self) -> impl Iterator<Item = &Arc<Network>> {
        self.index.open_networks.of(()).filter_map(|id| self.networks.get(&id))
    }

    /// All routers that have a gateway, in the order of their gateways' networks.
    pub fn routers_with_gateway(&self) -> impl Iterator<Item = &Arc<Router>> {
        self.index.net.gateway_routers.iter().filter_map(|(.., id)| self.routers.get(&id))
    }

    /// Whether the caller may use the network as if it were its own.
    pub fn is_shared_with(&self, caller: &Caller, network: &Network) -> bool {
        let object = RbacObject::Network(network.id);
        let shared = || self.rbac_allows(caller, object, RbacAction::AccessAsShared);
        caller.may_read() && (network.shared || shared())
    }

    /// Whether the network is a way out of the cloud for the caller.
    pub fn is_external_for(&self, caller: &Caller, network: &Network) -> bool {
        let object = RbacObject::Network(network.id);
        let named = || self.rbac_allows(caller, object, RbacAction::AccessAsExternal);
        network.external
            && caller.may_read()
            && (!network.external_restricted || caller.sees(network.project_id) || named())
    }

    /// Whether new ports of a network are filtered by default.
    pub fn is_filtered(&self, network: NetworkId) -> bool {
        self.networks.get(&network).is_some_and(|n| n.port_security_enabled)
    }

    /// The external network that automatic routers lead to.
    pub fn default_external_network(&self) -> Option<&Arc<Network>> {
        self.networks.values().find(|n| n.external && n.is_default)
    }

    /// The network that the cloud made for a project's request for `auto`.
    pub fn auto_allocated_network(&self, project: ProjectId) -> Option<&Arc<Network>> {
        self.networks_of_project(project).find(|n| n.auto_allocated)
    }

    /// Whether a network has a subnet.
    pub fn has_subnet(&self, network: NetworkId) -> bool {
        self.subnets_of_network(network).next().is_some()
    }
}
