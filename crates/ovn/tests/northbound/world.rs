//! Clouds for the tests: States of records, changed by random steps.

use lenticular_model::{
    Incarnation, Kind, Record, State, Timestamp, Txn,
    host::host::Host,
    network::{
        address_group::AddressGroup,
        floating_ip::FloatingIp,
        network::Network,
        port::Port,
        port_forwarding::PortForwarding,
        qos_policy::QosPolicy,
        router::Router,
        security_group::{SecurityGroup, SecurityGroupRule},
        subnet::Subnet,
        trunk::Trunk,
    },
};
use lenticular_ovn::sync::Update;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// The id of the n-th record of a kind.
pub fn id(kind: u8, n: u8) -> Uuid {
    Uuid::from_u128((u128::from(kind) << 64) | (u128::from(n) + 1))
}

pub const HOST: u8 = 1;
pub const NETWORK: u8 = 2;
pub const SUBNET: u8 = 3;
pub const PORT: u8 = 4;
pub const GROUP: u8 = 5;
pub const RULE: u8 = 6;
pub const ROUTER: u8 = 7;
pub const FLOATING: u8 = 8;
pub const FORWARDING: u8 = 9;
pub const ADDRESSES: u8 = 10;
pub const POLICY: u8 = 11;
pub const TRUNK: u8 = 12;

/// A cloud under change.
pub struct World {
    pub state: Arc<State>,
}

fn read<R: Record>(value: Value) -> R {
    serde_json::from_value(value)
        .unwrap_or_else(|error| panic!("a test's {} is none: {error}", R::KIND.name()))
}

fn tenant(n: u8) -> String {
    Uuid::from_u128(1_000 + u128::from(n)).simple().to_string()
}

impl World {
    pub fn new() -> Self {
        Self { state: Arc::new(State::new(Incarnation::from_random([9; 16]), Timestamp(1))) }
    }

    /// Commits a change.
    pub fn change(&mut self, change: impl FnOnce(&mut Txn<'_>)) -> Update {
        let mut entropy = || [0; 16];
        let mut txn = Txn::new(&self.state, Timestamp(2), &mut entropy);
        change(&mut txn);
        let (state, changes) = txn.finish();
        self.state = Arc::new(state);
        let changes: Vec<(Kind, String)> = changes.into_iter().map(|c| (c.kind, c.id)).collect();
        Update { state: self.state.clone(), changes }
    }

    pub fn step(&mut self, step: &Step) -> Update {
        self.change(|txn| step.run(txn))
    }
}

/// One change of a cloud.
#[derive(Debug, Clone)]
pub enum Step {
    Host { n: u8, physical: bool, fenced: bool },
    Network { n: u8, tenant: u8, external: bool, up: bool, mtu: u32, vlan: bool, policy: Option<u8> },
    Subnet { n: u8, network: u8, v6: bool, dhcp: bool, gateway: bool },
    Port { n: u8, port: PortShape },
    Group { n: u8, stateful: bool },
    Rule { n: u8, group: u8, ingress: bool, v6: bool, remote: u8, protocol: u8 },
    Addresses { n: u8, ranges: u8 },
    Router { n: u8, gateway: Option<u8>, snat: bool, distributed: bool, route: bool, policy: Option<u8> },
    Floating { n: u8, router: Option<u8>, port: Option<u8>, policy: Option<u8> },
    Forwarding { n: u8, floating: u8, port: u8, outer: u8 },
    Policy { n: u8, kbps: u32 },
    Trunk { n: u8, parent: u8, sub: u8 },
    Remove { kind: u8, n: u8 },
}

/// The properties of a port.
#[derive(Debug, Clone)]
pub struct PortShape {
    pub network: u8,
    pub subnet: u8,
    pub host: Option<u8>,
    pub groups: Vec<u8>,
    pub secure: bool,
    pub up: bool,
    /// 0 to 4: a server's; then a router's leg, its gateway, a floating IP's, a trunk's.
    pub owner: u8,
    pub device: u8,
    pub pair: bool,
    pub option: bool,
    pub policy: Option<u8>,
}

const FEW: u8 = 4;
const MANY: u8 = 10;

fn maybe(n: u8) -> impl Strategy<Value = Option<u8>> {
    prop::option::of(0..n)
}

fn port_shape() -> impl Strategy<Value = PortShape> {
    let place = (0..FEW, 0..FEW, maybe(FEW), prop::collection::vec(0..FEW, 0..3));
    let ways = (any::<bool>(), prop::bool::weighted(0.9), 0..9_u8, 0..FEW);
    (place, ways, any::<bool>(), prop::bool::weighted(0.2), maybe(2)).prop_map(
        |((network, subnet, host, groups), (secure, up, owner, device), pair, option, policy)| PortShape {
            network,
            subnet,
            host,
            groups: if secure { groups } else { Vec::new() },
            secure,
            up,
            owner,
            device,
            pair: pair && secure,
            option,
            policy,
        },
    )
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0..FEW, any::<bool>(), prop::bool::weighted(0.2))
            .prop_map(|(n, physical, fenced)| Step::Host { n, physical, fenced }),
        3 => (0..FEW, 0..2_u8, any::<bool>(), any::<bool>(), prop_oneof![Just(1442_u32), Just(1500)], any::<bool>(), maybe(2))
            .prop_map(|(n, tenant, external, up, mtu, vlan, policy)| Step::Network { n, tenant, external, up, mtu, vlan, policy }),
        3 => (0..FEW, 0..FEW, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(n, network, v6, dhcp, gateway)| Step::Subnet { n, network, v6, dhcp, gateway }),
        8 => (0..MANY, port_shape()).prop_map(|(n, port)| Step::Port { n, port }),
        2 => (0..FEW, any::<bool>()).prop_map(|(n, stateful)| Step::Group { n, stateful }),
        4 => (0..MANY, 0..FEW, any::<bool>(), any::<bool>(), 0..8_u8, 0..8_u8).prop_map(
            |(n, group, ingress, v6, remote, protocol)| Step::Rule { n, group, ingress, v6, remote, protocol }),
        1 => (0..2_u8, 0..4_u8).prop_map(|(n, ranges)| Step::Addresses { n, ranges }),
        3 => (0..2_u8, maybe(MANY), any::<bool>(), any::<bool>(), any::<bool>(), maybe(2)).prop_map(
            |(n, gateway, snat, distributed, route, policy)|
                Step::Router { n, gateway, snat, distributed, route, policy }),
        2 => (0..FEW, maybe(2), maybe(MANY), maybe(2))
            .prop_map(|(n, router, port, policy)| Step::Floating { n, router, port, policy }),
        1 => (0..FEW, 0..FEW, 0..MANY, 1..200_u8)
            .prop_map(|(n, floating, port, outer)| Step::Forwarding { n, floating, port, outer }),
        1 => (0..2_u8, 0..2_000_u32).prop_map(|(n, kbps)| Step::Policy { n, kbps }),
        1 => (0..2_u8, 0..MANY, 0..MANY).prop_map(|(n, parent, sub)| Step::Trunk { n, parent, sub }),
        4 => (HOST..=TRUNK, 0..MANY).prop_map(|(kind, n)| Step::Remove { kind, n }),
    ]
}

