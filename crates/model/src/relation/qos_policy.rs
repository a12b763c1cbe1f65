//! What a QoS policy holds for.

use super::relations;
use crate::{
    network::{floating_ip::FloatingIp, network::Network, port::Port, router::Router},
    QosPolicyId,
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
