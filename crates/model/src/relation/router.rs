//! Routers, their ports and their floating IPs.

use super::relations;
use crate::{
    ProjectId, RouterId, State,
    network::{
        floating_ip::FloatingIp,
        port::{Port, PortOwner},
        router::Router,
    },
};
use std::sync::Arc;

relations! {
    /// The routers of a project.
    fn routers_of_project(ProjectId) -> Router = net.project_routers;
    /// The floating IPs that a router translates.
    fn floating_ips_of_router(RouterId) -> FloatingIp = net.router_floating_ips;
}

impl State {
    /// The ports of a router: its legs and its gateway.
    pub fn ports_of_router(&self, id: RouterId) -> impl Iterator<Item = &Arc<Port>> {
        self.ports_of_device(&id.to_string())
            .filter(|port| matches!(port.owner(), PortOwner::RouterInterface | PortOwner::RouterGateway))
    }

    /// A router's port in an external network.
    pub fn gateways_of_router(&self, id: RouterId) -> impl Iterator<Item = &Arc<Port>> {
        self.ports_of_device(&id.to_string()).filter(|port| port.owner() == PortOwner::RouterGateway)
    }

    /// A router's ports in tenants' networks.
    pub fn interfaces_of_router(&self, id: RouterId) -> impl Iterator<Item = &Arc<Port>> {
        self.ports_of_device(&id.to_string()).filter(|port| port.owner() == PortOwner::RouterInterface)
    }
}
