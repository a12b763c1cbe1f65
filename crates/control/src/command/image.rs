//! Images: their creation, upload, change and removal. The API layer stores the bytes; a commit here makes them
//! valid.

use crate::lifecycle::{image, snapshot};
use lenticular_model::{
    ImageId, ProjectId, State, Txn,
    error::{Error, Result},
    image::{Image, Phase, Quota, Usage, Visibility},
    policy::{self, Action, Caller},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The settings of a new image.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its id; random if `None`.
    pub id: Option<ImageId>,
    /// Its name.
    pub name: Option<String>,
    /// Its project, if not the caller's.
    pub owner: Option<ProjectId>,
    /// The projects that see it.
    pub visibility: Visibility,
    /// The format of its bytes.
    pub disk_format: Option<String>,
    /// The container format.
    pub container_format: Option<String>,
    /// GiB of disk a flavor must have.
    pub min_disk: u32,
    /// MiB of memory a flavor must have.
    pub min_ram: u32,
    /// True forbids deletion.
    pub protected: bool,
    /// True leaves it out of listings.
    pub hidden: bool,
    /// Labels.
    pub tags: BTreeSet<String>,
    /// Properties that its creator chose.
    pub properties: BTreeMap<String, String>,
}

/// The error: an image had this id before. An id is never reused, because its users would take the new image for
/// the old.
pub fn exists(id: ImageId) -> Error {
    Error::conflict(format!("Image ID {id} already exists!"))
}

/// The image, if the caller may change it.
pub fn changeable(state: &State, caller: &Caller, id: ImageId) -> Result<Arc<Image>> {
    let image = state.visible::<Image>(caller, &id)?;
    if image.owner.is_none() && !caller.is_admin() {
        return Err(Error::forbidden("You are not permitted to change an image without an owner."));
    }
    policy::check(caller, Action::ImageWrite, image.owner)
        .map_err(|_| Error::forbidden("You are not permitted to modify this image."))?;
    Ok(image)
}

/// Creates an image without bytes.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewImage, quota: &Quota) -> Result<ImageId> {
    let project = match new.owner {
        Some(owner) => owner,
        None => caller.need_project()?,
    };
    policy::check(caller, Action::ImageWrite, Some(project))?;
    if new.visibility == Visibility::Public {
        policy::check(caller, Action::ImagePublicize, None)?;
    }
    image::check_quota("image_count_total", quota.count, || Usage::of(txn, project).count)?;
    let id = new.id.unwrap_or_else(|| ImageId::from_random(txn.random()));
    if txn.images.contains_key(&id) {
        return Err(exists(id));
    }
    txn.put(Image {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        name: new.name,
        owner: Some(project),
        visibility: new.visibility,
        phase: Phase::Queued,
        disk_format: new.disk_format,
        container_format: new.container_format,
        min_disk: new.min_disk,
        min_ram: new.min_ram,
        protected: new.protected,
        hidden: new.hidden,
        tags: new.tags,
        properties: new.properties,
        unknown: Default::default(),
    });
    Ok(id)
}

/// Begins an upload with its own upload id.
pub fn begin_upload(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ImageId,
    upload: String,
    quota: &Quota,
) -> Result<Arc<Image>> {
    let image = changeable(txn, caller, id)?;
    if image.disk_format.is_none() || image.container_format.is_none() {
        return Err(Error::invalid(
            "Properties disk_format, container_format must be set prior to saving data.",
        ));
    }
    if image.phase != Phase::Queued {
        return Err(Error::conflict(format!(
            "Image status transition from {} to saving is not allowed",
            image.status()
        )));
    }
    if let Some(project) = image.owner {
        image::check_quota("image_count_uploading", quota.uploading, || Usage::of(txn, project).uploading)?;
    }
    image::room(txn, &image, quota)?;
    txn.update::<Image>(&id, |i| i.phase = Phase::Saving { upload });
    Ok(image)
}

/// Changes an image: `edit` changes the present values in place.
pub fn edit(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ImageId,
    edit: impl FnOnce(&mut Image) -> Result<()>,
) -> Result<()> {
    let old = changeable(txn, caller, id)?;
    if let Some(server) = txn.server_shelved_in(id) {
        return Err(Error::conflict(format!(
            "Image {id} holds the disk of the shelved server {server}, and stays as it is until that server is back."
        )));
    }
    let mut image = Image::clone(&old);
    edit(&mut image)?;
    if image.visibility == Visibility::Public && old.visibility != Visibility::Public {
        policy::check(caller, Action::ImagePublicize, None)?;
    }
    if old.phase != Phase::Queued
        && (image.disk_format != old.disk_format || image.container_format != old.container_format)
    {
        return Err(Error::forbidden(
            "Attribute disk_format or container_format can be changed only before the upload.",
        ));
    }
    image.updated_at = Some(txn.now);
    txn.put(image);
    Ok(())
}

/// Deactivates or reactivates an image. As in Glance, its owner may do so too.
pub fn set_active(txn: &mut Txn<'_>, caller: &Caller, id: ImageId, active: bool) -> Result<()> {
    let image = txn.visible::<Image>(caller, &id)?;
    if image.owner.is_none() && !caller.is_admin() {
        return Err(Error::forbidden("You are not permitted to change an image without an owner."));
    }
    policy::check(caller, Action::ImageDeactivate, image.owner)?;
    let Some(data) = image.data().cloned() else {
        let why = format!(
            "Not allowed to {} image in status '{}'",
            if active { "reactivate" } else { "deactivate" },
            image.status()
        );
        return Err(Error::forbidden(why));
    };
    let phase = if active { Phase::Active { data } } else { Phase::Deactivated { data } };
    if image.phase != phase {
        txn.update::<Image>(&id, |i| i.phase = phase);
    }
    Ok(())
}

/// Removes an image. Servers made from it run on; hosts keep their copy of its bytes while a server needs it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ImageId) -> Result<Arc<Image>> {
    let image = changeable(txn, caller, id)?;
    if image.protected {
        return Err(Error::forbidden(format!("Image {id} is protected and cannot be deleted.")));
    }
    if let Some(server) = txn.server_shelved_in(id) {
        return Err(Error::conflict(format!(
            "Image {id} holds the disk of the shelved server {server}. Unshelve or delete that server first."
        )));
    }
    image::remove(txn, &image);
    snapshot::on_image_deleted(txn, &image);
    Ok(image)
}
