//! A cloud with an external network and a project, and the rules that hold after every command.

use lenticular_control::{
    bootstrap::bootstrap,
    command::network::{
        network::{self, NewNetwork},
        subnet::{self, NewSubnet, Range},
    },
};
use lenticular_model::{
    Incarnation, NetworkId, ProjectId, Result, RouterId, State, SubnetId, Timestamp, Txn, UserId,
    identity::Project,
    network::{
        floating_ip::FloatingIp,
        port::{Port, PortOwner},
        port_forwarding::PortForwarding,
        router::Router,
        subnet::Subnet,
    },
    policy::{Caller, RoleLevel, Scope},
};
use std::{collections::BTreeSet, net::IpAddr};

pub struct World {
    pub state: State,
    seed: u128,
}

/// A caller of a project.
pub fn caller(project: u8, level: RoleLevel) -> Caller {
    Caller {
        user_id: UserId::from_random([8; 16]),
        scope: Scope::Project(ProjectId::from_random([project; 16])),
        level,
        request_id: "req-test".to_owned(),
    }
}

pub fn member() -> Caller {
    caller(9, RoleLevel::Member)
}

pub fn admin() -> Caller {
    caller(7, RoleLevel::Admin)
}

pub fn project(of: &Caller) -> ProjectId {
    of.project_id().unwrap()
}

