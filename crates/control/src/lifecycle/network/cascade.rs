//! The records that depend on a network resource, and are deleted or changed with it. Commands on one noun do not
//! handle other nouns.
//!
//! | event | consequence |
//! |---|---|
//! | a port is deleted | its floating IPs lead nowhere; its port forwardings and its trunk go; the metadata port may get an address |
//! | a port loses an address | floating IPs to the address lead nowhere; port forwardings to it go |
//! | a floating IP is deleted | its port forwardings go, and the port that holds its address |
//! | a subnet is made or changed | ports form addresses of it; the metadata port gets an address or loses it |
//! | a network is deleted | its ports, its subnets and the policies about it go |
//! | a security group is deleted | its rules go, and those of other groups that name it |
//! | a project is deleted | its security groups go, and the policies that name it |
//!
//! A network with a DHCP subnet has one metadata port, with an address in each such subnet. Guests reach the
//! metadata service through it. The cloud owns the port, and no project's quota counts it.

use crate::lifecycle::{
    network::{
        port_address,
        port_build::{self, NewPort},
        sharing::revise_object,
    },
    ports,
};
use lenticular_model::{
    FloatingIpId, NetworkId, PortForwardingId, PortId, ProjectId, RbacPolicyId, SecurityGroupId,
    SecurityGroupRuleId, SubnetId, TrunkId, Txn,
    network::{
        default_security_group_rule::{DefaultSecurityGroupRule, about},
        floating_ip::FloatingIp,
        network::Network,
        port::{FixedIp, Port, PortOwner, next_address},
        port_forwarding::PortForwarding,
        rbac_policy::{RbacObject, RbacPolicy, RbacTarget},
        security_group::{Remote, SecurityGroup, SecurityGroupRule},
        subnet::Subnet,
        trunk::Trunk,
    },
};
use std::{net::IpAddr, sync::Arc};

/// Deletes a port with its dependents: floating IPs lead nowhere, port forwardings and the port's trunk are
/// deleted.
pub(crate) fn delete_port(txn: &mut Txn<'_>, id: PortId) {
    let floating: Vec<FloatingIpId> = txn.floating_ips_of_port(id).map(|f| f.id).collect();
    floating.into_iter().for_each(|id| disassociate(txn, id));
    let forwardings: Vec<_> = txn.port_forwardings_of_port(id).map(|f| f.id).collect();
    forwardings.into_iter().for_each(|id| delete_port_forwarding(txn, id));
    leave_trunk(txn, id);
    let gone = txn.delete::<Port>(&id);
    // The network may have had no free address for its metadata port. Now it has one.
    if let Some(port) = gone.filter(|port| port.owner() != PortOwner::Metadata) {
        sync_metadata(txn, port.network_id);
    }
}

/// Frees a port from its server; the port stays.
pub(crate) fn release_port(txn: &mut Txn<'_>, id: PortId) {
    txn.update::<Port>(&id, |p| {
        p.server_id = None;
        p.server_index = 0;
        p.device_tag = None;
        p.host_id = None;
        p.plugged = false;
        p.device_id.clear();
        p.device_owner.clear();
        p.revision += 1;
    });
}

/// Ends the references to addresses that a port no longer has: floating IPs lead nowhere, port forwardings are
/// deleted.
pub(crate) fn on_port_address_changed(txn: &mut Txn<'_>, id: PortId) {
    let has = |address: IpAddr| {
        txn.ports.get(&id).is_some_and(|p| p.fixed_ips.iter().any(|ip| ip.ip_address == address))
    };
    let lost = |f: &&Arc<FloatingIp>| f.fixed.is_some_and(|a| !has(a.fixed_ip));
    let floating: Vec<FloatingIpId> = txn.floating_ips_of_port(id).filter(lost).map(|f| f.id).collect();
    let lost = |f: &&Arc<PortForwarding>| !has(f.internal_address.into());
    let forwardings: Vec<_> = txn.port_forwardings_of_port(id).filter(lost).map(|f| f.id).collect();
    floating.into_iter().for_each(|id| disassociate(txn, id));
    forwardings.into_iter().for_each(|id| delete_port_forwarding(txn, id));
}

