//! Shelving: a server's disk becomes an image and leaves its host, until the server is brought back on any host.
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
//! The image and the server's leaving change in one commit, when the bytes are durable: at no time is the disk neither
//! on a host nor an image. A disk that comes back is laid over the image that it was, so that is the server's base from
//! then on.

use crate::schedule::{schedule, Ask};
use crate::{
    command::{
        compute::{
            evacuate::settle_on,
            server::{actable, need_condition},
        },
        image,
    },
    lifecycle::{migration, operation},
};
use lenticular_model::{
    compute::{
        disk_copy::Fate,
        operation::Action as Operation,
        server::{BootStyle, Condition, Fault, Server, Shelf, Wanted},
    },
    error::{Error, Result},
    host::observation::Unsaved,
    image::{Data, Image, Phase, Quota, Visibility},
    network::port::Port,
    policy::{self, Action, Caller},
    HostId, ImageId, Kind, PortId, ServerId, Txn,
};
use std::collections::BTreeMap;

/// Stops a server, makes an image of its disk, and takes it off its host.
///
/// # Errors
/// The server is in no state for that.
pub fn shelve(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerShelve)?;
    need_condition(&server, "shelve", &[Condition::Active, Condition::Stopped])?;
    if server.host_id.is_none() {
        return Err(Error::conflict(format!("Instance {id} is on no host, so there is nothing to shelve.")));
    }
    let upload = format!("upload-{}", ImageId::from_random(txn.random()));
    let image_id = put_image(txn, &server, &upload);
    let task = operation::begin(txn, &server, Operation::Shelve, Some(caller));
    let resumes = server.wanted == Wanted::Running;
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Stopped;
        s.shelf = Some(Box::new(Shelf::Saving { image_id, upload, resumes }));
        s.task = Some(task);
    });
    Ok(())
}

fn put_image(txn: &mut Txn<'_>, server: &Server, upload: &str) -> ImageId {
    let id = ImageId::from_random(txn.random());
    let original = txn.images.get(&server.image_id);
    // What hosts must have for the guest holds for its image as well.
    let mut properties: BTreeMap<String, String> =
        original.map(|image| image.properties.clone()).unwrap_or_default();
    properties.extend(
        [
            ("image_type", "snapshot".to_owned()),
            ("instance_uuid", server.id.to_string()),
            ("base_image_ref", server.image_id.to_string()),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    let min_ram = original.map_or(0, |image| image.min_ram);
    txn.put(Image {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        name: Some(format!("{}-shelved", server.name)),
        owner: Some(server.project_id),
        visibility: Visibility::Private,
        phase: Phase::Saving { upload: upload.to_owned() },
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: server.size.disk_gb,
        min_ram,
        protected: false,
        hidden: false,
        tags: Default::default(),
        properties,
        unknown: Default::default(),
    });
    id
}

/// The image that a host is about to send a disk for; the sending gets a name of its own, which overtakes any before it.
///
/// # Errors
/// The server is not that host's, or is not being shelved by this attempt any more.
pub fn begin_saving(
    txn: &mut Txn<'_>,
    id: ServerId,
    host: HostId,
    upload: &str,
    sending: &str,
) -> Result<ImageId> {
    let server = saving(txn, id, host, upload)?;
    let image = server.shelf.as_ref().map(|shelf| shelf.image_id()).ok_or_else(|| over(id))?;
    let waits = |i: &Image| matches!(i.phase, Phase::Saving { .. } | Phase::Queued);
    if !txn.images.get(&image).is_some_and(|i| waits(i)) {
        return Err(over(id));
    }
    txn.update::<Image>(&image, |i| i.phase = Phase::Saving { upload: sending.to_owned() });
    Ok(image)
}

fn over(id: ServerId) -> Error {
    Error::conflict(format!("Instance {id} is not being shelved any more; its disk is not wanted."))
}

fn saving(txn: &Txn<'_>, id: ServerId, host: HostId, upload: &str) -> Result<Server> {
    let this =
        |s: &Server| matches!(s.shelf.as_deref(), Some(Shelf::Saving { upload: u, .. }) if u == upload);
    let server = txn.servers.get(&id).filter(|s| s.host_id == Some(host) && s.restored.is_none() && this(s));
    let server = server.filter(|s| s.wanted != Wanted::Absent);
    server.map(|s| Server::clone(s)).ok_or_else(|| over(id))
}

/// The disk is in the image store, whole and durable: the server leaves its host.
///
/// # Errors
/// It is not wanted any more, or a later sending has begun.
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
    // A limit that is passed must not keep a server on its host: what it takes counts all the same.
    image::commit_upload(txn, image_id, sending, data, &Quota::default())?;
    leave_host(txn, &server, host, "shelved");
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, None);
    }
    txn.update::<Server>(&id, |s| {
        s.base = base;
        s.base_format = "qcow2".into();
        s.base_image = Some(image_id);
        s.shelf = Some(Box::new(Shelf::Offloaded { image_id }));
        s.condition = Condition::Stopped;
        s.task = None;
        s.fault = None;
    });
    Ok(())
}

