//! The indexes of a State against those of the same records loaded anew.

use lenticular_model::{
    compute::{
        aggregate::Aggregate, disk_copy::DiskCopy, flavor::Flavor, keypair::Keypair, migration::Migration,
        operation::Operation, server::Server, server_group::ServerGroup,
    },
    host::host::Host,
    identity::{Domain, Project, Revocation, Role, RoleAssignment, User},
    image::Image,
    network::{
        address_group::AddressGroup,
        address_scope::AddressScope,
        default_security_group_rule::DefaultSecurityGroupRule,
        floating_ip::FloatingIp,
        network::Network,
        port::Port,
        port_forwarding::PortForwarding,
        qos_policy::QosPolicy,
        rbac_policy::RbacPolicy,
        router::Router,
        security_group::{SecurityGroup, SecurityGroupRule},
        subnet::Subnet,
        subnet_pool::SubnetPool,
        trunk::Trunk,
    },
    quota::Quota,
    HostId, Record, ServerId, State,
};
use std::collections::{BTreeMap, BTreeSet};

/// Calls a macro with every durable type of record.
macro_rules! every_record {
    ($each:ident) => {
        $each!(
            Domain Project User Role RoleAssignment Revocation Quota Image Flavor Keypair Host Aggregate ServerGroup Server Operation Migration DiskCopy
            Network Subnet Port SecurityGroup SecurityGroupRule Router FloatingIp PortForwarding SubnetPool AddressScope
            AddressGroup QosPolicy Trunk DefaultSecurityGroupRule RbacPolicy
        )
    };
}

/// The same records in a State of their own, each gone through its document.
///
/// # Errors
/// A record cannot be read back from what it is written as.
pub fn rebuild(state: &State) -> Result<State, String> {
    let mut fresh = State::new(state.incarnation, state.took_over_at);
    fresh.seq = state.seq;
    macro_rules! each {
        ($($record:ident)*) => { $(load_all::<$record>(state, &mut fresh)?;)* };
    }
    every_record!(each);
    Ok(fresh)
}

fn load_all<R: Record>(from: &State, into: &mut State) -> Result<(), String> {
    for record in from.all::<R>() {
        let bad = |error| format!("{} {} cannot be reloaded: {error}", R::KIND.name(), record.id());
        let doc = serde_json::to_string(&**record).map_err(bad)?;
        into.load(R::KIND, &doc, from.seq).map_err(bad)?;
    }
    Ok(())
}

/// Whether two states hold the same durable records.
///
/// # Errors
/// They do not; says of which kind.
pub fn same_tables(a: &State, b: &State) -> Result<(), String> {
    macro_rules! each {
        ($($record:ident)*) => { $(same_table::<$record>(a, b)?;)* };
    }
    every_record!(each);
    Ok(())
}

fn same_table<R: Record + PartialEq>(a: &State, b: &State) -> Result<(), String> {
    let (left, right) = (R::table(a), R::table(b));
    if left.len() != right.len() {
        return Err(format!(
            "{} has {} records and {} when reloaded",
            R::KIND.name(),
            left.len(),
            right.len()
        ));
    }
    let differs = left.iter().zip(right.iter()).find(|((_, a), (_, b))| a != b);
    match differs {
        Some(((_, a), (_, b))) => {
            Err(format!("{} {} is {b:?} when reloaded, not {a:?}", R::KIND.name(), a.id()))
        }
        None => Ok(()),
    }
}

/// Whether a state's indexes are those that its records make.
///
/// # Errors
/// They are not; says which.
pub fn compare(state: &State) -> Result<(), String> {
    let fresh = rebuild(state)?;
    same_tables(state, &fresh)?;
    same_indexes(state, &fresh)
}

