//! The keys that a change of a record dirties: those whose rows may differ afterwards. The cost of a change is the
//! cost of these keys.

use super::{Key, router};
use lenticular_model::{
    HostId, Kind, NetworkId, PortId, QosPolicyId, SecurityGroupId, ServerId, State,
    change::Pair,
    compute::{disk::Disk, server::Server},
    host::host::{Host, Wiring},
    network::{
        network::Network, port::Port, router::Router, security_group::SecurityGroupRule, subnet::Subnet,
        trunk::Trunk,
    },
};
use std::{collections::BTreeSet, sync::Arc};

/// Adds the keys that a record's change dirties, between the State before and the State after.
pub fn dirty(old: &State, new: &State, kind: Kind, id: &str, keys: &mut BTreeSet<Key>) {
    match kind {
        Kind::Network => of_network(old, new, id, keys),
        Kind::Subnet => of_subnet(old, new, id, keys),
        Kind::Port => of_port(old, new, id, keys),
        Kind::SecurityGroup => of_security_group(old, new, id, keys),
        Kind::SecurityGroupRule => {
            let Some((_, pair)) = Pair::<SecurityGroupRule>::of(old, new, id) else { return };
            keys.extend(pair.each().map(|rule| Key::SecurityGroup(rule.security_group_id)));
        }
        Kind::AddressGroup => {
            let Ok(id) = id.parse() else { return };
            keys.insert(Key::AddressGroup(id));
            for state in [old, new] {
                let rules = state.rules_about_address_group(id);
                keys.extend(rules.map(|rule| Key::SecurityGroup(rule.security_group_id)));
            }
        }
        Kind::Router => of_router(old, new, id, keys),
        Kind::FloatingIp => {
            if let Ok(id) = id.parse() {
                keys.insert(Key::FloatingIp(id));
            }
        }
        Kind::PortForwarding => {
            type Forwarding = lenticular_model::network::port_forwarding::PortForwarding;
            let Some((_, pair)) = Pair::<Forwarding>::of(old, new, id) else { return };
            keys.extend(pair.each().map(|forwarding| Key::FloatingIp(forwarding.floating_ip_id)));
        }
        Kind::QosPolicy => {
            let Ok(id) = id.parse::<QosPolicyId>() else { return };
            for state in [old, new] {
                of_policy(state, id, keys);
            }
        }
        Kind::Trunk => {
            let Some((_, pair)) = Pair::<Trunk>::of(old, new, id) else { return };
            let subs = pair.each().flat_map(|trunk| &trunk.sub_ports);
            keys.extend(subs.map(|sub| Key::Port(sub.port_id)));
        }
        Kind::Server => of_server(old, new, id, keys),
        Kind::Disk => {
            let Some((_, pair)) = Pair::<Disk>::of(old, new, id) else { return };
            let left = pair.each().filter(|disk| disk.left.is_some());
            left.for_each(|disk| of_server_ports(new, disk.server_id, keys));
        }
        Kind::Host => of_host(old, new, id, keys),
        _ => {}
    }
}

fn of_network(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Network>::of(old, new, id) else { return };
    keys.insert(Key::Network(id));
    let told = |n: &Network| (n.mtu, n.dns_domain.clone());
    if pair.differs(told) {
        keys.extend(new.subnets_of_network(id).map(|subnet| Key::Subnet(subnet.id)));
    }
    let of_ports = |n: &Network| {
        let physical = n.physical().map(|(name, vlan)| (name.to_owned(), vlan));
        (told(n), n.admin_state_up, n.qos_policy_id, physical)
    };
    if pair.differs(of_ports) {
        for state in [old, new] {
            for port in state.ports_of_network(id) {
                keys.insert(Key::Port(port.id));
                of_leg(state, port.id, keys);
            }
            of_network_floating_ips(state, id, keys);
        }
    }
}

fn of_subnet(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Subnet>::of(old, new, id) else { return };
    keys.insert(Key::Subnet(id));
    keys.extend(pair.each().map(|subnet| Key::Network(subnet.network_id)));
    let quiet = |subnet: &Subnet| {
        let routes = subnet.host_routes.clone();
        (
            subnet.enable_dhcp,
            subnet.cidr,
            subnet.gateway,
            subnet.dns_nameservers.clone(),
            routes,
            subnet.ipv6_ra_mode.clone(),
            subnet.ipv6_address_mode.clone(),
        )
    };
    if pair.differs(quiet) {
        for state in [old, new] {
            for port in state.ports_of_subnet(id) {
                of_leg(state, port.id, keys);
                keys.insert(Key::Port(port.id));
            }
        }
    }
}

