//! Secondary indexes of routers, floating IPs and the other records besides networks and ports.

use super::{Index, Indexed, move_entry, move_key, tree::Links};
use crate::{
    AddressGroupId, AddressScopeId, FloatingIpId, NetworkId, PortForwardingId, PortId, ProjectId,
    QosPolicyId, RbacPolicyId, RouterId, SecurityGroupId, SecurityGroupRuleId, SubnetId, SubnetPoolId,
    TrunkId,
    network::{
        address_group::AddressGroup,
        address_scope::AddressScope,
        default_security_group_rule::DefaultSecurityGroupRule,
        floating_ip::FloatingIp,
        port_forwarding::PortForwarding,
        qos_policy::QosPolicy,
        rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
        router::Router,
        security_group::{Remote, SecurityGroupRule},
        subnet_pool::SubnetPool,
        trunk::Trunk,
    },
};
use imbl::OrdMap;

/// The relations between network records.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NetIndex {
    /// Routers of a project.
    pub(crate) project_routers: Links<ProjectId, RouterId>,
    /// Routers whose gateway is in a network.
    pub(crate) gateway_routers: Links<NetworkId, RouterId>,
    /// Floating IPs of a project.
    pub(crate) project_floating_ips: Links<ProjectId, FloatingIpId>,
    /// Floating IPs of an external network.
    pub(crate) network_floating_ips: Links<NetworkId, FloatingIpId>,
    /// Floating IPs that lead to a port.
    pub(crate) port_floating_ips: Links<PortId, FloatingIpId>,
    /// Floating IPs that a router translates.
    pub(crate) router_floating_ips: Links<RouterId, FloatingIpId>,
    /// Port forwardings of a floating IP.
    pub(crate) floating_forwardings: Links<FloatingIpId, PortForwardingId>,
    /// Port forwardings that lead to a port.
    pub(crate) port_forwardings: Links<PortId, PortForwardingId>,
    /// Subnets of a project.
    pub(crate) project_subnets: Links<ProjectId, SubnetId>,
    /// Subnets taken from a pool.
    pub(crate) pool_subnets: Links<SubnetPoolId, SubnetId>,
    /// Subnet pools of an address scope.
    pub(crate) scope_pools: Links<AddressScopeId, SubnetPoolId>,
    /// Rules of a project's security groups.
    pub(crate) project_rules: Links<ProjectId, SecurityGroupRuleId>,
    /// Rules about ports of a security group.
    pub(crate) remote_group_rules: Links<SecurityGroupId, SecurityGroupRuleId>,
    /// Rules about addresses of an address group.
    pub(crate) address_group_rules: Links<AddressGroupId, SecurityGroupRuleId>,
    /// Ports with a QoS policy of their own.
    pub(crate) qos_ports: Links<QosPolicyId, PortId>,
    /// Networks with a QoS policy.
    pub(crate) qos_networks: Links<QosPolicyId, NetworkId>,
    /// Floating IPs with a QoS policy.
    pub(crate) qos_floating_ips: Links<QosPolicyId, FloatingIpId>,
    /// The routers whose gateways have a QoS policy.
    pub(crate) qos_routers: Links<QosPolicyId, RouterId>,
    /// The trunk whose parent a port is.
    pub(crate) parent_trunk: Links<PortId, TrunkId>,
    /// The trunk whose subport a port is.
    pub(crate) subport_trunk: Links<PortId, TrunkId>,
    /// RBAC policies by object, action and target. No two policies have the same three.
    pub(crate) rbac: OrdMap<(RbacObject, RbacAction, RbacTarget), RbacPolicyId>,
}

impl Indexed for AddressScope {}
impl Indexed for AddressGroup {}
impl Indexed for DefaultSecurityGroupRule {}
impl Indexed for QosPolicy {}

impl Indexed for Router {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let project = |r: &Self| (r.project_id, r.id);
        move_key(&mut index.net.project_routers, old.map(project), new.map(project));
        let gateway = |r: &Self| r.gateway.map(|g| (g.network_id, r.id));
        move_key(&mut index.net.gateway_routers, old.and_then(gateway), new.and_then(gateway));
        let qos = |r: &Self| r.gateway.and_then(|g| Some((g.qos_policy_id?, r.id)));
        move_key(&mut index.net.qos_routers, old.and_then(qos), new.and_then(qos));
    }
}

impl Indexed for FloatingIp {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let net = &mut index.net;
        let project = |f: &Self| (f.project_id, f.id);
        move_key(&mut net.project_floating_ips, old.map(project), new.map(project));
        let network = |f: &Self| (f.network_id, f.id);
        move_key(&mut net.network_floating_ips, old.map(network), new.map(network));
        let port = |f: &Self| f.fixed.map(|fixed| (fixed.port_id, f.id));
        move_key(&mut net.port_floating_ips, old.and_then(port), new.and_then(port));
        let router = |f: &Self| f.router_id.map(|r| (r, f.id));
        move_key(&mut net.router_floating_ips, old.and_then(router), new.and_then(router));
        let qos = |f: &Self| f.qos_policy_id.map(|q| (q, f.id));
        move_key(&mut net.qos_floating_ips, old.and_then(qos), new.and_then(qos));
    }
}

impl Indexed for PortForwarding {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let floating = |f: &Self| (f.floating_ip_id, f.id);
        move_key(&mut index.net.floating_forwardings, old.map(floating), new.map(floating));
        let port = |f: &Self| (f.internal_port_id, f.id);
        move_key(&mut index.net.port_forwardings, old.map(port), new.map(port));
    }
}

impl Indexed for SubnetPool {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let scope = |p: &Self| p.address_scope_id.map(|s| (s, p.id));
        move_key(&mut index.net.scope_pools, old.and_then(scope), new.and_then(scope));
    }
}

impl Indexed for SecurityGroupRule {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |r: &Self| (r.security_group_id, r.id);
        move_key(&mut index.group_rules, old.map(key), new.map(key));
        let project = |r: &Self| (r.project_id, r.id);
        move_key(&mut index.net.project_rules, old.map(project), new.map(project));
        let group = |r: &Self| match r.remote {
            Remote::Group(id) => Some((id, r.id)),
            _ => None,
        };
        move_key(&mut index.net.remote_group_rules, old.and_then(group), new.and_then(group));
        let addresses = |r: &Self| match r.remote {
            Remote::AddressGroup(id) => Some((id, r.id)),
            _ => None,
        };
        move_key(&mut index.net.address_group_rules, old.and_then(addresses), new.and_then(addresses));
    }
}

impl Indexed for Trunk {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let parent = |t: &Self| (t.port_id, t.id);
        move_key(&mut index.net.parent_trunk, old.map(parent), new.map(parent));
        let subs = |t: &Self| t.sub_ports.iter().map(|sub| (sub.port_id, t.id)).collect::<Vec<_>>();
        for sub in old.map(subs).into_iter().flatten() {
            move_key(&mut index.net.subport_trunk, Some(sub), None);
        }
        for sub in new.map(subs).into_iter().flatten() {
            move_key(&mut index.net.subport_trunk, None, Some(sub));
        }
    }
}

impl Indexed for RbacPolicy {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |p: &Self| ((p.object, p.action, p.target), p.id);
        move_entry(&mut index.net.rbac, old.map(entry), new.map(entry));
    }
}
