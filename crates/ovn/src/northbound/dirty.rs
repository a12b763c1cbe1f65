//! Which keys a change of a record dirties: those whose rows may be others than before. The cost of a change is the cost
//! of these.

use super::{network, router, Key};
use lenticular_model::{
    compute::{disk_copy::DiskCopy, server::Server},
    host::host::{Host, Wiring},
    network::{
        network::Network, port::Port, router::Router, security_group::SecurityGroupRule, subnet::Subnet,
        trunk::Trunk,
    },
    FloatingIpId, HostId, Kind, NetworkId, PortId, QosPolicyId, Record, RouterId, SecurityGroupId,
    SecurityGroupRuleId, ServerId, State,
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
    sync::Arc,
};

/// The change of a record from one State to another.
struct Pair<'s, R> {
    old: Option<&'s Arc<R>>,
    new: Option<&'s Arc<R>>,
}

impl<'s, R: Record> Pair<'s, R> {
    fn of(old: &'s State, new: &'s State, id: &str) -> Option<(R::Id, Self)> {
        let id = R::Id::from_str(id).ok()?;
        let pair = Self { old: old.get::<R>(&id), new: new.get::<R>(&id) };
        Some((id, pair))
    }

    fn each(&self) -> impl Iterator<Item = &'s Arc<R>> {
        self.old.into_iter().chain(self.new)
    }

    /// Whether something that the function tells is another.
    fn differs<T: PartialEq>(&self, what: impl Fn(&'s R) -> T) -> bool {
        self.old.map(|r| what(r)) != self.new.map(|r| what(r))
    }
}

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
                let rules = state.index.net.address_group_rules.range((id, SecurityGroupRuleId::default())..);
                let rules = rules.take_while(|(of, _)| *of == id);
                let rules = rules.filter_map(|(_, rule)| state.security_group_rules.get(rule));
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
        Kind::DiskCopy => {
            let Some((_, pair)) = Pair::<DiskCopy>::of(old, new, id) else { return };
            pair.each().for_each(|copy| of_server_ports(new, copy.server_id, keys));
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
        keys.extend(network::subnets(new, id).map(|subnet| Key::Subnet(subnet.id)));
    }
    let of_ports = |n: &Network| {
        let physical = n.physical().map(|(name, vlan)| (name.to_owned(), vlan));
        (told(n), n.admin_state_up, n.qos_policy_id, physical)
    };
    if pair.differs(of_ports) {
        for state in [old, new] {
            for port in network::ports(state, id) {
                keys.insert(Key::Port(port.id));
                keys.extend(router::router_of(state, port).map(|router| Key::Router(router.id)));
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
            let addresses = state.index.addresses.range((id, IpAddr::V4(Ipv4Addr::UNSPECIFIED))..);
            for (_, port) in addresses.take_while(|((subnet, _), _)| *subnet == id) {
                of_leg(state, *port, keys);
                keys.insert(Key::Port(*port));
            }
        }
    }
}

/// A leg's change is its router's, and that of the floating IPs whose ports are forwarded where the leg is.
fn of_leg(state: &State, port: PortId, keys: &mut BTreeSet<Key>) {
    let router = state.ports.get(&port).and_then(|port| router::router_of(state, port));
    let Some(id) = router.map(|router| router.id) else { return };
    keys.insert(Key::Router(id));
    let forwards = |floating: &FloatingIpId| {
        state.floating_ips.get(floating).is_some_and(|floating| floating.fixed.is_none())
    };
    keys.extend(of_router_floating_ips(state, id).filter(forwards).map(Key::FloatingIp));
}

fn of_router_floating_ips(state: &State, id: RouterId) -> impl Iterator<Item = FloatingIpId> + '_ {
    let floating = state.index.net.router_floating_ips.range((id, FloatingIpId::default())..);
    floating.take_while(move |(router, _)| *router == id).map(|(_, floating)| *floating)
}

