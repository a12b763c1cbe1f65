//! Glance's bodies.

use lenticular_model::{
    error::{Error, Result},
    image::{Image, ImageMember, MemberStatus, Visibility},
};
use serde_json::{Map, Value, json};

/// The version documents' entries, newest first.
pub fn versions(url: &str) -> Value {
    let entry = |id: &str, status: &str| json!({"id": id, "status": status, "links": [{"rel": "self", "href": format!("{url}/image/v2/")}]});
    json!({"versions": [
        entry("v2.9", "CURRENT"), entry("v2.7", "SUPPORTED"), entry("v2.6", "SUPPORTED"), entry("v2.5", "SUPPORTED"),
        entry("v2.4", "SUPPORTED"), entry("v2.3", "SUPPORTED"), entry("v2.2", "SUPPORTED"), entry("v2.1", "SUPPORTED"),
        entry("v2.0", "SUPPORTED"),
    ]})
}

/// Glance's word for a visibility.
pub fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Public => "public",
        Visibility::Community => "community",
        Visibility::Shared => "shared",
        Visibility::Private => "private",
    }
}

/// Reads Glance's word for a visibility.
pub fn visibility_of(word: &str) -> Option<Visibility> {
    match word {
        "public" => Some(Visibility::Public),
        "community" => Some(Visibility::Community),
        "shared" => Some(Visibility::Shared),
        "private" => Some(Visibility::Private),
        _ => None,
    }
}

/// The built-in fields of an image; every other field is a property.
pub const FIELDS: &[&str] = &[
    "id",
    "name",
    "visibility",
    "status",
    "protected",
    "os_hidden",
    "owner",
    "container_format",
    "disk_format",
    "min_disk",
    "min_ram",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
    "created_at",
    "updated_at",
    "tags",
    "self",
    "file",
    "schema",
    "direct_url",
    "locations",
    "stores",
];

/// Fields that a client may not set.
pub const READ_ONLY: &[&str] = &[
    "id",
    "status",
    "checksum",
    "os_hash_algo",
    "os_hash_value",
    "size",
    "virtual_size",
    "created_at",
    "updated_at",
    "self",
    "file",
    "schema",
    "direct_url",
    "stores",
];

/// Names that no property may have: Glance reserves them.
const RESERVED: &[&str] = &["owner", "location", "locations", "members", "deleted", "deleted_at"];

/// The prefix of names that Glance reserves.
const RESERVED_PREFIX: &str = "os_glance";

/// Refuses an attribute's name that a client may not use: read-only, reserved or invalid.
pub fn check_attribute(name: &str) -> Result<()> {
    if READ_ONLY.contains(&name) {
        return Err(Error::forbidden(format!("Attribute '{name}' is read-only.")));
    }
    if RESERVED.contains(&name) || name.starts_with(RESERVED_PREFIX) {
        return Err(Error::forbidden(format!("Attribute '{name}' is reserved.")));
    }
    if !(1..=255).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "Invalid name {name:?} of an image property: it must have 1 to 255 printable characters."
        )));
    }
    Ok(())
}

/// An image.
pub fn image(image: &Image) -> Value {
    let data = image.data();
    let mut view: Map<String, Value> =
        image.properties.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    let fields = json!({
        "id": image.id,
        "name": image.name,
        "visibility": visibility(image.visibility),
        "status": image.status(),
        "protected": image.protected,
        "os_hidden": image.hidden,
        "owner": image.owner,
        "container_format": image.container_format,
        "disk_format": image.disk_format,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "checksum": data.map(|d| &d.checksum),
        "os_hash_algo": data.map(|_| "sha512"),
        "os_hash_value": data.map(|d| &d.sha512),
        "size": data.map(|d| d.size),
        "virtual_size": data.and_then(|d| d.virtual_size),
        "created_at": image.created_at.iso(),
        "updated_at": image.updated_at.unwrap_or(image.created_at).iso(),
        "tags": image.tags,
        "self": format!("/v2/images/{}", image.id),
        "file": format!("/v2/images/{}/file", image.id),
        "schema": "/v2/schemas/image",
    });
    if let Value::Object(fields) = fields {
        view.extend(fields);
    }
    Value::Object(view)
}

