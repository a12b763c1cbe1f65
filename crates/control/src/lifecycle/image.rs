//! The phases of an image during its upload, and its end.
//!
//! ```text
//!            upload begins            bytes are durable
//!   Queued ────────────────▶ Saving ───────────────────▶ Active ⇄ Deactivated
//!      ▲                        │
//!      └────────────────────────┘ given up
//! ```

use lenticular_model::{
    ImageId, Kind, Scoped, State, Txn,
    compute::server::Server,
    error::{Error, Result},
    image::{Data, Image, ImageMember, Phase, Quota, Usage, Visibility},
};
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;

fn over_quota(name: &str, limit: u64, usage: u64, asked: u64) -> Error {
    Error::too_large(format!(
        "Project is over a limit for {name}: the limit is {limit}, {usage} are used and {asked} more were asked for. \
         Delete images, or ask an administrator for a higher limit."
    ))
}

/// Refuses one more if it would exceed a limit of the project.
pub fn check_quota(name: &str, limit: Option<u64>, usage: impl FnOnce() -> u64) -> Result<()> {
    let Some(limit) = limit else { return Ok(()) };
    match usage() {
        usage if usage >= limit => Err(over_quota(name, limit, usage, 1)),
        _ => Ok(()),
    }
}

/// The most bytes that an upload of the image may have; `None` is no limit.
///
/// # Errors
/// The project has used up its limit.
pub fn room(state: &State, image: &Image, quota: &Quota) -> Result<Option<u64>> {
    let (Some(limit), Some(project)) = (quota.size_mib, image.owner) else { return Ok(None) };
    let used = Usage::of(state, project).size;
    match limit.saturating_mul(MIB).saturating_sub(used) {
        0 => Err(over_quota("image_size_total", limit, used / MIB, 1)),
        left => Ok(Some(left)),
    }
}

/// Begins a host's sending of bytes for an image. A later sending overtakes the earlier ones. False if the image does not
/// wait for bytes.
pub fn begin_sending(txn: &mut Txn<'_>, id: ImageId, sending: &str) -> bool {
    let waits = |image: &Image| matches!(image.phase, Phase::Saving { .. } | Phase::Queued);
    let does_wait = txn.images.get(&id).is_some_and(|image| waits(image));
    if does_wait {
        txn.update::<Image>(&id, |image| image.phase = Phase::Saving { upload: sending.to_owned() });
    }
    does_wait
}

/// Commits an upload: the image is active.
///
/// # Errors
/// The image was deleted or the upload given up in the meantime, or other uploads have used up the project's limit.
pub fn commit_upload(txn: &mut Txn<'_>, id: ImageId, upload: &str, data: Data, quota: &Quota) -> Result<()> {
    need_upload(txn, id, upload)?;
    let image = txn.need::<Image>(&id, || Image::missing(id))?;
    if let (Some(left), Some(limit)) = (room(txn, &image, quota)?, quota.size_mib)
        && data.size > left
    {
        let used = limit - left.div_ceil(MIB);
        return Err(over_quota("image_size_total", limit, used, data.size.div_ceil(MIB)));
    }
    txn.update::<Image>(&id, |i| i.phase = Phase::Active { data });
    Ok(())
}

/// Gives an upload up: the image waits for another upload.
pub fn abort_upload(txn: &mut Txn<'_>, id: ImageId, upload: &str) -> Result<()> {
    need_upload(txn, id, upload)?;
    txn.update::<Image>(&id, |i| i.phase = Phase::Queued);
    Ok(())
}

fn need_upload(txn: &Txn<'_>, id: ImageId, upload: &str) -> Result<()> {
    let image = txn.need::<Image>(&id, || Image::missing(id))?;
    match &image.phase {
        Phase::Saving { upload: current } if current == upload => Ok(()),
        _ => Err(Error::conflict(format!("Image {id} is {}; this upload no longer counts.", image.status()))),
    }
}

/// Gives up all uploads: after a start no upload is under way.
pub fn abort_all_uploads(txn: &mut Txn<'_>) {
    let saving: Vec<ImageId> =
        txn.images.values().filter(|i| matches!(i.phase, Phase::Saving { .. })).map(|i| i.id).collect();
    for id in saving {
        txn.update::<Image>(&id, |i| i.phase = Phase::Queued);
    }
}

/// Properties of an image that are about its own bytes: images of its servers do not inherit them.
const NOT_INHERITED: &[&str] = &[
    "img_signature",
    "img_signature_hash_method",
    "img_signature_key_type",
    "img_signature_certificate_uuid",
    "os_hash_algo",
    "os_hash_value",
    "backup_type",
];

/// Puts the image that a server's root disk becomes, with the properties of the server's image and these.
pub fn put_of_server(
    txn: &mut Txn<'_>,
    server: &Server,
    upload: &str,
    name: String,
    more: BTreeMap<String, String>,
) -> ImageId {
    let id = ImageId::from_random(txn.random());
    let original = txn.images.get(&server.image_id);
    // The guest's requirements for a host hold for its image as well.
    let mut properties: BTreeMap<String, String> =
        original.map(|image| image.properties.clone()).unwrap_or_default();
    properties.retain(|name, _| !NOT_INHERITED.contains(&name.as_str()));
    properties.extend(more);
    let of_server =
        [("instance_uuid", server.id.to_string()), ("base_image_ref", server.image_id.to_string())];
    properties.extend(of_server.map(|(name, value)| (name.to_owned(), value)));
    let (min_disk, min_ram) = original.map_or((0, 0), |image| (image.min_disk, image.min_ram));
    txn.put(Image {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        name: Some(name),
        owner: Some(server.project_id),
        visibility: Visibility::Private,
        phase: Phase::Saving { upload: upload.to_owned() },
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: server.size.disk_gb.max(min_disk),
        min_ram,
        protected: false,
        hidden: false,
        tags: Default::default(),
        properties,
        unknown: Default::default(),
    });
    id
}

/// Removes an image's record with its members, and keeps its id from reuse.
pub fn remove(txn: &mut Txn<'_>, image: &Image) {
    let members: Vec<_> = txn.members_of_image(image.id).map(|member| member.id.clone()).collect();
    for member in members {
        txn.delete::<ImageMember>(&member);
    }
    txn.delete::<Image>(&image.id);
    txn.put_cold(Kind::PastImage, image.id.to_string(), Image { updated_at: Some(txn.now), ..image.clone() });
}
