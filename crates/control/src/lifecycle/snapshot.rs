//! Snapshots: a copy of a server's root disk becomes an image, while the server goes on.
//!
//! ```text
//!        createImage, createBackup                the bytes are in the image store
//!  none ──────────────────────────▶ Snapshot ────────────────────────────────────▶ none, the image is active
//!   ▲                                  │
//!   └──────────────────────────────────┘ the host could not, not in time, or the image was deleted: the image goes
//! ```
//!
//! The host copies the disk as it is at one moment. It sends the copy under the snapshot's upload name alone.

use crate::lifecycle::{image, operation};
use lenticular_model::{
    HostId, ImageId, ServerId, Txn,
    compute::{
        server::{Server, Wanted},
        snapshot::{Rotation, Snapshot},
    },
    error::{Error, Result},
    host::observation::Unsaved,
    image::{Data, Image, Quota},
};

/// The image for the copy that a host will send. The sending has a new name, and overtakes all earlier sendings.
///
/// # Errors
/// The server is not that host's, or this snapshot is no longer wanted.
pub fn begin_saving(
    txn: &mut Txn<'_>,
    id: ServerId,
    host: HostId,
    upload: &str,
    sending: &str,
) -> Result<ImageId> {
    let (_, snapshot) = saving(txn, id, host, upload)?;
    match image::begin_sending(txn, snapshot.image_id, sending) {
        true => Ok(snapshot.image_id),
        false => Err(over(id)),
    }
}

fn over(id: ServerId) -> Error {
    Error::conflict(format!("The snapshot of instance {id} is no longer wanted; its disk is not needed."))
}

fn saving(txn: &Txn<'_>, id: ServerId, host: HostId, upload: &str) -> Result<(Server, Snapshot)> {
    let server = txn.servers.get(&id).filter(|s| s.host_id == Some(host) && s.restored.is_none());
    let server = server.filter(|s| s.wanted != Wanted::Absent).ok_or_else(|| over(id))?;
    let snapshot = server.snapshot.as_deref().filter(|snapshot| snapshot.upload == upload);
    let snapshot = snapshot.ok_or_else(|| over(id))?.clone();
    Ok((Server::clone(server), snapshot))
}

/// The copy is in the image store, complete and durable: the image is active.
///
/// # Errors
/// The snapshot is no longer wanted, a later sending has begun, or the project has used up its limit.
pub fn saved(
    txn: &mut Txn<'_>,
    id: ServerId,
    host: HostId,
    (upload, sending): (&str, &str),
    data: Data,
    quota: &Quota,
) -> Result<()> {
    let (server, snapshot) = saving(txn, id, host, upload)?;
    image::commit_upload(txn, snapshot.image_id, sending, data, quota)?;
    end(txn, &server, None);
    if let Some(rotation) = &snapshot.rotation {
        rotate(txn, &server, rotation);
    }
    Ok(())
}

/// Handles a host's report of a copy that it could not make or send.
pub fn unsaved(txn: &mut Txn<'_>, server: &Server, seen: &Unsaved) {
    if server.snapshot.as_deref().is_some_and(|snapshot| snapshot.upload == seen.upload) {
        give_up(txn, server, &format!("{} ({})", seen.message, seen.details));
    }
}

/// Gives a server's snapshot up, if one is under way: its image goes.
pub fn give_up(txn: &mut Txn<'_>, server: &Server, why: &str) {
    let Some(snapshot) = &server.snapshot else { return };
    if let Some(image) = txn.images.get(&snapshot.image_id).cloned() {
        image::remove(txn, &image);
    }
    end(txn, server, Some(why.to_owned()));
}

/// An image was deleted: the snapshot that would fill the image is given up.
pub fn on_image_deleted(txn: &mut Txn<'_>, image: &Image) {
    // Users can change the property, so the server's record must name the image, too. With another property the
    // snapshot ends when its upload is refused.
    let server = image.properties.get("instance_uuid").and_then(|id| id.parse::<ServerId>().ok());
    let server = server.and_then(|id| txn.servers.get(&id)).cloned();
    let fills = |s: &Server| s.snapshot.as_deref().is_some_and(|snapshot| snapshot.image_id == image.id);
    if let Some(server) = server.filter(|server| fills(server)) {
        end(txn, &server, Some("The image was deleted before the snapshot was complete.".to_owned()));
    }
}

fn end(txn: &mut Txn<'_>, server: &Server, failure: Option<String>) {
    let task = server.task.as_ref().filter(|task| task.action.is_snapshot());
    if let Some(task) = task {
        operation::finish(txn, task.operation_id, failure);
    }
    let ended = task.is_some();
    txn.update::<Server>(&server.id, |s| {
        s.snapshot = None;
        if ended {
            s.task = None;
        }
    });
}

/// Removes a server's oldest backups of a type, until as many are left as the rotation keeps.
pub fn rotate(txn: &mut Txn<'_>, server: &Server, rotation: &Rotation) {
    let id = server.id.to_string();
    let is_backup = |image: &Image| {
        let has = |name: &str, value: &str| image.properties.get(name).is_some_and(|is| is == value);
        has("instance_uuid", &id) && has("image_type", "backup") && has("backup_type", &rotation.backup_type)
    };
    let of_owner = |image: &Image| image.owner == Some(server.project_id) && image.data().is_some();
    let mut backups: Vec<_> =
        txn.images.values().filter(|image| of_owner(image) && is_backup(image)).cloned().collect();
    backups.sort_by_key(|image| std::cmp::Reverse((image.created_at, image.id)));
    let surplus = backups.into_iter().skip(rotation.keep as usize);
    for image in surplus
        .filter(|image| !image.protected && txn.server_shelved_in(image.id).is_none())
        .collect::<Vec<_>>()
    {
        image::remove(txn, &image);
    }
}
