//! What keeps a host from booting, when a plan boots it.

use crate::lifecycle::rest;
use lenticular_model::{
    HostId, State,
    compute::{
        migration::Migration,
        server::{Server, Wanted},
    },
    ops::host_step::{Guests, HostStep},
};
use std::sync::Arc;

/// What keeps a host from booting; `None` if no guest runs there, or will.
pub fn what_runs(state: &State, step: &HostStep) -> Option<String> {
    // A restored store does not know what happened on the host since.
    if state.hosts.get(&step.id).is_some_and(|host| host.unheard) {
        return Some("it has not said what runs there since the store was restored".to_owned());
    }
    let what = match step.act.guests {
        Guests::Stay => return None,
        Guests::Move => {
            let left = state.taken_of_host(step.id).servers;
            (left > 0).then(|| format!("{left} servers take room there"))
        }
        Guests::Suspend | Guests::Stop => runs(state, step.id).or_else(|| comes(state, step.id)),
    };
    what.or_else(|| is_left(state, step.id))
}

fn runs(state: &State, host: HostId) -> Option<String> {
    let keeps = |server: &&Arc<Server>| {
        let goes = server.wanted == Wanted::Absent && !server.powered;
        let changes = server.task.is_some() || server.ticket.is_some() || server.restored.is_some();
        !goes && (changes || rest::is_on(server))
    };
    let Server { name, id, .. } = &**state.servers_on_host(host).find(keeps)?;
    Some(format!("server {name} ({id}) runs, or something is done to it"))
}

fn comes(state: &State, host: HostId) -> Option<String> {
    let comes = |migration: &&Arc<Migration>| {
        let server = state.servers.get(&migration.server_id);
        server.and_then(|server| server.ticket.as_ref()).is_some_and(|ticket| ticket.to == host)
    };
    let coming = state.migrations.values().find(comes)?;
    Some(format!("server {} moves here", coming.server_id))
}

/// A guest on a disk that no record explains, or that is being removed.
fn is_left(state: &State, host: HostId) -> Option<String> {
    let disk = state.left_disks_on_host(host).find(|disk| disk.may_run())?;
    let (disk, server) = (disk.id, disk.server_id);
    Some(format!("a guest of server {server} may run there, on the disk {disk} that was left behind"))
}