fn of_port(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Port>::of(old, new, id) else { return };
    keys.insert(Key::Port(id));
    for state in [old, new] {
        of_leg(state, id, keys);
        of_floating_ips(state, id, keys);
    }
    for port in pair.each() {
        // The port that holds a floating IP's address, and the one that holds the metadata service's.
        keys.extend(
            port.device_id
                .parse()
                .ok()
                .map(Key::FloatingIp)
                .filter(|_| port.owner() == lenticular_model::network::port::PortOwner::FloatingIp),
        );
        if port.owner() == lenticular_model::network::port::PortOwner::Metadata {
            keys.insert(Key::Network(port.network_id));
            keys.extend(network::subnets(new, port.network_id).map(|subnet| Key::Subnet(subnet.id)));
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
        let ports = state.index.group_ports.range((id, PortId::default())..);
        keys.extend(ports.take_while(|(group, _)| *group == id).map(|(_, port)| Key::Port(*port)));
        let rules = state.index.net.remote_group_rules.range((id, SecurityGroupRuleId::default())..);
        let rules = rules.take_while(|(group, _)| *group == id);
        let rules = rules.filter_map(|(_, rule)| state.security_group_rules.get(rule));
        keys.extend(rules.map(|rule| Key::SecurityGroup(rule.security_group_id)));
    }
}

fn of_router(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Router>::of(old, new, id) else { return };
    keys.insert(Key::Router(id));
    if pair.differs(|router: &Router| (router.gateway, router.distributed)) {
        for state in [old, new] {
            keys.extend(router::legs(state, id).map(|leg| Key::Port(leg.id)));
            keys.extend(of_router_floating_ips(state, id).map(Key::FloatingIp));
        }
    }
}

fn of_policy(state: &State, id: QosPolicyId, keys: &mut BTreeSet<Key>) {
    let ports = state.index.net.qos_ports.range((id, PortId::default())..);
    keys.extend(ports.take_while(|(policy, _)| *policy == id).map(|(_, port)| Key::Port(*port)));
    let networks = state.index.net.qos_networks.range((id, NetworkId::default())..);
    for (_, network) in networks.take_while(|(policy, _)| *policy == id) {
        keys.extend(network::ports(state, *network).map(|port| Key::Port(port.id)));
        of_network_floating_ips(state, *network, keys);
    }
    let floating = state.index.net.qos_floating_ips.range((id, FloatingIpId::default())..);
    let floating = floating.take_while(|(policy, _)| *policy == id);
    keys.extend(floating.map(|(_, floating)| Key::FloatingIp(*floating)));
    let routers = state.index.net.qos_routers.range((id, RouterId::default())..);
    for (_, router) in routers.take_while(|(policy, _)| *policy == id) {
        keys.extend(router::legs(state, *router).map(|leg| Key::Port(leg.id)));
    }
}

fn of_network_floating_ips(state: &State, id: NetworkId, keys: &mut BTreeSet<Key>) {
    let floating = state.index.net.network_floating_ips.range((id, FloatingIpId::default())..);
    let floating = floating.take_while(|(network, _)| *network == id);
    keys.extend(floating.map(|(_, floating)| Key::FloatingIp(*floating)));
}

fn of_server(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Server>::of(old, new, id) else { return };
    let known = |server: &Server| {
        let ticket = server.ticket.as_ref().map(|ticket| (ticket.to, ticket.manner));
        (ticket, server.hostname.clone())
    };
    if pair.differs(known) {
        of_server_ports(new, id, keys);
    }
}

fn of_server_ports(state: &State, id: ServerId, keys: &mut BTreeSet<Key>) {
    let ports = state.index.server_ports.range((id, 0, PortId::default())..);
    keys.extend(ports.take_while(|(server, ..)| *server == id).map(|(_, _, port)| Key::Port(*port)));
}

/// A host that comes, goes or reaches other networks: its ports, and every router that may lead out by it. Rare, and
/// the one change whose cost is that of many things.
fn of_host(old: &State, new: &State, id: &str, keys: &mut BTreeSet<Key>) {
    let Some((id, pair)) = Pair::<Host>::of(old, new, id) else { return };
    let known = |host: &Host| {
        let Wiring { driver, physical_networks, trouble: _ } = host.hypervisor.wiring.clone();
        (host.name.clone(), driver, physical_networks, host.fence.is_some(), host.zone.clone())
    };
    if !pair.differs(known) {
        return;
    }
    for state in [old, new] {
        let gateways = state.index.net.gateway_routers.range((NetworkId::default(), RouterId::default())..);
        keys.extend(gateways.map(|(_, router)| Key::Router(*router)));
        of_host_ports(state, id, keys);
    }
}

/// There is no index of ports by host: all are looked at, and few taken.
fn of_host_ports(state: &State, id: HostId, keys: &mut BTreeSet<Key>) {
    let here = |port: &&Arc<Port>| {
        let ticket = port.server_id.and_then(|server| state.servers.get(&server)?.ticket.as_ref());
        let left = port.server_id.is_some_and(|server| state.index.disk_copies.contains_key(&(id, server)));
        port.host_id == Some(id) || left || ticket.is_some_and(|ticket| ticket.to == id)
    };
    for port in state.ports.values().filter(here) {
        keys.insert(Key::Port(port.id));
        of_floating_ips(state, port.id, keys);
    }
}

fn of_floating_ips(state: &State, port: PortId, keys: &mut BTreeSet<Key>) {
    let floating = state.index.net.port_floating_ips.range((port, FloatingIpId::default())..);
    keys.extend(floating.take_while(|(of, _)| *of == port).map(|(_, floating)| Key::FloatingIp(*floating)));
}