impl Step {
    fn run(&self, txn: &mut Txn<'_>) {
        match self {
            Self::Host { n, physical, fenced } => txn.put(host(*n, *physical, *fenced)),
            Self::Network { n, tenant: of, external, up, mtu, vlan, policy } => {
                let kind = if *vlan { "vlan" } else { "" };
                txn.put(read::<Network>(json!({
                    "id": id(NETWORK, *n), "project_id": tenant(*of), "name": format!("net{n}"), "admin_state_up": up,
                    "external": external, "mtu": mtu, "port_security_enabled": true,
                    "qos_policy_id": policy.map(|p| id(POLICY, p)),
                    "provider": { "network_type": kind, "physical_network": vlan.then_some("external"),
                        "segmentation_id": vlan.then_some(7) },
                })));
            }
            Self::Subnet { n, network, v6, dhcp, gateway } => {
                let new = subnet(*n, *network, *v6, *dhcp, *gateway);
                // A subnet never changes its network or its range.
                let known = txn.subnets.get(&new.id).cloned();
                let same = known.is_none_or(|s| s.network_id == new.network_id && s.cidr == new.cidr);
                if same {
                    txn.put(new);
                }
            }
            Self::Port { n, port } => put_port(txn, *n, port),
            Self::Group { n, stateful } => txn.put(read::<SecurityGroup>(json!({
                "id": id(GROUP, *n), "project_id": tenant(0), "name": format!("group{n}"), "stateful": stateful,
            }))),
            Self::Rule { .. } => txn.put(self.rule()),
            Self::Addresses { n, ranges } => {
                let all: Vec<String> = (0..*ranges).map(|r| format!("192.0.{r}.0/24")).collect();
                txn.put(read::<AddressGroup>(json!({
                    "id": id(ADDRESSES, *n), "project_id": tenant(0), "addresses": all,
                })));
            }
            Self::Router { .. } => self.put_router(txn),
            Self::Floating { n, router, port, policy } => {
                let to = port.and_then(|p| txn.ports.get(&lenticular_model::PortId(id(PORT, p))).cloned());
                let fixed = to.and_then(|to| Some(json!({
                    "port_id": to.id, "fixed_ip": to.fixed_ips.iter().find(|ip| ip.ip_address.is_ipv4())?.ip_address,
                })));
                txn.put(read::<FloatingIp>(json!({
                    "id": id(FLOATING, *n), "project_id": tenant(0), "network_id": id(NETWORK, 0),
                    "port_id": id(PORT, 9), "address": format!("203.0.113.{}", n + 10), "fixed": fixed,
                    "router_id": router.map(|r| id(ROUTER, r)), "qos_policy_id": policy.map(|p| id(POLICY, p)),
                })));
            }
            Self::Forwarding { n, floating, port, outer } => txn.put(read::<PortForwarding>(json!({
                "id": id(FORWARDING, *n), "floating_ip_id": id(FLOATING, *floating), "protocol": "tcp",
                "external": { "first": outer, "last": u16::from(*outer) + 2 }, "internal_port_id": id(PORT, *port),
                "internal_address": "10.0.0.5", "internal": { "first": 80, "last": 80 },
            }))),
            Self::Policy { n, kbps } => txn.put(read::<QosPolicy>(json!({
                "id": id(POLICY, *n), "project_id": tenant(0), "rules": [
                    { "id": id(POLICY, 100), "type": "bandwidth_limit", "max_kbps": kbps, "max_burst_kbps": 0, "direction": "egress" },
                    { "id": id(POLICY, 101), "type": "dscp_marking", "dscp_mark": 10 },
                    { "id": id(POLICY, 102), "type": "bandwidth_limit", "max_kbps": 9, "max_burst_kbps": kbps / 2, "direction": "ingress" },
                ],
            }))),
            Self::Trunk { n, parent, sub } => txn.put(read::<Trunk>(json!({
                "id": id(TRUNK, *n), "project_id": tenant(0), "admin_state_up": true, "port_id": id(PORT, *parent),
                "sub_ports": [{ "port_id": id(PORT, *sub), "segmentation_id": 5 }],
            }))),
            Self::Remove { kind, n } => remove(txn, *kind, *n),
        }
    }

