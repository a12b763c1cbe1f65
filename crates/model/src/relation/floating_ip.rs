//! Floating IPs by project and port, and the port forwardings of each.

use super::relations;
use crate::{
    FloatingIpId, PortId, ProjectId,
    network::{floating_ip::FloatingIp, port_forwarding::PortForwarding},
};

relations! {
    /// The floating IPs of a project.
    fn floating_ips_of_project(ProjectId) -> FloatingIp = net.project_floating_ips;
    /// The floating IPs that lead to a port.
    fn floating_ips_of_port(PortId) -> FloatingIp = net.port_floating_ips;
    /// The port forwardings of a floating IP.
    fn port_forwardings_of(FloatingIpId) -> PortForwarding = net.floating_forwardings;
}
