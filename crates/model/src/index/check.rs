//! Checks a State's indexes against the indexes of another State with the same records.

use crate::{HostId, ServerId, State};
use std::collections::{BTreeMap, BTreeSet};

impl State {
    /// Checks that the records and indexes equal those of a State reloaded from its records.
    ///
    /// # Errors
    /// A record or an index differs; the text names it.
    pub fn check_indexes(&self) -> Result<(), String> {
        let fresh = self.reloaded().map_err(|error| format!("a record cannot be reloaded: {error}"))?;
        self.same_tables(&fresh)?;
        self.same_indexes(&fresh)
    }

    /// Checks that two States with the same records have the same indexes, and that the indexes of orders are
    /// consistent. The times of order changes are not compared.
    ///
    /// # Errors
    /// An index differs or is inconsistent; the text names it.
    pub fn same_indexes(&self, other: &State) -> Result<(), String> {
        let (a, b) = (&self.index, &other.index);
        macro_rules! same {
        ($($field:ident)*) => {
            $(if a.$field != b.$field {
                let what = format!("{:?}, rebuilt {:?}", a.$field, b.$field);
                return Err(format!("the index {} is {what}", stringify!($field)));
            })*
        };
    }
        same!(user_names project_names domain_names role_names held_roles project_children group_names group_users user_groups
        application_credential_names project_application_credentials user_application_credentials user_access_rules trustor_trusts trustee_trusts service_endpoints
        flavor_names image_order
        host_names server_order project_servers host_servers project_usage server_operations server_migrations server_disks server_left_disks host_left_disks
        project_networks
        open_networks network_subnets network_ports project_ports server_ports device_ports addresses macs
        project_groups group_rules group_ports host_table aggregate_names aggregate_numbers host_aggregates
        project_server_groups server_group_members plan_steps net);
        let empty = Default::default();
        let hosts = a.host_usage.keys().chain(b.host_usage.keys());
        for host in hosts {
            if a.host_usage.get(host).unwrap_or(&empty) != b.host_usage.get(host).unwrap_or(&empty) {
                return Err(format!("the index host_usage of {host} differs from its rebuild"));
            }
        }
        orders_are_whole(self)?;
        orders_are_whole(other)
    }

    /// Checks that no server's orders look older than in `published`: an agent that has not applied the orders yet
    /// would never get them.
    ///
    /// # Errors
    /// Some orders look older; the text names the server.
    pub fn orders_are_as_new(&self, published: &State) -> Result<(), String> {
        for (key, order) in &published.index.order_refs {
            let found = self.index.order_refs.get(key);
            if found.is_none_or(|found| found.seq < order.seq) {
                return Err(format!(
                    "orders of server {} changed in commit {}, and after a restart seem to be of {found:?}",
                    key.0, order.seq
                ));
            }
        }
        Ok(())
    }
}

/// Checks that exactly the hosts with a part in a server have an entry for the server in their stream of orders,
/// one each.
/// other host has one.
fn orders_are_whole(state: &State) -> Result<(), String> {
    let servers = state.servers.values().flat_map(|s| s.hosts().map(|host| (host, s.id)));
    let left = state.disks.values().filter(|disk| disk.left.is_some());
    let copies = left.filter_map(|disk| Some((disk.host_id?, disk.server_id)));
    let placed: BTreeSet<(HostId, ServerId)> = servers.chain(copies).collect();
    let refs = state.index.order_refs.iter().map(|((server, host), order)| ((*host, *server), order.seq));
    let refs: BTreeMap<(HostId, ServerId), u64> = refs.collect();
    let ordered: BTreeSet<(HostId, ServerId)> = refs.keys().copied().collect();
    if placed != ordered {
        return Err(format!("hosts with a server {placed:?} differ from those with orders {ordered:?}"));
    }
    let mut feed: BTreeMap<(HostId, ServerId), u64> = BTreeMap::new();
    for (host, seq, server) in state.index.order_feed.iter() {
        if feed.insert((host, server), seq).is_some() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, compute::server::Server, index::OrderRef};
    use serde_json::json;

    /// A State with one server on one host.
    fn state() -> State {
        let id = |n: u32| uuid::Uuid::from_u128(n.into());
        let server = json!({
            "id": id(1), "created_at": 1, "updated_at": null, "project_id": id(2), "user_id": id(3), "name": "s",
            "hostname": "s", "flavor_id": "1", "flavor_name": "m1", "size": {"vcpus": 1, "ram_mb": 64, "disk_gb": 1},
            "image_id": id(4), "base": "", "base_format": "raw", "reservation_id": "r", "host_id": id(5),
            "wanted": "running", "boot": 1, "boot_style": "hard", "condition": "active",
        });
        let mut state = State::new(Default::default(), Default::default());
        state.seq = 7;
        state.load(Kind::Server, &server.to_string(), 7).expect("the document is a server");
        state
    }

    #[test]
    fn an_index_that_is_wrong_is_noticed() {
        let good = state();
        assert_eq!(good.check_indexes(), Ok(()));
        let wrong = |change: fn(&mut State)| {
            let mut state = good.clone();
            change(&mut state);
            state.check_indexes().expect_err("the change is noticed")
        };
        assert!(wrong(|s| s.index.server_order.clear()).contains("server_order"));
        assert!(wrong(|s| s.index.host_usage.clear()).contains("host_usage"));
        assert!(wrong(|s| s.index.order_refs.clear()).contains("with orders"));
        assert!(wrong(|s| s.index.order_feed.clear()).contains("feed"));
    }

    #[test]
    fn a_record_that_differs_is_noticed() {
        let good = state();
        assert_eq!(good.same_tables(&good), Ok(()));
        let mut other = good.clone();
        let server =
            Server { name: "other".into(), ..(**other.servers.values().next().expect("a server")).clone() };
        other.apply_put(server.clone().into(), 8);
        assert!(good.same_tables(&other).is_err_and(|what| what.contains("name: \"other\"")));
        other.apply_delete::<Server>(&server.id, 9);
        assert_eq!(good.same_tables(&other), Err("server has 1 records, and 0 elsewhere".to_owned()));
    }

    #[test]
    fn orders_that_look_older_after_a_restart_are_noticed() {
        let good = state();
        assert_eq!(good.orders_are_as_new(&good), Ok(()));
        let mut older = good.clone();
        let old = OrderRef { server: true, ..Default::default() };
        older.index.order_refs = older.index.order_refs.iter().map(|(key, _)| (*key, old)).collect();
        assert!(older.orders_are_as_new(&good).is_err_and(|why| why.contains("after a restart")));
    }
}
