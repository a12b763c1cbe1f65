//! The order in which a plan moves servers: host by host, and on each host first the small servers that run.

use lenticular_model::{
    HostId, ServerId, State,
    compute::server::{Condition, Server},
};

/// Servers with their present hosts, in the order in which they move. The first one shows whether moves succeed at all, so it
/// runs, and is small. Servers without a host are left out.
pub fn in_order(state: &State, servers: impl Iterator<Item = ServerId>) -> Vec<(HostId, ServerId)> {
    let key = |server: &Server| {
        let host = server.host_id.and_then(|id| state.hosts.get(&id))?;
        let stands = server.condition != Condition::Active;
        let order = (host.name.clone(), stands, server.size.ram_mb, server.created_at, server.id);
        Some((order, host.id))
    };
    let mut all: Vec<_> = servers.filter_map(|id| key(state.servers.get(&id)?)).collect();
    all.sort();
    all.into_iter().map(|((.., server), host)| (host, server)).collect()
}
