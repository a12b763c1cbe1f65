//! The ports, networks, floating IPs and routers that use a QoS policy.

use super::relations;
use crate::{
    ProjectId, QosPolicyId, State,
    network::{floating_ip::FloatingIp, network::Network, port::Port, router::Router},
};

relations! {
    /// The ports with a QoS policy.
    fn ports_of_qos_policy(QosPolicyId) -> Port = net.qos_ports;
    /// The networks with a QoS policy.
    fn networks_of_qos_policy(QosPolicyId) -> Network = net.qos_networks;
    /// The floating IPs with a QoS policy.
    fn floating_ips_of_qos_policy(QosPolicyId) -> FloatingIp = net.qos_floating_ips;
    /// The routers whose gateway has a QoS policy.
    fn routers_of_qos_policy(QosPolicyId) -> Router = net.qos_routers;
}

impl State {
    /// The project's default QoS policy: new networks without a policy get it.
    pub fn default_qos_policy(&self, project: ProjectId) -> Option<QosPolicyId> {
        self.qos_policies.values().find(|p| p.is_default && p.project_id == project).map(|p| p.id)
    }

    /// The projects whose ports, networks, floating IPs and routers' gateways have a QoS policy.
    pub fn projects_using_qos_policy(&self, id: QosPolicyId) -> Vec<ProjectId> {
        let ports = self.ports_of_qos_policy(id).map(|p| p.project_id);
        let networks = self.networks_of_qos_policy(id).map(|n| n.project_id);
        let floating = self.floating_ips_of_qos_policy(id).map(|f| f.project_id);
        let routers = self.routers_of_qos_policy(id).map(|r| r.project_id);
        ports.chain(networks).chain(floating).chain(routers).collect()
    }
}
