//! Routers, floating IPs and port forwardings: after any request, every path that a record promises exists.

use crate::world::{World, admin, caller, member, project};
use lenticular_control::command::network::{
    floating_ip::{self, FloatingIpChange, NewFloatingIp, Target},
    network,
    port::{self, AskIp, NewPort, PortChange},
    port_forwarding::{self, NewPortForwarding},
    router::{self, GatewayAsk, InterfaceAsk, NewRouter, RouterChange},
    subnet::{self, SubnetChange},
    trunk::{self, NewTrunk},
};
use lenticular_model::{
    FloatingIpId, NetworkId, PortId, Result, RouterId, SubnetId,
    network::{
        port_forwarding::{ForwardedProtocol, PortRange},
        subnet::HostRoute,
        trunk::SubPort,
    },
    policy::{Caller, RoleLevel},
};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Ask {
    Router { gateway: bool },
    Gateway { router: usize, external: Option<usize> },
    AddSubnet { router: usize, subnet: usize },
    AddPort { router: usize, port: usize },
    RemoveSubnet { router: usize, subnet: usize },
    Route { router: usize, host: u8 },
    DeleteRouter(usize),
    Port { network: usize, second: bool },
    MovePort { port: usize, host: u8 },
    DeletePort(usize),
    Floating { external: usize, port: Option<usize> },
    Lead { floating: usize, port: Option<usize> },
    DeleteFloating(usize),
    Forward { floating: usize, port: usize, external: u16, size: u16 },
    DeleteForward(usize),
    MoveGateway { subnet: usize, host: u8 },
    DeleteSubnet(usize),
    DeleteNetwork(usize),
    Trunk { parent: usize, sub: usize },
    DeleteTrunk(usize),
}

fn asks() -> impl Strategy<Value = Ask> {
    let n = 0_usize..6;
    prop_oneof![
        2 => any::<bool>().prop_map(|gateway| Ask::Router { gateway }),
        2 => (n.clone(), proptest::option::of(0_usize..2))
            .prop_map(|(router, external)| Ask::Gateway { router, external }),
        5 => (n.clone(), n.clone()).prop_map(|(router, subnet)| Ask::AddSubnet { router, subnet }),
        2 => (n.clone(), 0_usize..20).prop_map(|(router, port)| Ask::AddPort { router, port }),
        2 => (n.clone(), n.clone()).prop_map(|(router, subnet)| Ask::RemoveSubnet { router, subnet }),
        1 => (n.clone(), 2_u8..9).prop_map(|(router, host)| Ask::Route { router, host }),
        1 => n.clone().prop_map(Ask::DeleteRouter),
        5 => (n.clone(), any::<bool>()).prop_map(|(network, second)| Ask::Port { network, second }),
        2 => (0_usize..20, 2_u8..12).prop_map(|(port, host)| Ask::MovePort { port, host }),
        2 => (0_usize..20).prop_map(Ask::DeletePort),
        4 => (0_usize..2, proptest::option::of(0_usize..20))
            .prop_map(|(external, port)| Ask::Floating { external, port }),
        4 => (0_usize..8, proptest::option::of(0_usize..20))
            .prop_map(|(floating, port)| Ask::Lead { floating, port }),
        1 => (0_usize..8).prop_map(Ask::DeleteFloating),
        4 => (0_usize..8, 0_usize..20, 80_u16..90, 0_u16..3)
            .prop_map(|(floating, port, external, size)| Ask::Forward { floating, port, external, size }),
        1 => (0_usize..8).prop_map(Ask::DeleteForward),
        1 => (n.clone(), 1_u8..6).prop_map(|(subnet, host)| Ask::MoveGateway { subnet, host }),
        1 => n.clone().prop_map(Ask::DeleteSubnet),
        1 => n.prop_map(Ask::DeleteNetwork),
        1 => (0_usize..20, 0_usize..20).prop_map(|(parent, sub)| Ask::Trunk { parent, sub }),
        1 => (0_usize..3).prop_map(Ask::DeleteTrunk),
    ]
}

/// Two external networks and five tenants' networks, two of which have the same range.
fn furnished() -> World {
    let mut world = World::new();
    for range in ["192.0.2.0/28", "198.51.100.0/28"] {
        world.network(&admin(), true, range);
    }
    for range in ["10.0.0.0/28", "10.0.0.0/28", "10.0.1.0/28", "10.0.2.0/28", "fd00::/64"] {
        world.network(&member(), false, range);
    }
    world
}