/// The server is on no host any more; what the host has of it is to go.
fn leave_host(txn: &mut Txn<'_>, server: &Server, host: HostId, why: &str) {
    migration::leave_copy(txn, server.id, host, server.disk.generation, Fate::Doomed, why.to_owned());
    let bound: Vec<PortId> = txn.ports_of_server(server.id).map(|port| port.id).collect();
    for port in bound {
        txn.update::<Port>(&port, |port| {
            port.host_id = None;
            port.plugged = false;
            port.revision += 1;
        });
    }
    txn.update::<Server>(&server.id, |s| {
        s.host_id = None;
        s.wanted = Wanted::Stopped;
        s.powered = false;
        s.ssh_forward = None;
    });
}

/// What a host says of a disk that it could not send.
pub fn unsaved(txn: &mut Txn<'_>, server: &Server, seen: &Unsaved) {
    let this =
        matches!(server.shelf.as_deref(), Some(Shelf::Saving { upload, .. }) if *upload == seen.upload);
    if this {
        give_up(txn, server, format!("{} ({})", seen.message, seen.details));
    }
}

/// Nothing comes of the shelving: the server stays where it is, and runs if it ran.
pub fn give_up(txn: &mut Txn<'_>, server: &Server, why: String) {
    let Some(Shelf::Saving { resumes, .. }) = server.shelf.as_deref() else { return };
    let resumes = *resumes;
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, Some(why));
    }
    forget(txn, server);
    txn.update::<Server>(&server.id, |s| {
        s.task = None;
        if resumes {
            s.wanted = Wanted::Running;
            s.boot += 1;
            s.boot_style = BootStyle::Hard;
        } else {
            s.condition = Condition::Stopped;
        }
    });
}

/// Whatever there is of the server on a shelf is not wanted any more.
pub fn forget(txn: &mut Txn<'_>, server: &Server) {
    let Some(shelf) = &server.shelf else { return };
    if let Some(image) = txn.images.get(&shelf.image_id()).cloned() {
        image::remove(txn, &image);
    }
    txn.update::<Server>(&server.id, |s| s.shelf = None);
}

/// Where a server shall come back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// In this zone from now on; `Some(None)` for any.
    pub zone: Option<Option<String>>,
    /// On this host.
    pub host: Option<String>,
}

