//! Requests that shelve and unshelve a server; `lifecycle/shelf.rs` shows the states between.

use crate::{
    command::compute::access::{actable, need_condition, need_disk_back},
    lifecycle::{disk, image, operation, run},
    schedule::{RequestSpec, schedule},
};
use lenticular_model::{
    ImageId, Kind, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{BootStyle, Condition, Server, Shelf, Wanted},
    },
    error::{Error, Result},
    image::Image,
    policy::{self, Action, Caller},
};
use std::collections::BTreeMap;

/// The conditions in which a server can be shelved, as in Nova. A shelved server has no memory: a suspended guest's
/// saved memory is discarded.
const SHELVABLE: &[Condition] =
    &[Condition::Active, Condition::Paused, Condition::Suspended, Condition::Stopped];

/// Stops a server, makes an image of its disk, and removes it from its host.
///
/// # Errors
/// The server's state does not permit it.
pub fn shelve(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerShelve)?;
    need_condition(&server, "shelve", SHELVABLE)?;
    need_disk_back(txn, &server, "shelve")?;
    if server.host_id.is_none() {
        return Err(Error::conflict(format!("Instance {id} is on no host, so there is nothing to shelve.")));
    }
    let upload = format!("upload-{}", ImageId::from_random(txn.random()));
    let properties = BTreeMap::from([("image_type".to_owned(), "snapshot".to_owned())]);
    let name = format!("{}-shelved", server.name);
    let image_id = image::put_of_server(txn, &server, &upload, name, properties);
    let task = operation::begin(txn, &server, OperationKind::Shelve, Some(caller));
    let resumes = matches!(server.wanted, Wanted::Running | Wanted::Paused);
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Stopped;
        s.shelf = Some(Box::new(Shelf::Saving { image_id, upload, resumes }));
        s.task = Some(task);
    });
    Ok(())
}

/// The place where a server is unshelved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The zone from now on; `Some(None)` for any.
    pub zone: Option<Option<String>>,
    /// The host.
    pub host: Option<String>,
}

/// Unshelves a server and starts it.
///
/// # Errors
/// It is not shelved, its image is gone, or no host fits: the message says why.
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
    let ask =
        RequestSpec { image: Some(image.into()), host: place.host, ..RequestSpec::of_server(txn, &server) };
    let (chosen, verdict) = schedule(txn, &ask);
    let Some(to) = chosen else {
        let why = if caller.is_admin() { verdict.explain() } else { verdict.summary() };
        return Err(Error::invalid(why));
    };
    let task = operation::begin(txn, &server, OperationKind::Unshelve, Some(caller));
    disk::clear(txn, to, id);
    let generation = txn.next_generation(id);
    run::put_on(txn, id, to, generation, None);
    disk::update(txn, id, |disk| disk.made = false);
    txn.update::<Server>(&id, |s| {
        s.wanted = Wanted::Running;
        s.boot += 1;
        s.boot_style = BootStyle::Hard;
        s.task = Some(task);
    });
    txn.put_cold(Kind::Verdict, id.to_string(), verdict);
    Ok(())
}

/// The image that the server is unshelved from.
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
            "The image {image_id} that holds the disk of instance {id} is gone, so it cannot be brought \
             back. Ask the operator for a copy of the image store, or delete the instance."
        ))
    })
}

/// Removes a shelved server from its host. Shelving does that at once, so there is never anything to do.
///
/// # Errors
/// Always: no server is in the state between.
pub fn offload(txn: &mut Txn<'_>, caller: &Caller, id: ServerId) -> Result<()> {
    let server = actable(txn, caller, id, Action::ServerShelveOffload)?;
    let state = server.vm_state();
    Err(Error::conflict(format!("Cannot 'shelveOffload' instance {id} while it is in vm_state {state}")))
}
