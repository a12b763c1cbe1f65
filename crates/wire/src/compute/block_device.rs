//! The disks in a request to create servers, and the tags of devices.

use crate::{compute::tag::check_tag, microversion::Microversion, request};
use lenticular_model::error::{Error, Result};
use serde_json::{Map, Value};

/// The fields of a disk.
const DISK_KEYS: &[&str] = &[
    "source_type",
    "destination_type",
    "uuid",
    "image_id",
    "volume_id",
    "snapshot_id",
    "volume_size",
    "boot_index",
    "delete_on_termination",
    "device_name",
    "device_type",
    "disk_bus",
    "guest_format",
    "no_device",
    "virtual_name",
    "connection_info",
];

/// Refuses unknown fields of a disk.
pub(super) fn check_disk_keys(disk: &Map<String, Value>, version: Microversion) -> Result<()> {
    check_device_tag(disk, version.0 == 32 || version.has(42))?;
    let later = |key: &str| key == "tag" || (key == "volume_type" && version.has(67));
    let known = |key: &str| DISK_KEYS.contains(&key) || later(key);
    disk.keys().find(|key| !known(key)).map_or(Ok(()), |key| Err(request::unexpected(key)))
}

/// Refuses a device's tag that is none, or that the version does not have.
pub(super) fn check_device_tag(device: &Map<String, Value>, is_known: bool) -> Result<()> {
    match device.get("tag") {
        None => Ok(()),
        Some(Value::String(tag)) if is_known => check_tag(tag),
        Some(_) if !is_known => Err(request::unexpected("tag")),
        Some(other) => Err(Error::invalid(format!("Invalid input for field/attribute tag. Value: {other}."))),
    }
}

/// The tag of a device.
pub(super) fn device_tag(device: &Map<String, Value>) -> Option<String> {
    device.get("tag").and_then(Value::as_str).map(str::to_owned)
}

/// Refuses every disk but the image's on the host; the error names the kind of disk.
pub(super) fn check_disk(disk: &Map<String, Value>) -> Result<()> {
    let text = |key: &str| disk.get(key).and_then(Value::as_str);
    let why = match (text("source_type"), text("destination_type"), text("guest_format")) {
        (Some("blank"), None | Some("local"), Some("swap")) => {
            "Swap disks are not supported by this cloud: leave out --swap, or the disk with guest_format swap."
        }
        (Some("blank"), None | Some("local"), _) => {
            "Ephemeral disks are not supported by this cloud: leave out --ephemeral, or the disk with source_type \
             blank."
        }
        (None | Some("image"), None | Some("local"), _) => return Ok(()),
        _ => {
            "Volumes are not supported by this cloud: a disk's source_type must be image, its destination_type local."
        }
    };
    Err(Error::invalid(why))
}
