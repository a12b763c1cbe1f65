//! Properties of the network commands: after any request, addresses are unique and indexes are correct, and a
//! refusal has changed nothing.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use lenticular_control::{
    bootstrap::bootstrap,
    command::network::{network, port, subnet},
};
use lenticular_model::{
    Incarnation, NetworkId, PortId, ProjectId, State, SubnetId, Timestamp, Txn, UserId,
    identity::Project,
    network::subnet::Pool,
    policy::{Caller, RoleLevel, Scope},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

#[derive(Debug, Clone)]
enum Ask {
    Network,
    Subnet { network: usize, third: u8, prefix: u8 },
    Port { network: usize, last: Option<u8> },
    MovePort { port: usize, last: u8 },
    DeletePort(usize),
    DeleteSubnet(usize),
    DeleteNetwork(usize),
    NarrowPool { subnet: usize, first: u8, last: u8 },
}

fn asks() -> impl Strategy<Value = Ask> {
    prop_oneof![
        1 => Just(Ask::Network),
        2 => (0_usize..4, 0_u8..4, 27_u8..33)
            .prop_map(|(network, third, prefix)| Ask::Subnet { network, third, prefix }),
        8 => (0_usize..4, proptest::option::of(0_u8..40)).prop_map(|(network, last)| Ask::Port { network, last }),
        3 => (0_usize..20, 0_u8..40).prop_map(|(port, last)| Ask::MovePort { port, last }),
        4 => (0_usize..20).prop_map(Ask::DeletePort),
        1 => (0_usize..4).prop_map(Ask::DeleteSubnet),
        1 => (0_usize..4).prop_map(Ask::DeleteNetwork),
        1 => (0_usize..4, 0_u8..40, 0_u8..40)
            .prop_map(|(subnet, first, last)| Ask::NarrowPool { subnet, first, last }),
    ]
}

struct World {
    state: State,
    seed: u128,
    caller: Caller,
}

impl World {
    fn new() -> Self {
        let state = State::new(Incarnation::from_random([1; 16]), Timestamp(1));
        let project = ProjectId::from_random([9; 16]);
        let caller = Caller {
            user_id: UserId::from_random([8; 16]),
            scope: Scope::Project(project),
            level: RoleLevel::Member,
            request_id: "req-test".to_owned(),
        };
        let mut world = Self { state, seed: 1, caller };
        let committed = world.run(|txn, _| {
            bootstrap(txn, "hash");
            txn.put(Project {
                id: project,
                created_at: txn.now,
                updated_at: None,
                domain_id: "default".into(),
                name: "p".to_owned(),
                description: String::new(),
                enabled: true,
                tokens_void_before: Default::default(),
                parent_id: None,
                tags: Vec::new(),
                extra: Default::default(),
                unknown: Default::default(),
            });
            Ok(())
        });
        assert!(committed);
        world
    }

    /// Runs a command like the writer: its transaction counts only if it does not refuse.
    fn run(&mut self, command: impl FnOnce(&mut Txn<'_>, &Caller) -> lenticular_model::Result<()>) -> bool {
        let seed = &mut self.seed;
        let mut entropy = || {
            *seed = seed.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
            (*seed ^ (*seed >> 64)).to_be_bytes()
        };
        let mut txn = Txn::new(&self.state, Timestamp(2), &mut entropy);
        let accepted = command(&mut txn, &self.caller).is_ok();
        if accepted {
            self.state = txn.finish().0;
        }
        accepted
    }

    fn networks(&self) -> Vec<NetworkId> {
        self.state.networks.keys().copied().collect()
    }

    fn subnets(&self) -> Vec<SubnetId> {
        self.state.subnets.keys().copied().collect()
    }

    fn ports(&self) -> Vec<PortId> {
        self.state.ports.keys().copied().collect()
    }

    /// An address of the first subnet of a network, with this last part.
    fn address(&self, network: NetworkId, last: u8) -> Option<std::net::IpAddr> {
        let subnet = self.state.subnets_of_network(network).next()?;
        let base = lenticular_model::network::subnet::to_number(subnet.cidr.network());
        Some(lenticular_model::network::subnet::to_address(base + u128::from(last), subnet.cidr.network()))
    }

    fn ask(&mut self, ask: &Ask) -> bool {
        let project = self.caller.project_id().unwrap();
        let pick = |n: usize, len: usize| (len > 0).then(|| n % len);
        match ask {
            Ask::Network => self.run(|txn, caller| {
                let new = network::NewNetwork::of(project, "n");
                network::create(txn, caller, new).map(|_| ())
            }),
            Ask::Subnet { network, third, prefix } => {
                let Some(at) = pick(*network, self.networks().len()) else { return false };
                let network_id = self.networks()[at];
                let cidr = format!("10.0.{third}.0/{prefix}").parse().unwrap();
                self.run(|txn, caller| {
                    let range = subnet::Range::Given(cidr);
                    let new = subnet::NewSubnet::of(project, network_id, range);
                    subnet::create(txn, caller, new).map(|_| ())
                })
            }
            Ask::Port { network, last } => {
                let Some(at) = pick(*network, self.networks().len()) else { return false };
                let id = self.networks()[at];
                let address = last.and_then(|last| self.address(id, last));
                let fixed_ips = address.map(|ip| vec![port::AskIp { subnet: None, address: Some(ip) }]);
                self.run(|txn, caller| {
                    let new = port::NewPort { fixed_ips, ..port::NewPort::on(id, project) };
                    port::create(txn, caller, new).map(|_| ())
                })
            }
            Ask::MovePort { port, last } => {
                let Some(at) = pick(*port, self.ports().len()) else { return false };
                let id = self.ports()[at];
                let address = self.address(self.state.ports[&id].network_id, *last);
                let fixed_ips = Some(vec![port::AskIp { subnet: None, address }]);
                let change = port::PortChange { fixed_ips, ..Default::default() };
                self.run(|txn, caller| port::update(txn, caller, id, change))
            }
            Ask::DeletePort(n) => match pick(*n, self.ports().len()) {
                Some(at) => {
                    let id = self.ports()[at];
                    self.run(|txn, caller| port::delete(txn, caller, id))
                }
                None => false,
            },
            Ask::DeleteSubnet(n) => match pick(*n, self.subnets().len()) {
                Some(at) => {
                    let id = self.subnets()[at];
                    self.run(|txn, caller| subnet::delete(txn, caller, id))
                }
                None => false,
            },
            Ask::DeleteNetwork(n) => match pick(*n, self.networks().len()) {
                Some(at) => {
                    let id = self.networks()[at];
                    self.run(|txn, caller| network::delete(txn, caller, id))
                }
                None => false,
            },
            Ask::NarrowPool { subnet, first, last } => {
                let Some(at) = pick(*subnet, self.subnets().len()) else { return false };
                let id = self.subnets()[at];
                let base = self.state.subnets[&id].cidr.network();
                let number = lenticular_model::network::subnet::to_number(base);
                let address =
                    |n: u8| lenticular_model::network::subnet::to_address(number + u128::from(n), base);
                let pools = Some(vec![Pool { start: address(*first), end: address(*last) }]);
                let change = subnet::SubnetChange { pools, ..Default::default() };
                self.run(|txn, caller| subnet::update(txn, caller, id, change))
            }
        }
    }

    fn check(&self) {
        let mut seen = BTreeSet::new();
        for port in self.state.ports.values() {
            for ip in &port.fixed_ips {
                assert!(
                    seen.insert((port.network_id, ip.ip_address)),
                    "{} is given out twice",
                    ip.ip_address
                );
                let subnet =
                    self.state.subnets.get(&ip.subnet_id).expect("the subnet of an address is there");
                assert_eq!(subnet.network_id, port.network_id);
                assert!(lenticular_model::network::subnet::Subnet::usable(&subnet.cidr, ip.ip_address));
                let holder = self.state.port_with_address(ip.subnet_id, ip.ip_address);
                assert_eq!(holder.map(|port| port.id), Some(port.id));
            }
            let network = self.state.networks.get(&port.network_id).expect("the network of a port is there");
            assert!(self.state.ports_of_network(network.id).any(|there| there.id == port.id));
        }
        for subnet in self.state.subnets.values() {
            assert!(self.state.networks.contains_key(&subnet.network_id), "a subnet without a network");
        }
        assert_eq!(self.state.check_indexes(), Ok(()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn addresses_stay_unique_and_indexes_true(all in proptest::collection::vec(asks(), 1..60)) {
        let mut world = World::new();
        for ask in &all {
            let before = world.state.clone();
            if !world.ask(ask) {
                prop_assert_eq!(before.ports.len(), world.state.ports.len());
                prop_assert_eq!(before.seq, world.state.seq);
            }
            world.check();
        }
    }
}

#[test]
fn a_full_subnet_refuses_and_a_freed_address_is_found_again() {
    let mut world = World::new();
    assert!(world.ask(&Ask::Network));
    assert!(world.ask(&Ask::Subnet { network: 0, third: 0, prefix: 29 }));
    for _ in 0..4 {
        assert!(world.ask(&Ask::Port { network: 0, last: None }));
    }
    assert!(
        !world.ask(&Ask::Port { network: 0, last: None }),
        "six addresses less the gateway's and the metadata service's are four"
    );
    // One of the ports is the metadata service's, which nobody deletes.
    assert!((1..3).any(|n| world.ask(&Ask::DeletePort(n))));
    assert!(world.ask(&Ask::Port { network: 0, last: None }), "the one that was freed");
    assert!(!world.ask(&Ask::DeleteNetwork(0)), "a network in use stays");
    world.check();
}
