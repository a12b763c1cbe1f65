//! Disks that servers left behind, and disks without an explanation in the records.

use crate::{
    body::Message,
    ctx::Ctx,
    fault::Handled,
    operator::{find, host_name},
    respond::json,
};
use axum::extract::Path;
use lenticular_control::command::{compute::evacuate, host::disk};
use lenticular_model::{
    ServerId, State,
    compute::disk::{Disk, Fate, FoundDisk},
    error::Error,
};
use lenticular_wire::operator::{DiskView, Nothing, RestoreAsk};

/// `POST /operator/v1/servers/{server}/disks/restore`
pub async fn restore(ctx: Ctx, Path(text): Path<String>, Message(ask): Message<RestoreAsk>) -> Handled {
    let id = find(&ctx, &text)?.id;
    let disk = ask.disk.parse().map_err(|_| Error::not_found("Disk", &ask.disk))?;
    ctx.commit("server disk restore", move |txn, caller| evacuate::restore_disk(txn, caller, id, disk))
        .await?;
    json(200, &left_behind(&ctx.app.store.state(), id))
}

/// `POST /operator/v1/disks/{disk}/give-up`
pub async fn give_up(ctx: Ctx, Path(disk): Path<String>) -> Handled {
    let id = disk.parse().map_err(|_| Error::not_found("Disk", &disk))?;
    ctx.commit("give up a disk that was found", move |txn, caller| disk::give_up(txn, caller, id)).await?;
    json(200, &Nothing {})
}

/// The disks that a server left behind.
pub fn left_behind(state: &State, server: ServerId) -> Vec<DiskView> {
    let view = |disk: &Disk| {
        let left = disk.left.as_deref()?;
        Some(DiskView {
            kind: disk.kind.name().to_owned(),
            id: disk.id.to_string(),
            host: host_name(state, disk.host_id).unwrap_or_default(),
            generation: disk.generation,
            kept_until: match left.fate {
                Fate::Kept { until } => Some(until.iso()),
                Fate::Doomed | Fate::Found { .. } => None,
            },
            why: left.why.clone(),
        })
    };
    state.left_disks_of_server(server).filter_map(|disk| view(disk)).collect()
}

/// The future of a disk, in words.
pub fn fate(fate: &Fate) -> String {
    match fate {
        Fate::Kept { until } => format!("kept until {}", until.iso()),
        Fate::Doomed => "to be removed".to_owned(),
        Fate::Found { what } => {
            let what = match what {
                FoundDisk::Own => "the host believes it to be its own",
                FoundDisk::Coming => "it was coming there",
                FoundDisk::Released { .. } => "the host has handed it on",
                FoundDisk::Left => "it was left behind",
            };
            format!("found, and no record explains it: {what}")
        }
    }
}
