//! All that is known of one host, for operators.

use crate::{ctx::Ctx, fault::Handled, operator::host_view, respond::json};
use axum::extract::Path;
use lenticular_control::command::host::disk;
use lenticular_model::{
    compute::disk_copy::{Fate, Found},
    error::Error,
    host::host::Host,
    policy::{self, Action},
    State,
};
use lenticular_wire::operator::{HostDetail, Nothing};

/// `GET /operator/v1/hosts/{host}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let state = &ctx.state;
    let host = state.host_named(&name);
    let host = host.ok_or_else(|| Error::not_found("Host", &name))?;
    json(200, &detail(state, host))
}

/// `POST /operator/v1/disks/{disk}/give-up`
pub async fn give_up(ctx: Ctx, Path(disk): Path<String>) -> Handled {
    let id = disk.parse().map_err(|_| Error::not_found("Disk", &disk))?;
    ctx.commit("give up a disk that was found", move |txn, caller| disk::give_up(txn, caller, id)).await?;
    json(200, &Nothing {})
}

fn detail(state: &State, host: &Host) -> HostDetail {
    let here = state.servers.values().filter(|s| s.host_id == Some(host.id));
    let comes =
        |s: &lenticular_model::compute::server::Server| s.ticket.as_ref().is_some_and(|t| t.to == host.id);
    let coming = state.servers.values().filter(|s| comes(s));
    let copies = state.disk_copies.values().filter(|copy| copy.host_id == host.id);
    let fence = host.fence.as_ref().map(|fence| {
        let lost = if fence.disks_lost { ", and its disks lost," } else { "" };
        let how = match &fence.proof {
            Some(proof) => format!("by the driver {}: {}", proof.driver, proof.said.trim()),
            None => format!("on the word of {}", fence.by),
        };
        format!("declared off{lost} at {} {how}", fence.at.iso())
    });
    HostDetail {
        host: host_view(state, host),
        address: host.address.clone(),
        peer_address: host.peer_address.clone(),
        boot_id: host.boot_id.clone(),
        cpu_model: host.hypervisor.cpu_model.clone(),
        heard_at: state.contacts.get(&host.id).map(|contact| contact.at.iso()),
        fence,
        aggregates: state
            .aggregates
            .values()
            .filter(|aggregate| aggregate.hosts.contains(&host.id))
            .map(|aggregate| aggregate.name.clone())
            .collect(),
        servers_here: here.map(|s| (s.id.to_string(), s.name.clone(), s.status().to_owned())).collect(),
        coming: coming.map(|s| (s.id.to_string(), s.name.clone())).collect(),
        left_behind: copies
            .map(|copy| (copy.id.to_string(), copy.server_id.to_string(), fate(&copy.fate)))
            .collect(),
    }
}

fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Kept { until } => format!("kept until {}", until.iso()),
        Fate::Doomed => "to be removed".to_owned(),
        Fate::Found { what } => {
            let what = match what {
                Found::Own => "the host believes it to be its own",
                Found::Coming => "it was coming there",
                Found::Released { .. } => "the host has handed it on",
                Found::Left => "it was left behind",
            };
            format!("found, and no record explains it: {what}")
        }
    }
}
