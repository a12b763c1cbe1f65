//! Requests that make an image of a server's root disk; `lifecycle/snapshot.rs` shows what becomes of them.

use crate::{
    command::compute::access::{actable, need_agent, need_condition, need_disk_back},
    lifecycle::{image, operation, snapshot},
};
use lenticular_model::{
    ImageId, ServerId, Txn,
    compute::{
        operation::OperationKind,
        server::{Condition, Server},
        snapshot::{Rotation, Snapshot},
    },
    error::{Error, Result},
    image::{Quota, Usage},
    policy::{Action, Caller},
};
use std::collections::BTreeMap;

/// What a new image of a server is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSnapshot {
    /// The image's name.
    pub name: String,
    /// The image's properties, beside those that it inherits.
    pub metadata: BTreeMap<String, String>,
    /// Set for a backup: earlier backups of its type go.
    pub rotation: Option<Rotation>,
}

/// The conditions in which Nova makes images of servers.
const FROM: &[Condition] = &[Condition::Active, Condition::Paused, Condition::Suspended, Condition::Stopped];

/// Begins an image of a server's root disk as it is at one moment. Returns the image's id; `None` for a backup of which
/// none is kept.
///
/// # Errors
/// The server's state does not permit it, or the project has as many images as it may have.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ServerId,
    new: NewSnapshot,
    quota: &Quota,
) -> Result<Option<ImageId>> {
    let (action, kind, verb) = match new.rotation {
        Some(_) => (Action::ServerBackup, OperationKind::CreateBackup, "createBackup"),
        None => (Action::ServerSnapshot, OperationKind::CreateImage, "createImage"),
    };
    let server = actable(txn, caller, id, action)?;
    need_condition(&server, verb, FROM)?;
    need_disk_back(txn, &server, verb)?;
    if server.host_id.is_none() || !txn.has_made_disks(id) {
        return Err(Error::conflict(format!(
            "Instance {id} has no disk on any host, so there is nothing to copy."
        )));
    }
    need_agent(txn, &server, verb)?;
    crate::quota::check_metadata(txn, server.project_id, new.metadata.len())?;
    if let Some(rotation) = new.rotation.as_ref().filter(|rotation| rotation.keep == 0) {
        operation::note(txn, &server, kind, caller);
        snapshot::rotate(txn, &server, rotation);
        return Ok(None);
    }
    image::check_quota("image_count_total", quota.count, || Usage::of(txn, server.project_id).count)?;
    let upload = format!("upload-{}", ImageId::from_random(txn.random()));
    let image_id = image::put_of_server(
        txn,
        &server,
        &upload,
        new.name,
        properties(caller, &new.rotation, new.metadata),
    );
    let task = operation::begin(txn, &server, kind, Some(caller));
    txn.update::<Server>(&id, |s| {
        s.snapshot = Some(Box::new(Snapshot { image_id, upload, rotation: new.rotation }));
        s.task = Some(task);
    });
    Ok(Some(image_id))
}

/// The properties that Nova gives such an image, and over them those of the request.
fn properties(
    caller: &Caller,
    rotation: &Option<Rotation>,
    metadata: BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let image_type = if rotation.is_some() { "backup" } else { "snapshot" };
    let mut all = BTreeMap::from([
        ("image_type".to_owned(), image_type.to_owned()),
        ("user_id".to_owned(), caller.user_id.to_string()),
    ]);
    if let Some(rotation) = rotation {
        all.insert("backup_type".to_owned(), rotation.backup_type.clone());
    }
    all.extend(metadata);
    all
}
