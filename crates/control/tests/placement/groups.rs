//! No commit breaks a server group, after any requests in any order.

use crate::world::World;
use lenticular_control::command::compute::{
    migrate, server,
    server_group::{self, NewServerGroup},
};
use lenticular_model::{
    HostId, ProjectId, ServerGroupId, ServerId, Txn,
    compute::server_group::Policy,
    error::Kind,
    policy::{Caller, Scope},
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn group(world: &mut World, policy: Policy, max_server_per_host: Option<u32>) -> ServerGroupId {
    let new = NewServerGroup { name: "g".to_owned(), policy, max_server_per_host };
    world.must(|txn, caller| server_group::create(txn, caller, new))
}

#[test]
fn servers_of_one_request_are_kept_apart_and_too_many_find_no_host() {
    let mut world = World::new(3);
    let apart = group(&mut world, Policy::AntiAffinity, None);
    let made = world.create(|new| (new.group, new.min_count, new.max_count) = (Some(apart), 1, 4)).unwrap();
    let hosts: BTreeSet<HostId> = made.iter().filter_map(|(_, host)| *host).collect();
    assert_eq!(hosts.len(), 3);
    let (last, none) = made[3];
    assert_eq!(none, None);
    let fault = world.state.servers[&last].fault.clone().unwrap();
    assert!(fault.message.contains("3 refused by ServerGroupAntiAffinityFilter"), "{}", fault.message);
}

#[test]
fn servers_that_are_wanted_together_are_placed_together_or_not_at_all() {
    let mut world = World::new(3);
    let apart = group(&mut world, Policy::AntiAffinity, None);
    let made = world.create(|new| (new.group, new.min_count, new.max_count) = (Some(apart), 4, 4)).unwrap();
    assert!(made.iter().all(|(_, host)| host.is_none()));
    for (id, _) in &made {
        let server = &world.state.servers[id];
        assert_eq!((server.status(), &server.task), ("ERROR", &None));
    }
    let words = |id| world.state.servers[&id].fault.clone().unwrap().message;
    assert!(words(made[0].0).contains("Of 4 servers that were asked for together, 3 found a host"));
    assert!(words(made[3].0).contains("ServerGroupAntiAffinityFilter"));
    assert!(world.state.hosts.keys().all(|host| world.state.taken_of_host(*host).servers == 0));
    assert!(world.state.ports.values().all(|port| port.host_id.is_none()));
}

#[test]
fn a_rule_permits_a_number_of_servers_on_a_host_and_no_more() {
    let mut world = World::new(2);
    let apart = group(&mut world, Policy::AntiAffinity, Some(2));
    let made = world.create(|new| (new.group, new.min_count, new.max_count) = (Some(apart), 1, 5)).unwrap();
    assert_eq!(made.iter().filter(|(_, host)| host.is_some()).count(), 4);
}

#[test]
fn soft_policies_place_servers_where_hard_policies_refuse() {
    let mut world = World::new(2);
    let apart = group(&mut world, Policy::SoftAntiAffinity, None);
    let made = world.create(|new| (new.group, new.min_count, new.max_count) = (Some(apart), 4, 4)).unwrap();
    let on = |host: HostId| made.iter().filter(|(_, h)| *h == Some(host)).count();
    assert_eq!([on(world.host(0)), on(world.host(1))], [2, 2]);

    let together = group(&mut world, Policy::SoftAffinity, None);
    world.aggregate("near", &[0, 1], &[("soft_affinity_weight_multiplier", "10")]);
    let made =
        world.create(|new| (new.group, new.min_count, new.max_count) = (Some(together), 4, 4)).unwrap();
    assert_eq!(made.iter().map(|(_, host)| host).collect::<BTreeSet<_>>().len(), 1);
}

#[test]
fn the_target_of_a_move_and_the_way_back_are_occupied() {
    let mut world = World::new(3);
    let apart = group(&mut world, Policy::AntiAffinity, None);
    let (server, _) = world.place(|new| new.group = Some(apart));
    world.activate(server);
    world.must(|txn, caller| migrate::live_migrate(txn, caller, server, None));
    let moving = world.state.servers[&server].claims().map(|(host, _)| host).collect::<BTreeSet<_>>();
    assert_eq!(moving.len(), 2);
    let (_, host) = world.place(|new| new.group = Some(apart));
    assert!(!moving.contains(&world.host(host.unwrap())));
    assert_eq!(world.place(|new| new.group = Some(apart)).1, None);
}

#[test]
fn affinity_moves_one_server_alone_and_takes_none_in_while_it_does() {
    let mut world = World::new(3);
    let together = group(&mut world, Policy::Affinity, None);
    let (first, host) = world.place(|new| new.group = Some(together));
    world.activate(first);
    world.must(|txn, caller| migrate::live_migrate(txn, caller, first, None));
    let (_, none) = world.place(|new| new.group = Some(together));
    assert_eq!(none, None, "a group that is on its way is nowhere");
    let number = world.state.migrations_of_server(first).next().unwrap().number;
    world.must(|txn, caller| migrate::abort(txn, caller, first, number));
    let (second, beside) = world.place(|new| new.group = Some(together));
    assert_eq!(beside, host);
    world.activate(second);
    let refused = world.run(|txn, caller| migrate::live_migrate(txn, caller, second, None)).unwrap_err();
    assert!(refused.message.contains("ServerGroupAffinityFilter"), "{}", refused.message);
}

#[test]
fn quotas_hold_for_groups_and_for_their_servers() {
    let mut world = World::new(1);
    let groups: Vec<_> = (0..10).map(|_| group(&mut world, Policy::SoftAffinity, None)).collect();
    let one_more =
        NewServerGroup { name: "g".to_owned(), policy: Policy::Affinity, max_server_per_host: None };
    let refused = world.run(|txn, caller| server_group::create(txn, caller, one_more)).unwrap_err();
    assert_eq!(refused.kind, Kind::OverQuota);
    let many = |new: &mut lenticular_control::command::compute::server_create::NewServers, count| {
        (new.group, new.min_count, new.max_count) = (Some(groups[0]), count, count);
    };
    assert_eq!(world.create(|new| many(new, 11)).unwrap_err().kind, Kind::OverQuota);
    assert_eq!(world.create(|new| many(new, 10)).unwrap().len(), 10);
    assert_eq!(world.create(|new| many(new, 1)).unwrap_err().kind, Kind::OverQuota);
}

#[test]
fn a_group_is_for_its_own_project_and_its_servers_outlive_it() {
    let mut world = World::new(2);
    let apart = group(&mut world, Policy::AntiAffinity, None);
    let (server, _) = world.place(|new| new.group = Some(apart));
    let other = Scope::Project(ProjectId::from_random([7; 16]));
    world.admin.scope = other;
    let refused = world.create(|new| new.group = Some(apart)).unwrap_err();
    assert_eq!((refused.kind, world.state.servers.len()), (Kind::Invalid, 1));
    world.must(|txn, caller| server_group::delete(txn, caller, apart));
    assert_eq!(world.state.servers[&server].server_group, None);
    assert!(
        world.state.server_groups.keys().all(|group| world.state.servers_of_group(*group).next().is_none())
    );
}

#[derive(Debug, Clone)]
enum Ask {
    Create(usize, u32),
    Delete(usize),
    LiveMigrate(usize),
    Migrate(usize),
    Resize(usize),
    Abort(usize),
    Arrive(usize),
    Confirm(usize),
    Revert(usize),
}

fn asks() -> impl Strategy<Value = Ask> {
    let n = || 0_usize..12;
    prop_oneof![
        4 => (0_usize..3, 1_u32..4).prop_map(|(group, count)| Ask::Create(group, count)),
        2 => n().prop_map(Ask::Delete),
        3 => n().prop_map(Ask::LiveMigrate),
        3 => n().prop_map(Ask::Migrate),
        2 => n().prop_map(Ask::Resize),
        1 => n().prop_map(Ask::Abort),
        5 => n().prop_map(Ask::Arrive),
        2 => n().prop_map(Ask::Confirm),
        2 => n().prop_map(Ask::Revert),
    ]
}

/// The target of a server's ticket reports that it has the guest.
fn arrive(txn: &mut Txn<'_>, id: ServerId) {
    use lenticular_model::host::observation::{Observation, ObservedState};
    let Some(ticket) = txn.servers[&id].ticket.clone() else { return };
    let boot = txn.servers[&id].boot + 1;
    for observed in [ObservedState::Ready, ObservedState::Running { ssh_forward: None, paused: false }] {
        let seen = Observation {
            server_id: id,
            generation: ticket.generation,
            boot,
            observed,
            layout: 0,
            handover: None,
            unsaved: None,
            failed_attempt: None,
            memory_lost: None,
        };
        lenticular_control::observe::guest::observe(txn, ticket.to, &[seen]);
    }
}

fn run(world: &mut World, groups: &[ServerGroupId], ask: &Ask) {
    let ids: Vec<ServerId> = world.state.servers.keys().copied().collect();
    let of = |n: &usize| ids.get(*n % ids.len().max(1)).copied();
    let act = |world: &mut World, n: &usize, f: &dyn Fn(&mut Txn<'_>, &Caller, ServerId)| {
        if let Some(id) = of(n) {
            world.must(|txn, caller| {
                f(txn, caller, id);
                Ok(())
            });
        }
    };
    match ask {
        Ask::Create(group, count) => {
            let set = (Some(groups[*group]), *count, *count);
            for (id, host) in
                world.create(|new| (new.group, new.min_count, new.max_count) = set).unwrap_or_default()
            {
                if host.is_some() {
                    world.activate(id);
                }
            }
        }
        // The command may refuse: then it has changed nothing.
        Ask::Delete(n) => act(world, n, &|txn, caller, id| drop(server::delete(txn, caller, id))),
        Ask::LiveMigrate(n) => act(world, n, &|t, c, id| drop(migrate::live_migrate(t, c, id, None))),
        Ask::Migrate(n) => act(world, n, &|t, c, id| drop(migrate::migrate(t, c, id, None))),
        Ask::Resize(n) => act(world, n, &|t, c, id| drop(migrate::resize(t, c, id, &"84".into()))),
        Ask::Abort(n) => act(world, n, &|t, c, id| {
            let number = t.migrations_of_server(id).next().map_or(0, |m| m.number);
            drop(migrate::abort(t, c, id, number));
        }),
        Ask::Arrive(n) => act(world, n, &|txn, _, id| arrive(txn, id)),
        Ask::Confirm(n) => act(world, n, &|txn, caller, id| drop(migrate::confirm(txn, caller, id))),
        Ask::Revert(n) => act(world, n, &|txn, caller, id| drop(migrate::revert(txn, caller, id))),
    }
}

fn check(world: &World) {
    for group in world.state.server_groups.values() {
        let mut on: BTreeMap<HostId, BTreeSet<ServerId>> = BTreeMap::new();
        for server in world.state.servers.values().filter(|s| s.server_group == Some(group.id)) {
            for (host, _) in server.claims() {
                on.entry(host).or_default().insert(server.id);
            }
        }
        let placed: BTreeSet<_> = on.values().flatten().collect();
        match group.policy {
            Policy::Affinity => assert!(placed.len() < 2 || on.len() == 1, "{on:?}"),
            Policy::AntiAffinity => {
                assert!(on.values().all(|s| s.len() <= group.most_on_one_host() as usize), "{on:?}");
            }
            Policy::SoftAffinity | Policy::SoftAntiAffinity => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn no_commit_breaks_a_group(asks in proptest::collection::vec(asks(), 1..60), hosts in 2_usize..6) {
        let mut world = World::new(hosts);
        let rules = [(Policy::AntiAffinity, None), (Policy::AntiAffinity, Some(2)), (Policy::Affinity, None)];
        let groups = rules.map(|(policy, most)| group(&mut world, policy, most));
        for ask in &asks {
            run(&mut world, &groups, ask);
            check(&world);
        }
        world.check_indexes();
    }
}
