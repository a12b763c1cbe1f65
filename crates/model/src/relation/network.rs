//! What hangs on networks.

use super::relations;
use crate::{
    network::{floating_ip::FloatingIp, network::Network, port::Port, router::Router, subnet::Subnet},
    NetworkId, ProjectId, State,
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
        self.index.open_networks.iter().filter_map(|id| self.networks.get(id))
    }

    /// All routers that have a gateway, in the order of their gateways' networks.
    pub fn routers_with_gateway(&self) -> impl Iterator<Item = &Arc<Router>> {
        self.index.net.gateway_routers.iter().filter_map(|(_, id)| self.routers.get(id))
    }
}