    fn put_router(&self, txn: &mut Txn<'_>) {
        let Self::Router { n, gateway, snat, distributed, route, policy } = self else {
            panic!("it is asked of routers alone")
        };
        let port = gateway.and_then(|g| txn.ports.get(&lenticular_model::PortId(id(PORT, g))).cloned());
        let gateway = port.map(|port| {
            json!({
                "network_id": port.network_id, "port_id": port.id, "enable_snat": snat,
                "qos_policy_id": policy.map(|p| id(POLICY, p)),
            })
        });
        let routes = route.then(|| json!({ "destination": "198.51.100.0/24", "nexthop": "10.0.0.9" }));
        txn.put(read::<Router>(json!({
            "id": id(ROUTER, *n), "project_id": tenant(0), "name": format!("router{n}"),
            "admin_state_up": true, "gateway": gateway, "distributed": distributed, "ha": false,
            "routes": routes.into_iter().collect::<Vec<_>>(),
        })));
    }

    fn rule(&self) -> SecurityGroupRule {
        let Self::Rule { n, group, ingress, v6, remote, protocol } = self else {
            panic!("it is asked of rules alone")
        };
        let protocols = [
            None,
            Some("tcp"),
            Some("udp"),
            Some("icmp"),
            Some("47"),
            Some("ip"),
            Some("icmpv6"),
            Some("nonsense"),
        ];
        let remote = match remote {
            0 => json!("any"),
            1 => json!({ "range": "10.0.1.0/24" }),
            2 => json!({ "range": "fd00:1::/64" }),
            3 => json!({ "range": "0.0.0.0/0" }),
            4 | 5 => json!({ "address_group": id(ADDRESSES, remote - 4) }),
            _ => json!({ "group": id(GROUP, remote - 6) }),
        };
        let protocol = protocols[usize::from(*protocol)];
        read(json!({
            "id": id(RULE, *n), "security_group_id": id(GROUP, *group), "project_id": tenant(0),
            "direction": if *ingress { "ingress" } else { "egress" }, "ip_version": if *v6 { 6 } else { 4 },
            "protocol": protocol, "remote": remote,
            "port_range_min": protocol.map(|_| 8), "port_range_max": protocol.map(|_| 90),
        }))
    }
}

pub fn host(n: u8, physical: bool, fenced: bool) -> Host {
    let physical: &[&str] = if physical { &["external"] } else { &[] };
    read(json!({
        "id": id(HOST, n), "name": format!("host-{n}"), "intent": { "is": "enabled" }, "zone": "nova",
        "address": "10.0.0.1", "capacity": { "vcpus": 1, "memory_mb": 1, "disk_gb": 1 },
        "hypervisor": { "driver": "qemu", "acceleration": "tcg", "version": 1, "arch": "x86_64", "cpu_model": "",
            "wiring": { "driver": "ovn", "physical_networks": physical } },
        "fence": fenced.then(|| json!({ "at": Timestamp(1), "by": "operator" })),
        "boot_id": "b", "number": n, "cpu_ratio": 1.0,
    }))
}

