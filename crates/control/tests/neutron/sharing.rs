//! Sharing: shared objects are seen by their users, and stay shared while they are used.

use crate::world::{World, admin, caller, member, project};
use lenticular_control::{
    bootstrap::take_over,
    command::network::{
        address_group::{self, NewAddressGroup},
        network::{self, NetworkChange, NewNetwork},
        port::{self, NewPort},
        rbac_policy::{self, NewRbacPolicy},
        router::{self, GatewayAsk, NewRouter},
        security_group::{self, NewRule},
        subnet::{self, NewSubnet, Range},
    },
};
use lenticular_model::{
    ProjectId, Result, Txn,
    network::{
        network::Network,
        port::PortOwner,
        rbac_policy::{RbacAction, RbacObject, RbacTarget},
        security_group::{Direction, Remote},
    },
    policy::{Caller, RoleLevel},
};

#[test]
fn a_network_shared_with_one_project_is_seen_by_that_one_and_kept_while_it_is_used() {
    let mut world = World::new();
    let (owner, friend, stranger) = (member(), caller(5, RoleLevel::Member), caller(4, RoleLevel::Member));
    let (network, _) = world.network(&owner, false, "10.0.0.0/24");
    let new = NewRbacPolicy {
        project_id: project(&owner),
        object: RbacObject::Network(network),
        action: RbacAction::AccessAsShared,
        target: RbacTarget::Project(project(&friend)),
    };
    assert!(world.state.visible::<Network>(&friend, &network).is_err());
    let policy = world.run(|txn| rbac_policy::create(txn, &owner, new)).unwrap();
    assert!(world.state.visible::<Network>(&friend, &network).is_ok());
    assert!(world.state.visible::<Network>(&stranger, &network).is_err());
    let everyone = NewRbacPolicy { target: RbacTarget::Everyone, ..new };
    let refused = world.run(|txn| rbac_policy::create(txn, &owner, everyone)).unwrap_err();
    assert_eq!(refused.code, "PolicyNotAuthorized", "only an administrator shares with everyone");

    let port = world.run(|txn| port::create(txn, &friend, NewPort::on(network, project(&friend)))).unwrap();
    let kept = world.run(|txn| rbac_policy::delete(txn, &owner, policy)).unwrap_err();
    assert_eq!(kept.code, "InvalidSharedSetting");
    world.run(|txn| port::delete(txn, &friend, port)).unwrap();
    world.run(|txn| rbac_policy::delete(txn, &owner, policy)).unwrap();
    assert!(world.state.visible::<Network>(&friend, &network).is_err());
    world.check();
}

#[test]
fn shared_and_external_agree_with_the_policies_for_everyone() {
    let mut world = World::new();
    let (network, _) = world.network(&admin(), true, "192.0.2.0/24");
    let object = RbacObject::Network(network);
    assert!(world.state.rbac_allows_everyone(object, RbacAction::AccessAsExternal));
    let shared = |shared| NetworkChange { shared: Some(shared), ..Default::default() };
    world.run(|txn| network::update(txn, &admin(), network, shared(true))).unwrap();
    assert!(world.state.rbac_allows_everyone(object, RbacAction::AccessAsShared));
    let policies: Vec<_> = world.state.rbac_policies_of(object).map(|p| (p.id, p.action)).collect();
    assert_eq!(policies.len(), 2);
    for (id, action) in policies {
        world.run(|txn| rbac_policy::delete(txn, &admin(), id)).unwrap();
        let record = &world.state.networks[&network];
        match action {
            RbacAction::AccessAsShared => assert!(!record.shared),
            // With the last policy the network became internal.
            RbacAction::AccessAsExternal => assert!(!record.external && !record.external_restricted),
        }
    }
    assert!(world.state.visible::<Network>(&member(), &network).is_err(), "nobody is let see it any more");
    world.run(|txn| network::delete(txn, &admin(), network)).unwrap();
    assert!(world.state.rbac_policies.is_empty());
    world.check();
}

