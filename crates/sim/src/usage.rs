//! The servers' usage of hosts, counted independently of the scheduler's index.

use crate::world::World;
use lenticular_model::{
    HostId, Kind, ServerId, State, compute::server::Server, host::host::Host, index::Taken,
};
use lenticular_store::Commit;
use std::collections::{BTreeMap, BTreeSet};

/// The usage of each host.
pub(crate) type Usage = BTreeMap<HostId, Taken>;

fn add(usage: &mut Usage, server: &Server, sign: i64) {
    for (host, size) in server.claims() {
        let of_host = usage.entry(host).or_default();
        let more = |field: &mut u64, amount: u64| {
            *field = field.wrapping_add_signed(sign * i64::try_from(amount).unwrap_or(i64::MAX));
        };
        more(&mut of_host.servers, 1);
        more(&mut of_host.busy, u64::from(server.is_busy()));
        more(&mut of_host.capacity.vcpus, u64::from(size.vcpus));
        more(&mut of_host.capacity.memory_mb, u64::from(size.ram_mb));
        more(&mut of_host.capacity.disk_gb, size.all_disk_gb());
    }
}

/// The usage, counted from the records.
pub(crate) fn count(state: &State) -> Usage {
    let mut usage = Usage::new();
    state.servers.values().for_each(|server| add(&mut usage, server, 1));
    usage
}

/// Checks that servers' usage, counted from the records, equals the index and fits each host. Servers that were
/// found after a restore stay where they are, even on a full host.
pub(crate) fn is_right(state: &State, restored: bool) -> Result<(), String> {
    let usage = count(state);
    state.hosts.values().try_for_each(|host| of_host(state, host, &usage, restored))
}

fn of_host(state: &State, host: &Host, usage: &Usage, restored: bool) -> Result<(), String> {
    let counted = usage.get(&host.id).copied().unwrap_or_default();
    let indexed = state.taken_of_host(host.id);
    if counted != indexed {
        return Err(format!("{} has {counted:?} by count and {indexed:?} by index", host.name));
    }
    let has = host.to_give();
    let uses = counted.capacity;
    let full = uses.vcpus > has.vcpus || uses.memory_mb > has.memory_mb || uses.disk_gb > has.disk_gb;
    if full && !restored {
        return Err(format!("{} is over-full: {uses:?} of {has:?}", host.name));
    }
    Ok(())
}

impl World {
    /// 4: no commit fills a host with more than it has.
    pub(crate) fn check_usage(&mut self, before: &State, commit: &Commit) {
        let after = &commit.state;
        let mut hosts = BTreeSet::new();
        let servers = commit.changes.iter().filter(|(kind, _)| *kind == Kind::Server);
        for id in servers.filter_map(|(_, id)| id.parse::<ServerId>().ok()) {
            for (server, sign) in [(before.servers.get(&id), -1), (after.servers.get(&id), 1)] {
                let Some(server) = server else { continue };
                add(&mut self.usage, server, sign);
                hosts.extend(server.claims().map(|(host, _)| host));
            }
        }
        let restored = self.plane.restores > 0;
        let hosts = hosts.iter().filter_map(|id| after.hosts.get(id));
        let checked = hosts.map(|host| of_host(after, host, &self.usage, restored)).find(Result::is_err);
        if let Some(Err(what)) = checked {
            self.violate(4, what);
        }
    }
}