/// Ends the association of a floating IP. The router of its port forwardings stays.
pub(crate) fn disassociate(txn: &mut Txn<'_>, id: FloatingIpId) {
    let forwards = txn.port_forwardings_of(id).next().is_some();
    let was = txn.floating_ips.get(&id).and_then(|floating| floating.fixed);
    txn.update::<FloatingIp>(&id, |f| {
        f.fixed = None;
        f.router_id = f.router_id.filter(|_| forwards);
        f.revision += 1;
    });
    was.into_iter().for_each(|was| ports::renew_orders(txn, was.port_id));
}

/// Deletes a floating IP with its port forwardings and the port that holds its address.
pub(crate) fn delete_floating_ip(txn: &mut Txn<'_>, id: FloatingIpId) {
    let forwardings: Vec<_> = txn.port_forwardings_of(id).map(|f| f.id).collect();
    forwardings.iter().for_each(|forwarding| drop(txn.delete::<PortForwarding>(forwarding)));
    if let Some(floating) = txn.delete::<FloatingIp>(&id) {
        txn.delete::<Port>(&floating.port_id);
        floating.fixed.into_iter().for_each(|was| ports::renew_orders(txn, was.port_id));
    }
}

/// Deletes a port forwarding. The last one of a floating IP takes the floating IP from its router.
pub(crate) fn delete_port_forwarding(txn: &mut Txn<'_>, id: PortForwardingId) {
    let Some(gone) = txn.delete::<PortForwarding>(&id) else { return };
    txn.update::<Port>(&gone.internal_port_id, |p| p.revision += 1);
    let last = txn.port_forwardings_of(gone.floating_ip_id).next().is_none();
    txn.update::<FloatingIp>(&gone.floating_ip_id, |f| {
        f.router_id = f.router_id.filter(|_| !last || f.fixed.is_some());
        f.revision += 1;
    });
}

/// Deletes a trunk. Its ports stay.
pub(crate) fn delete_trunk(txn: &mut Txn<'_>, id: TrunkId) {
    let Some(trunk) = txn.delete::<Trunk>(&id) else { return };
    trunk.sub_ports.iter().for_each(|s| free_subport(txn, s.port_id));
}

/// Marks a port that was a subport as belonging to nothing.
pub(crate) fn free_subport(txn: &mut Txn<'_>, id: PortId) {
    txn.update::<Port>(&id, |p| {
        p.device_id.clear();
        p.device_owner.clear();
        p.revision += 1;
    });
}

/// Deletes the trunk whose parent a port is, and takes the port from the trunk whose subport it is.
fn leave_trunk(txn: &mut Txn<'_>, id: PortId) {
    if let Some(trunk) = txn.trunk_of_parent(id).map(|trunk| trunk.id) {
        delete_trunk(txn, trunk);
    }
    if let Some(trunk) = txn.trunk_of_subport(id).map(|trunk| trunk.id) {
        txn.update::<Trunk>(&trunk, |t| {
            t.sub_ports.retain(|s| s.port_id != id);
            t.revision += 1;
        });
    }
}

/// Gives the ports of a network the addresses that they form of a new subnet, and its metadata port an address there.
pub(crate) fn on_subnet_created(txn: &mut Txn<'_>, id: SubnetId) {
    port_address::add_formed(txn, id);
    on_subnet_changed(txn, id);
}

/// Gives the metadata port the addresses that it now needs in the subnet's network.
pub(crate) fn on_subnet_changed(txn: &mut Txn<'_>, id: SubnetId) {
    if let Some(network) = txn.subnets.get(&id).map(|s| s.network_id) {
        sync_metadata(txn, network);
    }
}

/// Deletes the ports and subnets of a network, and the policies about it. The network's own record is last.
pub(crate) fn delete_network(txn: &mut Txn<'_>, id: NetworkId) {
    let ports: Vec<PortId> = txn.ports_of_network(id).map(|p| p.id).collect();
    ports.into_iter().for_each(|port| delete_port(txn, port));
    let subnets: Vec<SubnetId> = txn.subnets_of_network(id).map(|s| s.id).collect();
    subnets.iter().for_each(|subnet| drop(txn.delete::<Subnet>(subnet)));
    on_object_deleted(txn, RbacObject::Network(id));
    txn.delete::<Network>(&id);
}

/// Removes the policies about an object that is deleted.
pub(crate) fn on_object_deleted(txn: &mut Txn<'_>, object: RbacObject) {
    let all: Vec<RbacPolicyId> = txn.rbac_policies_of(object).map(|p| p.id).collect();
    all.iter().for_each(|id| drop(txn.delete::<RbacPolicy>(id)));
}

