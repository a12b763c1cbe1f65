//! Shelved servers: a server's disk becomes an image and leaves its host, until the server is unshelved on any
//! host.
//!
//! ```text
//!            shelve             guest stopped, disk in the image store
//!  on a host ──────▶ Saving ─────────────────────────────────────────▶ Offloaded, on no host ◀──┐
//!     ▲                │                                                     │ unshelve          │ its host could
//!     │ the host       │                                                     ▼                   │ not run it
//!     ├────────────────┘ could not, or not in time                Offloaded, on a host ──────────┘
//!     │                                                                      │
//!     └───────────────────── its guest was seen, and the image goes ─────────┘
//! ```
//!
//! The image becomes active and the server leaves its host in one commit, after the bytes are durable. So the disk
//! is always on a host or in an image. After unshelving, the disk's base is that image.

use crate::lifecycle::{condition, disk, image, operation, ports};
use lenticular_model::{
    HostId, ImageId, ServerId, State, Txn,
    compute::{
        disk::Fate,
        server::{BootStyle, Server, Shelf, Wanted},
    },
    error::{Error, Result},
    host::observation::Unsaved,
    image::{Data, Quota},
};

/// The image for the disk that a host will send. The sending has a new name, and overtakes all earlier sendings.
///
/// # Errors
/// The server is not that host's, or is no longer being shelved by this attempt.
pub fn begin_saving(
    txn: &mut Txn<'_>,
    id: ServerId,
    host: HostId,
    upload: &str,
    sending: &str,
) -> Result<ImageId> {
    let server = saving(txn, id, host, upload)?;
    let image = server.shelf.as_ref().map(|shelf| shelf.image_id()).ok_or_else(|| over(id))?;
    match image::begin_sending(txn, image, sending) {
        true => Ok(image),
        false => Err(over(id)),
    }
}

fn over(id: ServerId) -> Error {
    Error::conflict(format!("Instance {id} is no longer being shelved; its disk is not needed."))
}

fn saving(txn: &Txn<'_>, id: ServerId, host: HostId, upload: &str) -> Result<Server> {
    let this =
        |s: &Server| matches!(s.shelf.as_deref(), Some(Shelf::Saving { upload: u, .. }) if u == upload);
    let server = txn.servers.get(&id).filter(|s| s.host_id == Some(host) && s.restored.is_none() && this(s));
    let server = server.filter(|s| s.wanted != Wanted::Absent);
    server.map(|s| Server::clone(s)).ok_or_else(|| over(id))
}

/// The disk is in the image store, complete and durable: the server leaves its host.
///
/// # Errors
/// The disk is no longer wanted, or a later sending has begun.
pub fn saved(
    txn: &mut Txn<'_>,
    id: ServerId,
    host: HostId,
    (upload, sending): (&str, &str),
    data: Data,
) -> Result<()> {
    let server = saving(txn, id, host, upload)?;
    let image_id = server.shelf.as_ref().map(|shelf| shelf.image_id()).ok_or_else(|| over(id))?;
    let base: std::sync::Arc<str> = data.sha512.as_str().into();
    // The limits do not apply: an exceeded limit must not keep a server on its host. The usage still counts.
    image::commit_upload(txn, image_id, sending, data, &Quota::default())?;
    leave_host(txn, &server, host, "shelved");
    operation::finish_task(txn, &server, None);
    txn.update::<Server>(&id, |s| {
        s.base = base;
        s.base_format = "qcow2".into();
        s.base_image = Some(image_id);
        s.shelf = Some(Box::new(Shelf::Offloaded { image_id }));
        condition::set_stopped(s);
        s.task = None;
        s.fault = None;
    });
    Ok(())
}

/// Takes the server off its host; the host must remove its part of the server.
fn leave_host(txn: &mut Txn<'_>, server: &Server, host: HostId, why: &str) {
    let generation = txn.generation_of_server(server.id);
    disk::leave(txn, server.id, host, generation, Fate::Doomed, why.to_owned());
    disk::set_host(txn, server.id, None);
    ports::bind(txn, server.id, None);
    txn.update::<Server>(&server.id, |s| {
        s.wanted = Wanted::Stopped;
        s.powered = false;
        s.ssh_forward = None;
    });
}

/// Handles a host's report of a disk that it could not send.
pub fn unsaved(txn: &mut Txn<'_>, server: &Server, seen: &Unsaved) {
    let this =
        matches!(server.shelf.as_deref(), Some(Shelf::Saving { upload, .. }) if *upload == seen.upload);
    if this {
        give_up(txn, server, format!("{} ({})", seen.message, seen.details));
    }
}

/// Gives the shelving up: the server stays on its host, and runs if it ran before.
pub fn give_up(txn: &mut Txn<'_>, server: &Server, why: String) {
    let Some(Shelf::Saving { resumes, .. }) = server.shelf.as_deref() else { return };
    let resumes = *resumes;
    operation::finish_task(txn, server, Some(why));
    clear(txn, server);
    txn.update::<Server>(&server.id, |s| {
        s.task = None;
        if resumes {
            s.wanted = Wanted::Running;
            s.boot += 1;
            s.boot_style = BootStyle::Hard;
        } else {
            condition::set_stopped(s);
        }
    });
}

/// Removes the server's image of a shelving, which is no longer wanted.
pub fn clear(txn: &mut Txn<'_>, server: &Server) {
    let Some(shelf) = &server.shelf else { return };
    if let Some(image) = txn.images.get(&shelf.image_id()).cloned() {
        image::remove(txn, &image);
    }
    txn.update::<Server>(&server.id, |s| s.shelf = None);
}

/// The guest was seen on its new host, which alone has the newest data. So the image is removed.
pub fn came_back(txn: &mut Txn<'_>, server: &Server) {
    if server.is_offloaded() {
        clear(txn, server);
    }
}

/// True if the host could not even make the disk of a server that was being unshelved. Then the image is still the
/// newest data.
pub fn never_came(state: &State, server: &Server, made: bool) -> bool {
    server.is_offloaded() && !made && !state.has_made_disks(server.id)
}

/// Returns the server to the offloaded state, to be tried again.
pub fn go_back(txn: &mut Txn<'_>, server: &Server, message: &str, details: &str) {
    let Some(host) = server.host_id else { return };
    leave_host(txn, server, host, "a server that could not be brought back here");
    operation::finish_task(txn, server, Some(message.to_owned()));
    let (message, details) = (message.to_owned(), Some(details.to_owned()));
    let fault = condition::fault(message, details, txn.now);
    txn.update::<Server>(&server.id, |s| {
        condition::set_stopped(s);
        s.task = None;
        s.fault = Some(fault);
    });
}
