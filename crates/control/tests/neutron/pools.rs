//! Subnet pools and quotas: allocated ranges never overlap, are returned, and stay within the limits.

use crate::world::{World, admin, member, project};
use lenticular_control::{
    command::{
        self,
        network::{
            network::{self, NewNetwork},
            port::{self, NewPort},
            subnet::{self, NewSubnet, Range},
            subnet_pool::{self, NewSubnetPool},
        },
        quota::Whose,
    },
    quota::{self, Service},
};
use lenticular_model::{Result, SubnetId, SubnetPoolId, quota::Limits};
use proptest::prelude::*;

fn pool(world: &mut World, prefix: &str, default_quota: Option<u64>) -> SubnetPoolId {
    let who = member();
    let new = NewSubnetPool {
        project_id: project(&who),
        name: "p".to_owned(),
        description: String::new(),
        prefixes: vec![prefix.parse().unwrap()],
        min_prefixlen: None,
        max_prefixlen: None,
        default_prefixlen: Some(28),
        default_quota,
        address_scope_id: None,
        shared: false,
        is_default: false,
    };
    world.run(|txn| subnet_pool::create(txn, &who, new)).unwrap()
}

/// Takes a subnet of a pool, on a new network.
fn take(world: &mut World, pool: SubnetPoolId, prefixlen: Option<u8>) -> Result<SubnetId> {
    let who = member();
    world.run(|txn| {
        let network = network::create(txn, &who, NewNetwork::of(project(&who), "n"))?;
        let range = Range::Pool { pool, cidr: None, prefixlen };
        subnet::create(txn, &who, NewSubnet::of(project(&who), network, range))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn ranges_of_a_pool_never_overlap_and_return_to_the_pool(steps in proptest::collection::vec((26_u8..31, any::<bool>()), 1..40)) {
        let mut world = World::new();
        let pool = pool(&mut world, "10.0.0.0/25", None);
        let mut taken: Vec<SubnetId> = Vec::new();
        for (length, give_back) in steps {
            match taken.pop().filter(|_| give_back) {
                Some(id) => {
                    let network = world.state.subnets[&id].network_id;
                    world.run(|txn| network::delete(txn, &member(), network)).unwrap();
                }
                None => taken.extend(take(&mut world, pool, Some(length))),
            }
            let ranges: Vec<_> = world.state.subnets_of_pool(pool).map(|s| s.cidr).collect();
            for (at, one) in ranges.iter().enumerate() {
                let clash = ranges[..at].iter().any(|other| one.contains(other) || other.contains(one));
                prop_assert!(!clash, "{} is given out twice", one);
            }
            world.check();
        }
        let networks: Vec<_> = world.state.networks.keys().copied().collect();
        for network in networks {
            world.run(|txn| network::delete(txn, &member(), network)).unwrap();
        }
        prop_assert!(take(&mut world, pool, Some(25)).is_ok(), "an emptied pool gives all of itself");
    }

    #[test]
    fn no_quota_is_exceeded(limit in 0_i64..6, asked in 1_usize..10) {
        let mut world = World::new();
        let (network, _) = world.network(&member(), false, "10.0.0.0/24");
        let id = project(&member());
        let limits = Limits::from([("port".to_owned(), limit)]);
        world.run(|txn| command::quota::set(txn, &admin(), Service::Network, Whose::Project(id), limits, false))
            .unwrap();
        let mut made = 0;
        for _ in 0..asked {
            match world.run(|txn| port::create(txn, &member(), NewPort::on(network, id))) {
                Ok(_) => made += 1,
                Err(error) => prop_assert_eq!(error.code, "OverQuota"),
            }
        }
        prop_assert_eq!(made, asked.min(limit as usize));
        prop_assert_eq!(quota::network_usage(&world.state, id, "port"), made);
    }
}

#[test]
fn a_pool_keeps_to_its_lengths_and_to_a_projects_share() {
    let mut world = World::new();
    let pool = pool(&mut world, "10.0.0.0/24", Some(32));
    let refused = |world: &mut World, length| take(world, pool, Some(length)).unwrap_err().code;
    assert_eq!(refused(&mut world, 7), "MinPrefixSubnetAllocationError");
    assert_eq!(refused(&mut world, 33), "MaxPrefixSubnetAllocationError");
    assert_eq!(refused(&mut world, 26), "SubnetPoolQuotaExceeded");
    assert_eq!(refused(&mut world, 20), "SubnetAllocationError");
    let first = take(&mut world, pool, None).unwrap();
    assert_eq!(world.state.subnets[&first].cidr.to_string(), "10.0.0.0/28");
    take(&mut world, pool, None).unwrap();
    assert_eq!(refused(&mut world, 30), "SubnetPoolQuotaExceeded");
    let deleted = world.run(|txn| subnet_pool::delete(txn, &member(), pool)).unwrap_err();
    assert_eq!(deleted.code, "SubnetPoolDeleteError");
    assert_eq!(world.state.networks.len(), 2, "a refused subnet leaves no network behind");
}