fn pick<T: Copy>(all: &[T], n: usize) -> Result<T> {
    let none = || lenticular_model::Error::invalid("there is none");
    (!all.is_empty()).then(|| all[n % all.len()]).ok_or_else(none)
}

impl World {
    fn networks(&self, external: bool) -> Vec<NetworkId> {
        self.state.networks.values().filter(|n| n.external == external).map(|n| n.id).collect()
    }

    fn subnets(&self) -> Vec<SubnetId> {
        let inner = |id: &NetworkId| !self.state.networks[id].external;
        self.state.subnets.values().filter(|s| inner(&s.network_id)).map(|s| s.id).collect()
    }

    fn routers(&self) -> Vec<RouterId> {
        self.state.routers.keys().copied().collect()
    }

    fn ports(&self) -> Vec<PortId> {
        let own = project(&member());
        self.state.ports.values().filter(|p| p.project_id == own).map(|p| p.id).collect()
    }

    fn floating(&self) -> Vec<FloatingIpId> {
        self.state.floating_ips.keys().copied().collect()
    }

    fn ask(&mut self, ask: &Ask) -> Result<()> {
        match ask {
            Ask::Router { .. }
            | Ask::Gateway { .. }
            | Ask::AddSubnet { .. }
            | Ask::AddPort { .. }
            | Ask::RemoveSubnet { .. }
            | Ask::Route { .. }
            | Ask::DeleteRouter(_) => self.ask_router(ask),
            Ask::Floating { .. }
            | Ask::Lead { .. }
            | Ask::DeleteFloating(_)
            | Ask::Forward { .. }
            | Ask::DeleteForward(_) => self.ask_floating(ask),
            _ => self.ask_network(ask),
        }
    }

    fn ask_router(&mut self, ask: &Ask) -> Result<()> {
        let who = member();
        let gateway = GatewayAsk::to;
        match *ask {
            Ask::Router { gateway: wanted } => {
                let external = pick(&self.networks(true), 0)?;
                let new = NewRouter {
                    project_id: project(&who),
                    name: String::new(),
                    description: String::new(),
                    admin_state_up: true,
                    gateway: wanted.then(|| gateway(external)),
                    distributed: None,
                    ha: None,
                    availability_zone_hints: Vec::new(),
                };
                self.run(|txn| router::create(txn, &who, new).map(|_| ()))
            }
            Ask::Gateway { router, external } => {
                let id = pick(&self.routers(), router)?;
                let external = external.map(|n| pick(&self.networks(true), n)).transpose()?;
                let change = RouterChange { gateway: Some(external.map(gateway)), ..Default::default() };
                self.run(|txn| router::update(txn, &who, id, change))
            }
            Ask::AddSubnet { router, subnet } => {
                let (id, subnet) = (pick(&self.routers(), router)?, pick(&self.subnets(), subnet)?);
                let ask = InterfaceAsk { subnet_id: Some(subnet), port_id: None };
                self.run(|txn| router::add_interface(txn, &who, id, ask).map(|_| ()))
            }
            Ask::AddPort { router, port } => {
                let (id, port) = (pick(&self.routers(), router)?, pick(&self.ports(), port)?);
                let ask = InterfaceAsk { subnet_id: None, port_id: Some(port) };
                self.run(|txn| router::add_interface(txn, &who, id, ask).map(|_| ()))
            }
            Ask::RemoveSubnet { router, subnet } => {
                let (id, subnet) = (pick(&self.routers(), router)?, pick(&self.subnets(), subnet)?);
                let ask = InterfaceAsk { subnet_id: Some(subnet), port_id: None };
                self.run(|txn| router::remove_interface(txn, &who, id, ask).map(|_| ()))
            }
            Ask::Route { router, host } => {
                let id = pick(&self.routers(), router)?;
                let nexthop = format!("10.0.0.{host}").parse().unwrap();
                let route = HostRoute { destination: "172.16.0.0/16".parse().unwrap(), nexthop };
                let change = RouterChange { routes: Some(vec![route]), ..Default::default() };
                self.run(|txn| router::update(txn, &who, id, change))
            }
            Ask::DeleteRouter(n) => {
                let id = pick(&self.routers(), n)?;
                self.run(|txn| router::delete(txn, &who, id))
            }
            _ => unreachable!("others are asked elsewhere"),
        }
    }