pub fn subnet(n: u8, network: u8, v6: bool, dhcp: bool, gateway: bool) -> Subnet {
    let (cidr, first) = match v6 {
        false => (format!("10.0.{n}.0/24"), format!("10.0.{n}.1")),
        true => (format!("fd00:{n}::/64"), format!("fd00:{n}::1")),
    };
    read(json!({
        "id": id(SUBNET, n), "project_id": tenant(0), "network_id": id(NETWORK, network), "cidr": cidr,
        "gateway": gateway.then_some(first), "enable_dhcp": dhcp, "pools": [],
        "dns_nameservers": ["9.9.9.9"], "ipv6_ra_mode": v6.then_some("slaac"), "ipv6_address_mode": v6.then_some("slaac"),
    }))
}

fn put_port(txn: &mut Txn<'_>, n: u8, snapshot: &PortShape) {
    let subnet = txn.subnets.get(&lenticular_model::SubnetId(id(SUBNET, snapshot.subnet))).cloned();
    // As in Neutron, addresses are of the port's own network.
    let network = subnet.as_ref().map_or(id(NETWORK, snapshot.network), |s| s.network_id.0);
    let address = subnet.as_ref().map(|s| {
        let number = lenticular_model::network::subnet::to_number(s.cidr.network()) + 20 + u128::from(n);
        json!([{ "subnet_id": s.id, "ip_address": lenticular_model::network::subnet::to_address(number, s.cidr.network()) }])
    });
    let (owner, device) = match snapshot.owner {
        5 => ("network:router_interface", id(ROUTER, snapshot.device % 2).to_string()),
        6 => ("network:router_gateway", id(ROUTER, snapshot.device % 2).to_string()),
        7 => ("network:floatingip", id(FLOATING, snapshot.device).to_string()),
        8 => ("trunk:subport", id(TRUNK, snapshot.device % 2).to_string()),
        _ => ("compute:nova", id(99, n).to_string()),
    };
    let groups: std::collections::BTreeSet<Uuid> = snapshot.groups.iter().map(|g| id(GROUP, *g)).collect();
    let pair = json!({ "ip_address": "10.0.0.200", "mac_address": "fa:16:3e:ff:ff:ff" });
    let option = json!({ "name": "bootfile-name", "value": "pxe", "ip_version": 4 });
    txn.put(read::<Port>(json!({
        "id": id(PORT, n), "project_id": tenant(0), "network_id": network, "admin_state_up": snapshot.up,
        "mac": format!("fa:16:3e:00:00:{n:02x}"), "fixed_ips": address.unwrap_or(json!([])),
        "device_owner": owner, "device_id": device, "host_id": snapshot.host.map(|h| id(HOST, h)),
        "security_groups": groups, "port_security_enabled": snapshot.secure,
        "allowed_address_pairs": snapshot.pair.then_some(pair).into_iter().collect::<Vec<_>>(),
        "extra_dhcp_opts": snapshot.option.then_some(option).into_iter().collect::<Vec<_>>(),
        "dns_name": if snapshot.option { "web" } else { "" },
        "qos_policy_id": snapshot.policy.map(|p| id(POLICY, p)),
    })));
}

fn remove(txn: &mut Txn<'_>, kind: u8, n: u8) {
    use lenticular_model as m;
    let of = id(kind, n);
    match kind {
        HOST => drop(txn.delete::<Host>(&m::HostId(of))),
        NETWORK => drop(txn.delete::<Network>(&m::NetworkId(of))),
        SUBNET => drop(txn.delete::<Subnet>(&m::SubnetId(of))),
        PORT => drop(txn.delete::<Port>(&m::PortId(of))),
        GROUP => drop(txn.delete::<SecurityGroup>(&m::SecurityGroupId(of))),
        RULE => drop(txn.delete::<SecurityGroupRule>(&m::SecurityGroupRuleId(of))),
        ROUTER => drop(txn.delete::<Router>(&m::RouterId(of))),
        FLOATING => drop(txn.delete::<FloatingIp>(&m::FloatingIpId(of))),
        FORWARDING => drop(txn.delete::<PortForwarding>(&m::PortForwardingId(of))),
        ADDRESSES => drop(txn.delete::<AddressGroup>(&m::AddressGroupId(of))),
        POLICY => drop(txn.delete::<QosPolicy>(&m::QosPolicyId(of))),
        TRUNK => drop(txn.delete::<Trunk>(&m::TrunkId(of))),
        _ => {}
    }
}
