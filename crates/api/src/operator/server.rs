//! A server's host, and its earlier hosts.

use crate::{
    ctx::Ctx,
    fault::Handled,
    operator::{disk, find, host_name},
    respond::json,
};
use axum::extract::Path;
use lenticular_model::{
    HostId, Kind, State,
    compute::{migration::Leg, server::Server},
    error::Result,
};
use lenticular_wire::operator::{MoveView, Where};

/// `GET /operator/v1/servers/{server}/where`
pub async fn whereabouts(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let server = find(&ctx, &text)?;
    let history = moves(&ctx, &server).await?;
    json(200, &view(&ctx.state, &server, history))
}

/// The view of a server's place. `history` has the hosts that the server left, with the time.
fn view(state: &State, server: &Server, history: Vec<(String, String)>) -> Where {
    let host = server.host_id.and_then(|id| state.hosts.get(&id));
    let addresses =
        state.ports_of_server(server.id).flat_map(|p| p.fixed_ips.iter().map(|ip| ip.ip_address.to_string()));
    Where {
        id: server.id.to_string(),
        name: server.name.clone(),
        status: server.status().to_owned(),
        wanted: format!("{:?}", server.wanted).to_lowercase(),
        host: host.map(|h| h.name.clone()),
        disk_generation: state.generation_of_server(server.id),
        powered: server.powered,
        host_heard_at: host.and_then(|h| state.heartbeats.get(&h.id)).map(|c| c.at.iso()),
        host_silent_since: host.and_then(|h| h.silent_since).map(|t| t.iso()),
        addresses: addresses.collect(),
        ssh_forward: server.ssh_forward.clone(),
        history,
        moving: moving(state, server),
        left_behind: disk::left_behind(state, server.id),
    }
}

fn moving(state: &State, server: &Server) -> Option<MoveView> {
    let ticket = server.ticket.as_ref()?;
    let migration = state.migrations.get(&ticket.migration_id)?;
    let progress = state.migration_progress.get(&ticket.migration_id);
    let silent = |id: &HostId| state.hosts.get(id).filter(|h| !h.is_up()).map(|h| h.name.clone());
    let step = match (ticket.leg, progress) {
        (Leg::Prepare, _) => format!("{} makes itself ready", migration.to_name),
        (Leg::Withdraw, _) => match silent(&migration.from) {
            Some(host) => format!("{host} is silent; only it knows whether the guest has left"),
            None => format!("{} is asked to keep the guest", migration.from_name),
        },
        (Leg::Send, Some(progress)) => progress.seen.step.clone(),
        (Leg::Send, None) => format!("{} begins to send", migration.from_name),
    };
    let seen = progress.map(|p| &p.seen);
    let sum = |n: usize| seen.map_or(0, |s| s.memory[n].saturating_add(s.disk[n]));
    Some(MoveView {
        to: migration.to_name.clone(),
        status: migration.phase.name(migration.purpose).to_owned(),
        step,
        bytes: (sum(1), sum(0)),
        dirty_bytes_per_s: seen.map_or(0, |s| s.dirty_bytes_per_s),
        expected_end: progress.and_then(|p| p.expected_end).map(|at| at.iso()),
        deadline: migration.deadline.iso(),
    })
}

/// The hosts that the server left, with the time.
async fn moves(ctx: &Ctx, server: &Server) -> Result<Vec<(String, String)>> {
    let mut stays: Vec<(Option<String>, Option<HostId>)> = Vec::new();
    for entry in ctx.app.store.history(Kind::Server, &server.id.to_string()).await? {
        let before: Option<Server> = entry.before.as_deref().and_then(|doc| serde_json::from_str(doc).ok());
        stays.extend(before.map(|s| (Some(entry.at.iso()), s.host_id)));
    }
    stays.push((None, server.host_id));
    let left = stays.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    Ok(left.filter_map(|pair| Some((pair[0].0.clone()?, host_name(&ctx.state, pair[0].1)?))).collect())
}