/// A leg's change dirties its router, and the floating IPs whose port forwardings the router translates.
fn of_leg(state: &State, port: PortId, keys: &mut BTreeSet<Key>) {
    let router = state.ports.get(&port).and_then(|port| router::router_of(state, port));
    let Some(id) = router.map(|router| router.id) else { return };
    keys.insert(Key::Router(id));
    let forwards = state.floating_ips_of_router(id).filter(|floating| floating.fixed.is_none());
    keys.extend(forwards.map(|floating| Key::FloatingIp(floating.id)));
}

fn of_port(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Port>::of(old, new, id) else { return };
    keys.insert(Key::Port(id));
    for state in [old, new] {
        of_leg(state, id, keys);
        of_floating_ips(state, id, keys);
    }
    for port in pair.each() {
        // The port with a floating IP's address, and the port with the metadata service's address.
        keys.extend(
            port.device_id
                .parse()
                .ok()
                .map(Key::FloatingIp)
                .filter(|_| port.owner() == lenticular_model::network::port::PortOwner::FloatingIp),
        );
        if port.owner() == lenticular_model::network::port::PortOwner::Metadata {
            keys.insert(Key::Network(port.network_id));
            keys.extend(new.subnets_of_network(port.network_id).map(|subnet| Key::Subnet(subnet.id)));
        }
    }
}

fn of_security_group(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Ok(id) = id.parse::<SecurityGroupId>() else { return };
    keys.insert(Key::SecurityGroup(id));
    if old.security_groups.contains_key(&id) == new.security_groups.contains_key(&id) {
        return;
    }
    for state in [old, new] {
        keys.extend(state.ports_of_security_group(id).map(|port| Key::Port(port.id)));
        let rules = state.rules_about_security_group(id);
        keys.extend(rules.map(|rule| Key::SecurityGroup(rule.security_group_id)));
    }
}

fn of_router(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Router>::of(old, new, id) else { return };
    keys.insert(Key::Router(id));
    if pair.differs(|router: &Router| (router.gateway, router.distributed)) {
        for state in [old, new] {
            keys.extend(state.ports_of_router(id).map(|leg| Key::Port(leg.id)));
            keys.extend(state.floating_ips_of_router(id).map(|floating| Key::FloatingIp(floating.id)));
        }
    }
}

fn of_policy(state: &State, id: QosPolicyId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.ports_of_qos_policy(id).map(|port| Key::Port(port.id)));
    for network in state.networks_of_qos_policy(id) {
        keys.extend(state.ports_of_network(network.id).map(|port| Key::Port(port.id)));
        of_network_floating_ips(state, network.id, keys);
    }
    keys.extend(state.floating_ips_of_qos_policy(id).map(|floating| Key::FloatingIp(floating.id)));
    for router in state.routers_of_qos_policy(id) {
        keys.extend(state.ports_of_router(router.id).map(|leg| Key::Port(leg.id)));
    }
}

fn of_network_floating_ips(state: &State, id: NetworkId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.floating_ips_of_network(id).map(|floating| Key::FloatingIp(floating.id)));
}

fn of_server(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Server>::of(old, new, id) else { return };
    let known = |server: &Server| {
        let ticket = server.ticket.as_ref().map(|ticket| (ticket.to, ticket.mode));
        (ticket, server.hostname.clone())
    };
    if pair.differs(known) {
        of_server_ports(new, id, keys);
    }
}

fn of_server_ports(state: &State, id: ServerId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.ports_of_server(id).map(|port| Key::Port(port.id)));
}

/// A host that is added, removed or reaches other networks dirties its ports, and every router whose gateway could
/// be on it. The change is rare, and the only one with a high cost.
fn of_host(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Host>::of(old, new, id) else { return };
    let known = |host: &Host| {
        let Wiring { driver, physical_networks } = host.hypervisor.wiring.clone();
        let number = host.number;
        (number, host.name.clone(), driver, physical_networks, host.fence.is_some(), host.zone.clone())
    };
    if !pair.differs(known) {
        return;
    }
    keys.insert(Key::Probe(id));
    for state in [old, new] {
        keys.extend(state.routers_with_gateway().map(|router| Key::Router(router.id)));
        of_host_ports(state, id, keys);
    }
}

/// There is no index of ports by host, so all ports are checked and few match.
fn of_host_ports(state: &State, id: HostId, keys: &mut BTreeSet<Key>) {
    let here = |port: &&Arc<Port>| {
        let ticket = port.server_id.and_then(|server| state.servers.get(&server)?.ticket.as_ref());
        let left = port.server_id.is_some_and(|server| state.left_disk_on(id, server).is_some());
        port.host_id == Some(id) || left || ticket.is_some_and(|ticket| ticket.to == id)
    };
    for port in state.ports.values().filter(here) {
        keys.insert(Key::Port(port.id));
        of_floating_ips(state, port.id, keys);
    }
}

fn of_floating_ips(state: &State, port: PortId, keys: &mut BTreeSet<Key>) {
    keys.extend(state.floating_ips_of_port(port).map(|floating| Key::FloatingIp(floating.id)));
}