#[test]
fn the_policies_that_an_external_network_in_use_depends_on_stay() {
    let mut world = World::new();
    let (network, _) = world.network(&admin(), true, "192.0.2.0/24");
    let object = RbacObject::Network(network);
    let everyone = world.state.rbac_policies_of(object).next().unwrap().id;
    let code = |world: &mut World, command: &dyn Fn(&mut Txn<'_>) -> Result<()>| {
        world.run(|txn| command(txn)).map_err(|refused| refused.code)
    };
    let change = |change: NetworkChange| {
        move |txn: &mut Txn<'_>| network::update(txn, &admin(), network, change.clone())
    };
    let default = |is_default| change(NetworkChange { is_default: Some(is_default), ..Default::default() });
    let closed = change(NetworkChange { external: Some(false), ..Default::default() });
    let delete = |txn: &mut Txn<'_>| rbac_policy::delete(txn, &admin(), everyone);
    let narrow = |txn: &mut Txn<'_>| {
        rbac_policy::update(txn, &admin(), everyone, RbacTarget::Project(project(&member())))
    };
    // The default external network is always open to everyone.
    code(&mut world, &default(true)).unwrap();
    assert_eq!(code(&mut world, &delete), Err("RbacPolicyInUse"));
    assert_eq!(code(&mut world, &narrow), Err("RbacPolicyInUse"));
    code(&mut world, &default(false)).unwrap();
    // Another project's policy stays while its router uses the network. The owner's own policy keeps the network
    // external.
    let route = |of: Caller| {
        move |txn: &mut Txn<'_>| {
            let gateway = Some(GatewayAsk::to(network));
            router::create(txn, &of, NewRouter { gateway, ..plain(project(&of)) })
        }
    };
    let theirs = world.run(route(caller(5, RoleLevel::Member))).unwrap();
    assert_eq!(code(&mut world, &delete), Err("RbacPolicyInUse"));
    assert_eq!(code(&mut world, &narrow), Err("RbacPolicyInUse"));
    assert_eq!(code(&mut world, &closed), Err("ExternalNetworkInUse"));
    world.run(|txn| router::delete(txn, &admin(), theirs)).unwrap();
    let own = world.run(route(admin())).unwrap();
    assert_eq!(code(&mut world, &delete), Err("ExternalNetworkInUse"));
    code(&mut world, &narrow).unwrap();
    assert_eq!(code(&mut world, &default(true)), Err("RbacPolicyInUse"), "it is not everyone's");
    world.run(|txn| router::delete(txn, &admin(), own)).unwrap();
    let refused = world.run(route(caller(5, RoleLevel::Member))).unwrap_err();
    assert_eq!(refused.code, "NetworkNotFound");
    code(&mut world, &delete).unwrap();
    assert!(!world.state.networks[&network].external);
    world.check();
}

#[test]
fn a_shared_network_is_no_external_network_for_projects_without_a_policy() {
    let mut world = World::new();
    let (network, _) = world.network(&admin(), true, "192.0.2.0/24");
    let object = RbacObject::Network(network);
    let everyone = world.state.rbac_policies_of(object).next().unwrap().id;
    let only = RbacTarget::Project(project(&caller(5, RoleLevel::Member)));
    world.run(|txn| rbac_policy::update(txn, &admin(), everyone, only)).unwrap();
    let shared = NetworkChange { shared: Some(true), ..Default::default() };
    world.run(|txn| network::update(txn, &admin(), network, shared)).unwrap();
    assert!(world.state.visible::<Network>(&member(), &network).is_ok());
    let gateway = Some(GatewayAsk::to(network));
    let new = NewRouter { gateway, ..plain(project(&member())) };
    let refused = world.run(|txn| router::create(txn, &member(), new)).unwrap_err();
    assert_eq!(refused.code, "BadRequest", "{}", refused.message);
}

/// A router with the default settings.
fn plain(project_id: ProjectId) -> NewRouter {
    NewRouter {
        project_id,
        name: String::new(),
        description: String::new(),
        admin_state_up: true,
        gateway: None,
        distributed: None,
        ha: None,
        availability_zone_hints: Vec::new(),
    }
}