/// Deletes a security group with its rules, and with the rules of other groups that name it.
pub(crate) fn delete_security_group(txn: &mut Txn<'_>, id: SecurityGroupId) {
    let own: Vec<_> = txn.rules_of_security_group(id).map(|r| r.id).collect();
    // Rules of other groups that allow this group would match no traffic.
    let others: Vec<_> = txn.rules_about_security_group(id).map(|rule| rule.id).collect();
    for rule in own.into_iter().chain(others) {
        delete_security_group_rule(txn, rule);
    }
    let begun_with: Vec<_> = about(txn, &Remote::Group(id)).collect();
    for rule in begun_with {
        txn.delete::<DefaultSecurityGroupRule>(&rule);
    }
    on_object_deleted(txn, RbacObject::SecurityGroup(id));
    txn.delete::<SecurityGroup>(&id);
}

/// Deletes a rule of a security group.
pub(crate) fn delete_security_group_rule(txn: &mut Txn<'_>, id: SecurityGroupRuleId) {
    if let Some(gone) = txn.delete::<SecurityGroupRule>(&id) {
        txn.update::<SecurityGroup>(&gone.security_group_id, |g| g.revision += 1);
    }
}

/// Deletes the security groups of a project that is deleted, and the policies that name the project.
pub(crate) fn on_project_deleted(txn: &mut Txn<'_>, project: ProjectId) {
    let groups: Vec<_> = txn.security_groups_of_project(project).map(|g| g.id).collect();
    groups.into_iter().for_each(|group| delete_security_group(txn, group));
    let to = RbacTarget::Project(project);
    let all: Vec<_> =
        txn.rbac_policies.values().filter(|p| p.target == to).map(|p| (p.id, p.object)).collect();
    for (id, object) in all {
        txn.delete::<RbacPolicy>(&id);
        revise_object(txn, object);
    }
}

/// Gives a network's metadata port an address in every subnet with metadata, and makes or removes the port.
///
/// A subnet with an exhausted pool gets none: its guests read their config drive.
pub(crate) fn sync_metadata(txn: &mut Txn<'_>, id: NetworkId) {
    let Some(network) = txn.networks.get(&id).cloned() else { return };
    let subnets: Vec<Arc<Subnet>> =
        txn.subnets_of_network(id).filter(|s| s.has_metadata()).cloned().collect();
    let port = txn.metadata_port(id).cloned();
    let mut addresses: Vec<FixedIp> = port.iter().flat_map(|p| p.fixed_ips.iter().copied()).collect();
    addresses.retain(|ip| subnets.iter().any(|s| s.id == ip.subnet_id));
    for subnet in &subnets {
        if addresses.iter().all(|ip| ip.subnet_id != subnet.id) {
            let found = next_address(txn, subnet);
            addresses.extend(found.map(|ip_address| FixedIp { subnet_id: subnet.id, ip_address }));
        }
    }
    match port {
        Some(port) if addresses.is_empty() => delete_port(txn, port.id),
        Some(port) if port.fixed_ips == addresses => {}
        Some(port) => {
            txn.update::<Port>(&port.id, |p| {
                p.fixed_ips = addresses;
                p.revision += 1;
            });
        }
        None if addresses.is_empty() => {}
        None => put_metadata(txn, &network, addresses),
    }
}

/// Makes the metadata ports of networks in a store from before metadata ports existed.
pub(crate) fn sync_all_metadata(txn: &mut Txn<'_>) {
    let without = |id: &NetworkId| {
        txn.subnets_of_network(*id).any(|s| s.has_metadata()) && txn.metadata_port(*id).is_none()
    };
    let networks: Vec<NetworkId> = txn.networks.keys().copied().filter(without).collect();
    networks.into_iter().for_each(|id| sync_metadata(txn, id));
}

fn put_metadata(txn: &mut Txn<'_>, network: &Network, addresses: Vec<FixedIp>) {
    let new = NewPort {
        device_id: Port::metadata_device(network.id),
        device_owner: PortOwner::Metadata.name().unwrap_or_default().to_owned(),
        fixed_ips: Some(Vec::new()),
        port_security_enabled: Some(false),
        ..NewPort::on(network.id, ProjectId::CLOUD)
    };
    // Without a free Ethernet address the network has no room for guests either.
    if let Ok(port) = port_build::build(txn, &new) {
        txn.put(Port { fixed_ips: addresses, ..port });
    }
}