/// Brings a shelved server back, running.
///
/// # Errors
/// It is not shelved, its image is gone, or no host will do: the message says why.
pub fn unshelve(txn: &mut Txn<'_>, caller: &Caller, id: ServerId, place: Place) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerUnshelve)?;
    let image = need_shelved(txn, &server)?;
    if place.host.is_some() {
        policy::check(caller, Action::ServerUnshelveToHost, None)?;
    }
    if let Some(zone) = &place.zone {
        if let Some(zone) = zone.as_ref().filter(|zone| !txn.hosts.values().any(|h| h.zone == **zone)) {
            return Err(Error::invalid(format!("The requested availability zone is not available: {zone}")));
        }
        txn.update::<Server>(&id, |s| s.wanted_zone.clone_from(zone));
    }
    if let Some(name) = place.host.as_ref().filter(|name| txn.host_named(name).is_none()) {
        return Err(Error::invalid(format!("Compute host {name} could not be found.")));
    }
    let server = txn.need::<Server>(&id, || Error::not_found("Instance", id))?;
    let ask = Ask { image: Some(image.into()), host: place.host, ..Ask::of_server(txn, &server) };
    let (chosen, verdict) = schedule(txn, &ask);
    let Some(to) = chosen else {
        let why = if caller.is_admin() { verdict.explain() } else { verdict.summary() };
        return Err(Error::invalid(why));
    };
    let task = operation::begin(txn, &server, Operation::Unshelve, Some(caller));
    migration::forget_copy(txn, to, id);
    let generation = server.next_generation();
    settle_on(txn, id, to, generation, None);
    txn.update::<Server>(&id, |s| {
        s.disk.made = false;
        s.wanted = Wanted::Running;
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
        s.task = Some(task);
    });
    txn.put_cold(Kind::Verdict, id.to_string(), verdict);
    Ok(())
}

/// The image that the server comes back from.
fn need_shelved(txn: &Txn<'_>, server: &Server) -> Result<Image> {
    let id = server.id;
    let state = match &server.task {
        Some(task) => format!("task_state {}", task.action.task_state()),
        None => format!("vm_state {}", server.vm_state()),
    };
    let Some(Shelf::Offloaded { image_id }) = server.shelf.as_deref().filter(|_| server.host_id.is_none())
    else {
        return Err(Error::conflict(format!("Cannot 'unshelve' instance {id} while it is in {state}")));
    };
    if server.wanted == Wanted::Absent || server.task.is_some() {
        return Err(Error::conflict(format!("Cannot 'unshelve' instance {id} while it is in {state}")));
    }
    let image = txn.images.get(image_id).filter(|image| image.data().is_some());
    image.map(|image| Image::clone(image)).ok_or_else(|| {
        Error::conflict(format!(
            "The image {image_id} that holds the disk of instance {id} is gone, so it cannot be brought back. Its \
             operator may have a copy of the image store; else delete the instance."
        ))
    })
}

/// Takes a shelved server off its host for good. Shelving does that at once, so there is never anything to do.
///
/// # Errors
/// Always: the server is not in the state between.
pub fn offload(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerShelveOffload)?;
    let state = server.vm_state();
    Err(Error::conflict(format!("Cannot 'shelveOffload' instance {id} while it is in vm_state {state}")))
}

/// The guest was seen on its new host: what it has written since is there alone, so the image is worth nothing more.
pub fn came_back(txn: &mut Txn<'_>, server: &Server) {
    if server.is_offloaded() {
        forget(txn, server);
    }
}

/// True if its host could not even make the disk of a server that was to come back: so the image is still the newest
/// there is.
pub fn never_came(server: &Server, made: bool) -> bool {
    server.is_offloaded() && !made && !server.disk.made
}

/// It goes back to the shelf, to be tried again.
pub fn go_back(txn: &mut Txn<'_>, server: &Server, message: &str, details: &str) {
    let Some(host) = server.host_id else { return };
    leave_host(txn, server, host, "a server that could not be brought back here");
    if let Some(task) = &server.task {
        operation::finish(txn, task.operation_id, Some(message.to_owned()));
    }
    let (message, details) = (message.to_owned(), Some(details.to_owned()));
    let fault = Fault { code: 500, message, details, at: txn.now };
    txn.update::<Server>(&server.id, |s| {
        s.condition = Condition::Stopped;
        s.task = None;
        s.fault = Some(fault);
    });
}