/// Whether two states of the same records have the same indexes, and such as those of orders have to be. Of orders
/// only what does not depend on when they changed is compared.
///
/// # Errors
/// They have not; says which.
pub fn same_indexes(state: &State, other: &State) -> Result<(), String> {
    let (a, b) = (&state.index, &other.index);
    macro_rules! same {
        ($($field:ident)*) => {
            $(if a.$field != b.$field {
                let what = format!("{:?}, rebuilt {:?}", a.$field, b.$field);
                return Err(format!("the index {} is {what}", stringify!($field)));
            })*
        };
    }
    same!(user_names project_names domain_names role_names user_roles flavor_names user_keypairs image_order
        host_names server_order project_servers host_servers project_usage server_operations server_migrations disk_copies server_copies
        project_networks
        open_networks network_subnets network_ports project_ports server_ports device_ports addresses macs
        project_groups group_rules group_ports rooms aggregate_names aggregate_numbers host_aggregates
        project_server_groups server_group_members net);
    let empty = Default::default();
    let hosts = a.host_usage.keys().chain(b.host_usage.keys());
    for host in hosts {
        if a.host_usage.get(host).unwrap_or(&empty) != b.host_usage.get(host).unwrap_or(&empty) {
            return Err(format!("the index host_usage of {host} differs from its rebuild"));
        }
    }
    orders_are_whole(state)?;
    orders_are_whole(other)
}

/// Every host that has business with a server has exactly one place for it in its stream of orders, and no other has.
fn orders_are_whole(state: &State) -> Result<(), String> {
    let servers = state.servers.values().flat_map(|s| s.hosts().map(|host| (host, s.id)));
    let copies = state.disk_copies.values().map(|copy| (copy.host_id, copy.server_id));
    let placed: BTreeSet<(HostId, ServerId)> = servers.chain(copies).collect();
    let refs = state.index.order_refs.iter().map(|((server, host), order)| ((*host, *server), order.seq));
    let refs: BTreeMap<(HostId, ServerId), u64> = refs.collect();
    let ordered: BTreeSet<(HostId, ServerId)> = refs.keys().copied().collect();
    if placed != ordered {
        return Err(format!("hosts with a server {placed:?} differ from those with orders {ordered:?}"));
    }
    let mut feed: BTreeMap<(HostId, ServerId), u64> = BTreeMap::new();
    for (host, seq, server) in &state.index.order_feed {
        if feed.insert((*host, *server), *seq).is_some() {
            return Err(format!("server {server} is twice in the order feed of {host}"));
        }
    }
    let differs = refs.iter().find(|(key, seq)| feed.get(key) != Some(seq));
    match differs {
        Some((key, seq)) => {
            Err(format!("orders of {key:?} are of commit {seq}, and the feed has {:?}", feed.get(key)))
        }
        None if feed.len() != ordered.len() => {
            Err("the order feed has entries that nothing points to".to_owned())
        }
        None if refs.values().any(|seq| *seq > state.seq) => {
            Err("orders come from a commit of the future".to_owned())
        }
        None => Ok(()),
    }
}

/// No server's orders look older in `loaded` than they did in `published`: an agent that has not applied them yet would
/// never be given them.
///
/// # Errors
/// They do; says whose.
pub fn orders_are_as_new(published: &State, loaded: &State) -> Result<(), String> {
    for (key, order) in &published.index.order_refs {
        let found = loaded.index.order_refs.get(key);
        if found.is_none_or(|found| found.seq < order.seq) {
            return Err(format!(
                "orders of server {} changed in commit {}, and after a restart seem to be of {found:?}",
                key.0, order.seq
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, World};

    #[test]
    fn an_index_that_is_wrong_is_noticed() {
        let mut world = World::new(Config::storm(3));
        world.run_until_s(100);
        let good = &*world.plane.published;
        assert_eq!(compare(good), Ok(()));
        let wrong = |change: fn(&mut State)| {
            let mut state = good.clone();
            change(&mut state);
            compare(&state).expect_err("the change is noticed")
        };
        assert!(wrong(|s| s.index.server_order.clear()).contains("server_order"));
        assert!(wrong(|s| s.index.host_usage.clear()).contains("host_usage"));
        assert!(wrong(|s| s.index.order_refs.clear()).contains("with orders"));
        assert!(wrong(|s| s.index.order_feed.clear()).contains("feed"));
        assert!(wrong(|s| s.tables.ports = s.tables.ports.without(&first_port(s))).contains("index"));
        let mut older = good.clone();
        let old = lenticular_model::index::OrderRef { server: true, ..Default::default() };
        older.index.order_refs = older.index.order_refs.iter().map(|(key, _)| (*key, old)).collect();
        assert!(orders_are_as_new(good, &older).is_err_and(|why| why.contains("after a restart")));
    }

    fn first_port(state: &State) -> lenticular_model::PortId {
        state.ports.keys().next().copied().expect("a storm makes ports")
    }
}