#[test]
fn an_address_group_of_a_rule_stays_and_a_deleted_remote_group_takes_the_rule_along() {
    let mut world = World::new();
    let who = member();
    let id = project(&who);
    let group = world
        .run(|txn| security_group::create(txn, &who, id, "web".to_owned(), String::new(), true))
        .unwrap();
    let other =
        world.run(|txn| security_group::create(txn, &who, id, "db".to_owned(), String::new(), true)).unwrap();
    let new = NewAddressGroup {
        project_id: id,
        name: "office".to_owned(),
        description: String::new(),
        addresses: vec!["203.0.113.0/24".parse().unwrap()],
    };
    let office = world.run(|txn| address_group::create(txn, &who, new)).unwrap();
    let rule = |remote| NewRule::open(group, id, Direction::Ingress, remote);
    let about =
        world.run(|txn| security_group::create_rule(txn, &who, rule(Remote::AddressGroup(office)))).unwrap();
    world.run(|txn| security_group::create_rule(txn, &who, rule(Remote::Group(other)))).unwrap();
    let refused = world.run(|txn| address_group::delete(txn, &who, office)).unwrap_err();
    assert_eq!(refused.code, "AddressGroupInUse");
    let before = world.state.rules_of_security_group(group).count();
    world.run(|txn| security_group::delete(txn, &who, other)).unwrap();
    assert_eq!(world.state.rules_of_security_group(group).count(), before - 1);
    world.run(|txn| security_group::delete_rule(txn, &who, about)).unwrap();
    world.run(|txn| address_group::delete(txn, &who, office)).unwrap();
    world.check();
}

#[test]
fn a_network_with_dhcp_has_a_metadata_port_that_no_quota_counts() {
    let mut world = World::new();
    let who = member();
    let id = project(&who);
    let network = world.run(|txn| network::create(txn, &who, NewNetwork::of(id, "n"))).unwrap();
    let add = |world: &mut World, range: &str| {
        let new = NewSubnet::of(id, network, Range::Given(range.parse().unwrap()));
        world.run(|txn| subnet::create(txn, &who, new)).unwrap()
    };
    let (first, _) = (add(&mut world, "10.0.0.0/24"), add(&mut world, "10.0.1.0/24"));
    add(&mut world, "fd00::/64");
    let port = world.state.metadata_port(network).unwrap().clone();
    assert_eq!((port.owner(), port.fixed_ips.len()), (PortOwner::Metadata, 2));
    assert!(port.is_active(&world.state));
    let refused = world.run(|txn| port::delete(txn, &admin(), port.id)).unwrap_err();
    assert_eq!(refused.code, "ServicePortInUse");
    world.run(|txn| subnet::delete(txn, &who, first)).unwrap();
    assert_eq!(world.state.metadata_port(network).unwrap().fixed_ips.len(), 1);
    world.run(|txn| network::delete(txn, &who, network)).unwrap();
    assert!(world.state.ports.is_empty());
    world.check();
}

#[test]
fn networks_of_an_older_store_get_their_metadata_ports_from_the_next_leader() {
    let mut world = World::new();
    let who = member();
    let network = world.run(|txn| network::create(txn, &who, NewNetwork::of(project(&who), "n"))).unwrap();
    let new = NewSubnet::of(project(&who), network, Range::Given("10.0.0.0/24".parse().unwrap()));
    world.run(|txn| subnet::create(txn, &who, new)).unwrap();
    let port = world.state.metadata_port(network).unwrap().id;
    world
        .run(|txn| {
            txn.delete::<lenticular_model::network::port::Port>(&port);
            Ok(())
        })
        .unwrap();
    let take_over = |world: &mut World| {
        world.run(|txn| {
            take_over(txn);
            Ok(txn.is_empty())
        })
    };
    assert!(!take_over(&mut world).unwrap());
    assert_eq!(world.state.metadata_port(network).unwrap().fixed_ips.len(), 1);
    assert!(take_over(&mut world).unwrap(), "once is enough");
    world.check();
}
