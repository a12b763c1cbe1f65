//! Image members: the projects that an image is shared with.

use lenticular_model::{
    ImageId, ImageMemberId, ProjectId, State, Txn,
    error::{Error, Result},
    image::{Image, ImageMember, MemberStatus, Visibility},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// The most members of an image: Glance's `image_member_quota`.
const MEMBERS_MAX: usize = 128;

/// The image, if the caller sees it and if it can have members.
fn shared(state: &State, caller: &Caller, action: Action, id: ImageId) -> Result<Arc<Image>> {
    let image = state.visible::<Image>(caller, &id)?;
    policy::check(caller, action, None)?;
    if image.visibility != Visibility::Shared {
        return Err(Error::forbidden(format!(
            "Only shared images have members. Set the visibility of image {id} to shared first."
        )));
    }
    Ok(image)
}

fn owns(caller: &Caller, image: &Image) -> bool {
    caller.is_admin() || (image.owner.is_some() && image.owner == caller.project_id())
}

fn missing(id: ImageId, member: ProjectId) -> Error {
    Error::not_found_text(format!("{member} not found in the member list of the image {id}."))
}

/// The members of an image that the caller sees: all for its owner, and itself for a member.
///
/// # Errors
/// The caller does not see the image, or the image cannot have members.
pub fn list(state: &State, caller: &Caller, id: ImageId) -> Result<Vec<Arc<ImageMember>>> {
    let image = shared(state, caller, Action::ImageMemberRead, id)?;
    let all = owns(caller, &image);
    let seen = state.members_of_image(id).filter(|m| all || Some(m.project_id) == caller.project_id());
    Ok(seen.cloned().collect())
}

/// A member of an image, if the caller sees it.
///
/// # Errors
/// As for [`list`]; or there is no such member for the caller.
pub fn show(state: &State, caller: &Caller, id: ImageId, member: ProjectId) -> Result<Arc<ImageMember>> {
    let found = list(state, caller, id)?.into_iter().find(|found| found.project_id == member);
    found.ok_or_else(|| missing(id, member))
}

/// Shares an image with a project. The project decides whether it lists the image.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ImageId,
    member: ProjectId,
) -> Result<Arc<ImageMember>> {
    let image = shared(txn, caller, Action::ImageMemberWrite, id)?;
    if !owns(caller, &image) {
        return Err(Error::forbidden(format!("Not allowed to create members for image {id}.")));
    }
    let key = ImageMemberId::of(id, member);
    if txn.image_members.contains_key(&key) {
        return Err(Error::conflict(format!("Member {member} is duplicated for image {id}")));
    }
    if txn.members_of_image(id).count() >= MEMBERS_MAX {
        return Err(Error::too_large(format!(
            "The image {id} has {MEMBERS_MAX} members, the most there can be."
        )));
    }
    txn.put(ImageMember {
        id: key.clone(),
        created_at: txn.now,
        updated_at: Some(txn.now),
        image_id: id,
        project_id: member,
        status: MemberStatus::Pending,
        unknown: Default::default(),
    });
    txn.need::<ImageMember>(&key, || missing(id, member))
}

/// Sets what a member says to an image. Only the member itself says so, or an administrator: an owner who could
/// accept would put images into others' lists.
pub fn set_status(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: ImageId,
    member: ProjectId,
    status: MemberStatus,
) -> Result<Arc<ImageMember>> {
    shared(txn, caller, Action::ImageMemberStatus, id)?;
    let found = show(txn, caller, id, member)?;
    if !caller.is_admin() && caller.project_id() != Some(member) {
        return Err(Error::forbidden(format!("Not allowed to update members for image {id}.")));
    }
    txn.update::<ImageMember>(&found.id, |found| found.status = status);
    txn.need::<ImageMember>(&found.id, || missing(id, member))
}

/// Ends that an image is shared with a project.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: ImageId, member: ProjectId) -> Result<()> {
    let image = shared(txn, caller, Action::ImageMemberWrite, id)?;
    let found = show(txn, caller, id, member)?;
    if !owns(caller, &image) {
        return Err(Error::forbidden(format!("Not allowed to delete members for image {id}.")));
    }
    txn.delete::<ImageMember>(&found.id);
    Ok(())
}