    fn ask_floating(&mut self, ask: &Ask) -> Result<()> {
        let who = member();
        let target = |port_id| Target { port_id, fixed_ip: None };
        match *ask {
            Ask::Floating { external, port } => {
                let network = pick(&self.networks(true), external)?;
                let port = port.map(|n| pick(&self.ports(), n)).transpose()?;
                let new = new_floating(&who, network, port.map(target));
                self.run(|txn| floating_ip::create(txn, &who, new).map(|_| ()))
            }
            Ask::Lead { floating, port } => {
                let id = pick(&self.floating(), floating)?;
                let port = port.map(|n| pick(&self.ports(), n)).transpose()?;
                let change = FloatingIpChange { target: Some(port.map(target)), ..Default::default() };
                self.run(|txn| floating_ip::update(txn, &who, id, change))
            }
            Ask::DeleteFloating(n) => {
                let id = pick(&self.floating(), n)?;
                self.run(|txn| floating_ip::delete(txn, &who, id))
            }
            Ask::Forward { floating, port, external, size } => {
                let new = NewPortForwarding {
                    floating_ip_id: pick(&self.floating(), floating)?,
                    protocol: ForwardedProtocol::Tcp,
                    external: PortRange { first: external, last: external + size },
                    internal_port_id: pick(&self.ports(), port)?,
                    internal_address: None,
                    internal: PortRange { first: 1_000, last: 1_000 + size },
                    description: String::new(),
                };
                self.run(|txn| port_forwarding::create(txn, &who, new).map(|_| ()))
            }
            Ask::DeleteForward(n) => {
                let all: Vec<_> =
                    self.state.port_forwardings.values().map(|f| (f.floating_ip_id, f.id)).collect();
                let (of, id) = pick(&all, n)?;
                self.run(|txn| port_forwarding::delete(txn, &who, of, id))
            }
            _ => unreachable!("others are asked elsewhere"),
        }
    }

    fn ask_network(&mut self, ask: &Ask) -> Result<()> {
        let who = member();
        match *ask {
            Ask::Port { network, second } => {
                let id = pick(&self.networks(false), network)?;
                let subnet = self.state.subnets_of_network(id).next().map(|s| s.id);
                let two = vec![AskIp { subnet, address: None }; 2];
                let new = NewPort { fixed_ips: second.then_some(two), ..NewPort::on(id, project(&who)) };
                self.run(|txn| port::create(txn, &who, new).map(|_| ()))
            }
            Ask::MovePort { port, host } => {
                let id = pick(&self.ports(), port)?;
                let network = self.state.ports[&id].network_id;
                let subnet = self.state.subnets_of_network(network).next().cloned();
                let base = subnet.map(|s| {
                    (lenticular_model::network::subnet::to_number(s.cidr.network()), s.cidr.network())
                });
                let address = base.map(|(n, like)| {
                    lenticular_model::network::subnet::to_address(n + u128::from(host), like)
                });
                let fixed_ips = Some(vec![AskIp { subnet: None, address }]);
                let change = PortChange { fixed_ips, ..Default::default() };
                self.run(|txn| port::update(txn, &who, id, change))
            }
            Ask::DeletePort(n) => {
                let id = pick(&self.ports(), n)?;
                self.run(|txn| port::delete(txn, &who, id))
            }
            Ask::MoveGateway { subnet, host } => {
                let id = pick(&self.subnets(), subnet)?;
                let base = self.state.subnets[&id].cidr.network();
                let number = lenticular_model::network::subnet::to_number(base) + u128::from(host);
                let gateway = Some(Some(lenticular_model::network::subnet::to_address(number, base)));
                let change = SubnetChange { gateway, pools: Some(Vec::new()), ..Default::default() };
                self.run(|txn| subnet::update(txn, &who, id, change))
            }
            Ask::DeleteSubnet(n) => {
                let id = pick(&self.subnets(), n)?;
                self.run(|txn| subnet::delete(txn, &who, id))
            }
            Ask::DeleteNetwork(n) => {
                let id = pick(&self.networks(false), n)?;
                self.run(|txn| network::delete(txn, &who, id))
            }
            Ask::Trunk { parent, sub } => {
                let sub = SubPort { port_id: pick(&self.ports(), sub)?, segmentation_id: 7 };
                let new = NewTrunk {
                    project_id: project(&who),
                    name: String::new(),
                    description: String::new(),
                    admin_state_up: true,
                    port_id: pick(&self.ports(), parent)?,
                    sub_ports: vec![sub],
                };
                self.run(|txn| trunk::create(txn, &who, new).map(|_| ()))
            }
            Ask::DeleteTrunk(n) => {
                let all: Vec<_> = self.state.trunks.keys().copied().collect();
                let id = pick(&all, n)?;
                self.run(|txn| trunk::delete(txn, &who, id))
            }
            _ => unreachable!("others are asked elsewhere"),
        }
    }
}