impl World {
    pub fn new() -> Self {
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
        let mut world = Self { state, seed: 1 };
        world
            .run(|txn| {
                bootstrap(txn, "hash");
                for of in [member(), admin(), caller(5, RoleLevel::Member)] {
                    let id = project(&of);
                    txn.put(Project {
                        id,
                        created_at: txn.now,
                        updated_at: None,
                        domain_id: "default".into(),
                        name: format!("p-{id}"),
                        description: String::new(),
                        enabled: true,
                        tokens_void_before: Default::default(),
                        parent_id: None,
                        tags: Vec::new(),
                        extra: Default::default(),
                        unknown: Default::default(),
                    });
                }
                Ok(())
            })
            .unwrap();
        world
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    pub fn run<T>(&mut self, command: impl FnOnce(&mut Txn<'_>) -> Result<T>) -> Result<T> {
        let seed = &mut self.seed;
        let mut entropy = || {
            *seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            (*seed ^ (*seed >> 64)).to_be_bytes()
        };
        let mut txn = Txn::new(&self.state, Timestamp(2), &mut entropy);
        let done = command(&mut txn)?;
        self.state = txn.finish().0;
        Ok(done)
    }

    /// A network with one subnet of a range, without DHCP.
    pub fn network(&mut self, of: &Caller, external: bool, range: &str) -> (NetworkId, SubnetId) {
        let cidr = range.parse().unwrap();
        self.run(|txn| {
            let new = NewNetwork { external, ..NewNetwork::of(project(of), "n") };
            let network = network::create(txn, of, new)?;
            let new = NewSubnet::of(project(of), network, Range::Given(cidr));
            Ok((network, subnet::create(txn, of, NewSubnet { enable_dhcp: false, ..new })?))
        })
        .unwrap()
    }

    /// The rules that every cloud must fulfil.
    pub fn check(&self) {
        self.check_addresses();
        for router in self.state.routers.values() {
            self.check_router(router);
        }
        for floating in self.state.floating_ips.values() {
            self.check_floating(floating);
        }
        self.check_forwardings();
        self.check_indexes();
    }

    fn check_addresses(&self) {
        let mut seen = BTreeSet::new();
        for port in self.state.ports.values() {
            for ip in &port.fixed_ips {
                assert!(
                    seen.insert((port.network_id, ip.ip_address)),
                    "{} is given out twice",
                    ip.ip_address
                );
                assert_eq!(self.state.subnets[&ip.subnet_id].network_id, port.network_id);
            }
        }
    }

    fn legs(&self, router: RouterId, owner: PortOwner) -> Vec<&Port> {
        let of = |p: &&Port| p.owner() == owner && p.device_id == router.to_string();
        self.state.ports.values().map(|p| &**p).filter(of).collect()
    }

    /// The subnets of a router do not overlap, its gateway exists, and its routes lead into networks with a leg.
    fn check_router(&self, router: &Router) {
        let (inner, outer) = (
            self.legs(router.id, PortOwner::RouterInterface),
            self.legs(router.id, PortOwner::RouterGateway),
        );
        let subnets: Vec<&Subnet> = inner
            .iter()
            .chain(&outer)
            .flat_map(|p| p.fixed_ips.iter().map(|ip| &*self.state.subnets[&ip.subnet_id]))
            .collect();
        for (at, one) in subnets.iter().enumerate() {
            for other in &subnets[..at] {
                let apart = !one.cidr.contains(&other.cidr) && !other.cidr.contains(&one.cidr);
                assert!(apart, "{} and {} are on one router", one.cidr, other.cidr);
            }
        }
        match router.gateway {
            Some(gateway) => {
                assert_eq!(outer.len(), 1);
                assert_eq!((outer[0].id, outer[0].network_id), (gateway.port_id, gateway.network_id));
                assert!(self.state.networks[&gateway.network_id].external && !outer[0].fixed_ips.is_empty());
            }
            None => assert!(outer.is_empty(), "a gateway's port without a gateway"),
        }
        for route in &router.routes {
            assert!(subnets.iter().any(|s| s.cidr.contains(&route.nexthop)), "a route into nowhere");
        }
    }

    /// The router of a floating IP connects the floating IP's network with the address.
    fn check_path(&self, floating: &FloatingIp, port: &Port, address: IpAddr) {
        let fixed =
            port.fixed_ips.iter().find(|ip| ip.ip_address == address).expect("the port has the address");
        let router = &self.state.routers[&floating.router_id.expect("it goes by a router")];
        assert_eq!(router.gateway.map(|g| g.network_id), Some(floating.network_id));
        let legs = self.legs(router.id, PortOwner::RouterInterface);
        assert!(legs.iter().any(|p| p.fixed_ips.iter().any(|ip| ip.subnet_id == fixed.subnet_id)));
    }

    fn check_floating(&self, floating: &FloatingIp) {
        let own = &self.state.ports[&floating.port_id];
        assert_eq!(own.owner(), PortOwner::FloatingIp);
        assert_eq!(own.fixed_ips.iter().map(|ip| ip.ip_address).collect::<Vec<_>>(), [floating.address]);
        let forwards = self.state.port_forwardings.values().any(|f| f.floating_ip_id == floating.id);
        assert_eq!(floating.router_id.is_some(), floating.fixed.is_some() || forwards);
        let Some(fixed) = floating.fixed else { return };
        assert!(!forwards, "all of it leads to one port, and some of it elsewhere");
        self.check_path(floating, &self.state.ports[&fixed.port_id], fixed.fixed_ip);
        let same = |f: &&FloatingIp| f.fixed == floating.fixed && f.network_id == floating.network_id;
        assert_eq!(self.state.floating_ips.values().map(|f| &**f).filter(same).count(), 1);
    }

    fn check_forwardings(&self) {
        let all: Vec<&PortForwarding> = self.state.port_forwardings.values().map(|f| &**f).collect();
        for (at, one) in all.iter().enumerate() {
            let floating = &self.state.floating_ips[&one.floating_ip_id];
            self.check_path(floating, &self.state.ports[&one.internal_port_id], one.internal_address.into());
            let rivals = all[..at].iter().filter(|f| f.floating_ip_id == one.floating_ip_id);
            let clash =
                |f: &&&PortForwarding| f.protocol == one.protocol && f.external.overlaps(one.external);
            assert!(!rivals.clone().any(|f| clash(&f)), "one port leads to two guests");
        }
    }

    /// The indexes equal those of a State reloaded from its records.
    fn check_indexes(&self) {
        assert_eq!(self.state.check_indexes(), Ok(()));
    }
}
