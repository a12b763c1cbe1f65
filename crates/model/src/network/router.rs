//! Routers: they join networks and lead out of the cloud (Neutron's noun).
//!
//! A router's legs are ports: `network:router_interface` in tenants' networks, and one `network:router_gateway` in
//! an external network. The `device_id` of these ports is the router; their addresses are the router's addresses.

use crate::{
    NetworkId, Owned, PortId, ProjectId, QosPolicyId, RouterId, Scoped, State,
    error::Error,
    network::subnet::HostRoute,
    policy::{Action, Caller},
    record,
};
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// A router's gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterGateway {
    /// The external network.
    pub network_id: NetworkId,
    /// The leg in it, which has the router's outer addresses.
    pub port_id: PortId,
    /// Whether guests without a floating IP go out under the router's address.
    pub enable_snat: bool,
    /// The QoS policy of the gateway's traffic; without one, the external network's policy applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qos_policy_id: Option<QosPolicyId>,
}

record! {
    /// A router.
    pub struct Router: RouterId {
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
        /// Its gateway.
        #[serde(default)]
        pub gateway: Option<RouterGateway>,
        /// Static routes, besides those to the router's own networks and the gateway's network.
        #[serde(default)]
        pub routes: Vec<HostRoute>,
        /// True if floating IPs are translated on the host of their server, false if on the gateway's.
        pub distributed: bool,
        /// True if the gateway has standby hosts, which take over when the active host is down.
        pub ha: bool,
        /// Availability zones requested for the gateway.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        pub availability_zone_hints: Vec<String>,
        /// Labels.
        #[serde(default)]
        pub tags: Vec<String>,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

impl Scoped for Router {
    fn missing(id: impl Display) -> Error {
        Error::not_found("Router", id).coded("RouterNotFound")
    }

    fn visible_to(&self, _: &State, caller: &Caller) -> bool {
        caller.sees(self.project_id)
    }
}

impl Owned for Router {
    const WRITE: Action = Action::RouterWrite;

    fn project(&self) -> ProjectId {
        self.project_id
    }
}