fn new_floating(who: &Caller, network_id: NetworkId, target: Option<Target>) -> NewFloatingIp {
    NewFloatingIp {
        project_id: project(who),
        description: String::new(),
        network_id,
        subnet_id: None,
        address: None,
        target,
        dns_name: String::new(),
        dns_domain: String::new(),
        qos_policy_id: None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn every_path_that_is_promised_is_there(all in proptest::collection::vec(asks(), 1..80)) {
        let mut world = furnished();
        for ask in &all {
            let before = world.state.seq;
            if world.ask(ask).is_err() {
                prop_assert_eq!(before, world.state.seq);
            }
            world.check();
        }
    }
}

/// A project's router between its network and the external network, and a port behind it.
fn reachable(world: &mut World) -> (RouterId, SubnetId, PortId) {
    let who = member();
    world.ask(&Ask::Router { gateway: true }).unwrap();
    let router = world.routers()[0];
    let inner = world.networks(false);
    let subnet = world.state.subnets_of_network(inner[2]).next().unwrap().id;
    let ask = InterfaceAsk { subnet_id: Some(subnet), port_id: None };
    world.run(|txn| router::add_interface(txn, &who, router, ask)).unwrap();
    let new = NewPort::on(inner[2], project(&who));
    let port = world.run(|txn| port::create(txn, &who, new)).unwrap();
    (router, subnet, port)
}

#[test]
fn records_that_a_floating_ip_needs_stay_until_it_is_deleted() {
    let mut world = furnished();
    let who = member();
    let (router, subnet, port) = reachable(&mut world);
    let external = world.networks(true)[0];
    let new = new_floating(&who, external, Some(Target { port_id: port, fixed_ip: None }));
    let floating = world.run(|txn| floating_ip::create(txn, &who, new.clone())).unwrap();
    let refused = |world: &mut World, command: &dyn Fn(&mut lenticular_model::Txn<'_>) -> Result<()>| {
        world.run(|txn| command(txn)).unwrap_err().code
    };
    let leg = InterfaceAsk { subnet_id: Some(subnet), port_id: None };
    let code = refused(&mut world, &|txn| router::remove_interface(txn, &who, router, leg).map(|_| ()));
    assert_eq!(code, "RouterInterfaceInUseByFloatingIP");
    let no_gateway = RouterChange { gateway: Some(None), ..Default::default() };
    let code = refused(&mut world, &|txn| router::update(txn, &who, router, no_gateway.clone()));
    assert_eq!(code, "RouterExternalGatewayInUseByFloatingIp");
    let code = refused(&mut world, &|txn| router::delete(txn, &who, router));
    assert_eq!(code, "RouterInUse");
    let code = refused(&mut world, &|txn| floating_ip::create(txn, &who, new.clone()).map(|_| ()));
    assert_eq!(code, "FloatingIPPortAlreadyAssociated");
    let own = world.state.floating_ips[&floating].port_id;
    let code = refused(&mut world, &|txn| port::delete(txn, &admin(), own));
    assert_eq!(code, "ServicePortInUse");

    world.run(|txn| port::delete(txn, &who, port)).unwrap();
    assert!(world.state.floating_ips[&floating].fixed.is_none(), "it leads nowhere when its port is gone");
    world.run(|txn| router::remove_interface(txn, &who, router, leg)).unwrap();
    world.run(|txn| router::delete(txn, &who, router)).unwrap();
    world.check();
}

#[test]
fn records_of_another_project_do_not_exist_and_cannot_be_targets() {
    let mut world = furnished();
    let (router, _, port) = reachable(&mut world);
    let stranger = caller(5, RoleLevel::Member);
    let external = world.networks(true)[0];
    let gone = world.run(|txn| router::delete(txn, &stranger, router)).unwrap_err();
    assert_eq!(gone.code, "RouterNotFound");
    let new = new_floating(&stranger, external, Some(Target { port_id: port, fixed_ip: None }));
    let refused = world.run(|txn| floating_ip::create(txn, &stranger, new)).unwrap_err();
    assert_eq!(refused.code, "PortNotFound");
    assert!(world.state.floating_ips.is_empty(), "a refused request leaves no address behind");
    let forged = NewPort {
        device_owner: "network:router_interface".to_owned(),
        device_id: router.to_string(),
        ..NewPort::on(world.networks(false)[0], project(&member()))
    };
    assert!(
        world.run(|txn| port::create(txn, &member(), forged)).is_err(),
        "a leg is only made by its router"
    );
    world.check();
}

#[test]
fn overlapping_ranges_and_strange_next_hops_are_refused() {
    let mut world = furnished();
    let who = member();
    let (router, _, _) = reachable(&mut world);
    let inner = world.networks(false);
    let same = world.state.subnets.values().filter(|s| s.cidr.to_string() == "10.0.0.0/28").map(|s| s.id);
    let same: Vec<SubnetId> = same.collect();
    assert_eq!((inner.len(), same.len()), (5, 2));
    let codes: Vec<&str> = same
        .iter()
        .filter_map(|subnet| {
            let ask = InterfaceAsk { subnet_id: Some(*subnet), port_id: None };
            world.run(|txn| router::add_interface(txn, &who, router, ask)).err().map(|e| e.code)
        })
        .collect();
    assert!(codes.contains(&"BadRequest"), "one router cannot tell two equal ranges apart");
    let route = |hop: &str| HostRoute {
        destination: "172.16.0.0/16".parse().unwrap(),
        nexthop: hop.parse().unwrap(),
    };
    let change = |hop| RouterChange { routes: Some(vec![route(hop)]), ..Default::default() };
    let refused = world.run(|txn| router::update(txn, &who, router, change("203.0.113.7"))).unwrap_err();
    assert_eq!(refused.code, "InvalidRoutes");
    world.check();
}

#[test]
fn the_clouds_own_ports_are_changed_only_through_their_device() {
    let mut world = furnished();
    let (router, _, port) = reachable(&mut world);
    let external = world.networks(true)[0];
    let new = new_floating(&member(), external, Some(Target { port_id: port, fixed_ip: None }));
    let floating = world.run(|txn| floating_ip::create(txn, &member(), new)).unwrap();
    let gateway = world.state.routers[&router].gateway.unwrap().port_id;
    let leg = world.state.interfaces_of_router(router).next().unwrap().id;
    let moved = PortChange { fixed_ips: Some(Vec::new()), ..Default::default() };
    let filtered = PortChange { port_security_enabled: Some(true), ..Default::default() };
    let own = world.state.floating_ips[&floating].port_id;
    for (id, change) in
        [(own, moved.clone()), (gateway, moved.clone()), (gateway, filtered.clone()), (leg, filtered)]
    {
        let refused = world.run(|txn| port::update(txn, &admin(), id, change)).unwrap_err();
        assert_eq!(refused.code, "ServicePortInUse");
    }
    let refused = world.run(|txn| port::update(txn, &admin(), leg, moved)).unwrap_err();
    assert_eq!(refused.code, "BadRequest", "a leg without an address leads nowhere");
    world.check();
}

#[test]
fn a_manager_chooses_a_floating_ips_address_among_those_that_are_given_out() {
    let mut world = World::new();
    let (network, _) = world.network(&admin(), true, "192.0.2.0/24");
    let mut ask = |who: Caller, address: &str| {
        let address = Some(address.parse().unwrap());
        let new = NewFloatingIp { address, ..new_floating(&who, network, None) };
        world.run(|txn| floating_ip::create(txn, &who, new)).map(drop).map_err(|refused| refused.code)
    };
    let manager = caller(9, RoleLevel::Manager);
    assert_eq!(ask(member(), "192.0.2.9"), Err("PolicyNotAuthorized"));
    assert_eq!(ask(manager.clone(), "192.0.2.9"), Ok(()));
    assert_eq!(ask(manager, "192.0.2.1"), Err("BadRequest"), "the gateway's is not given out");
    assert_eq!(ask(admin(), "192.0.2.1"), Ok(()), "the network's owner knows what it does");
}