/// Glance's word for what a member says to an image.
pub fn member_status(status: MemberStatus) -> &'static str {
    match status {
        MemberStatus::Pending => "pending",
        MemberStatus::Accepted => "accepted",
        MemberStatus::Rejected => "rejected",
    }
}

/// Reads Glance's word for what a member says to an image.
pub fn member_status_of(word: &str) -> Option<MemberStatus> {
    [MemberStatus::Pending, MemberStatus::Accepted, MemberStatus::Rejected]
        .into_iter()
        .find(|status| member_status(*status) == word)
}

/// A member of an image.
pub fn member(member: &ImageMember) -> Value {
    json!({
        "image_id": member.image_id,
        "member_id": member.project_id,
        "status": member_status(member.status),
        "created_at": member.created_at.iso(),
        "updated_at": member.updated_at.unwrap_or(member.created_at).iso(),
        "schema": "/v2/schemas/member",
    })
}

/// The JSON schema of a member of an image.
pub fn member_schema() -> Value {
    let text = |about: &str| json!({"type": "string", "description": about});
    json!({
        "name": "member",
        "properties": {
            "image_id": text("The image"),
            "member_id": text("The project that the image is shared with"),
            "status": {"type": "string", "description": "What the project says to the image",
                       "enum": ["pending", "accepted", "rejected"]},
            "created_at": text("When the image was shared"),
            "updated_at": text("When the status last changed"),
            "schema": {"type": "string", "readOnly": true},
        },
    })
}

/// The JSON schema of a listing of members.
pub fn member_schema_of_list() -> Value {
    json!({
        "name": "members",
        "properties": {"members": {"type": "array", "items": member_schema()}, "schema": {"type": "string"}},
        "links": [{"rel": "describedby", "href": "{schema}"}],
    })
}

/// The JSON schema of an image.
pub fn schema() -> Value {
    let text = json!({"type": ["null", "string"]});
    let number = json!({"type": ["null", "integer"]});
    let flag = json!({"type": "boolean"});
    let properties: Map<String, Value> = FIELDS
        .iter()
        .map(|name| {
            let mut of = match *name {
                "protected" | "os_hidden" => flag.clone(),
                "min_disk" | "min_ram" | "size" | "virtual_size" => number.clone(),
                "tags" | "locations" => json!({"type": "array"}),
                _ => text.clone(),
            };
            if READ_ONLY.contains(name) {
                of["readOnly"] = json!(true);
            }
            ((*name).to_owned(), of)
        })
        .collect();
    json!({
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            {"rel": "self", "href": "{self}"},
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    })
}

/// The JSON schema of a listing of images.
pub fn schema_of_list() -> Value {
    json!({
        "name": "images",
        "properties": {
            "images": {"type": "array", "items": schema()},
            "first": {"type": "string"},
            "next": {"type": "string"},
            "schema": {"type": "string"},
        },
        "links": [{"rel": "first", "href": "{first}"}, {"rel": "next", "href": "{next}"},
                  {"rel": "describedby", "href": "{schema}"}],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::error::Kind;

    #[test]
    fn names_that_are_taken_or_none_are_refused() {
        let kind = |name: &str| check_attribute(name).map_err(|error| error.kind);
        for free in ["name", "tags", "hw_disk_bus", "os_distro", "a b", "é"] {
            assert_eq!(kind(free), Ok(()), "{free}");
        }
        for taken in
            ["id", "status", "size", "direct_url", "owner", "locations", "members", "os_glance_import"]
        {
            assert_eq!(kind(taken), Err(Kind::Forbidden), "{taken}");
        }
        for none in ["", "\0", "a\nb", &"x".repeat(256)] {
            assert_eq!(kind(none), Err(Kind::Invalid), "{none:?}");
        }
    }
}
