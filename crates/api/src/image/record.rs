//! Image records: create, show, change, delete.

use super::image_id;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::{
    extract::Path,
    http::{HeaderMap, HeaderValue, header},
};
use lenticular_control::command::image::{self, NewImage};
use lenticular_model::{
    Kind,
    error::{Error, Result},
    image::{Image, Visibility},
};
use lenticular_wire::image::{self as wire, FIELDS, visibility_of};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

const DISK_FORMATS: &[&str] =
    &["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "ploop", "iso"];
const CONTAINER_FORMATS: &[&str] = &["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"];

fn bad(field: &str, value: &Value) -> Error {
    Error::invalid(format!("Invalid value '{value}' for image attribute '{field}'."))
}

/// Sets one attribute of an image, built-in or custom. Null removes an attribute that may be absent.
fn set(image: &mut Image, name: &str, value: &Value) -> Result<()> {
    wire::check_attribute(name)?;
    let text = || match value {
        Value::Null => Ok(None),
        Value::String(s) if s.chars().count() <= 255 => Ok(Some(s.clone())),
        _ => Err(bad(name, value)),
    };
    let number = || value.as_u64().and_then(|n| u32::try_from(n).ok()).filter(|n| *n <= i32::MAX as u32);
    let one_of = |list: &[&str]| match text()? {
        Some(s) if !list.contains(&s.as_str()) => Err(bad(name, value)),
        other => Ok(other),
    };
    match name {
        "name" => image.name = text()?,
        "visibility" => {
            let word = value.as_str().and_then(visibility_of);
            image.visibility = word.ok_or_else(|| bad(name, value))?;
        }
        "disk_format" => image.disk_format = one_of(DISK_FORMATS)?,
        "container_format" => image.container_format = one_of(CONTAINER_FORMATS)?,
        "min_disk" => image.min_disk = number().ok_or_else(|| bad(name, value))?,
        "min_ram" => image.min_ram = number().ok_or_else(|| bad(name, value))?,
        "protected" => image.protected = value.as_bool().ok_or_else(|| bad(name, value))?,
        "os_hidden" => image.hidden = value.as_bool().ok_or_else(|| bad(name, value))?,
        "tags" => image.tags = read_tags(value)?,
        _ => {
            let text = match value {
                Value::String(s) if s.len() <= 65_535 => s.clone(),
                _ => return Err(bad(name, value)),
            };
            image.properties.insert(name.to_owned(), text);
        }
    }
    check_limits(image)
}

fn check_limits(image: &Image) -> Result<()> {
    if image.properties.len() > 128 || image.tags.len() > 128 {
        return Err(Error::too_large("An image can have at most 128 properties and 128 tags."));
    }
    Ok(())
}

fn read_tags(value: &Value) -> Result<BTreeSet<String>> {
    let tags: BTreeSet<String> = serde_json::from_value(value.clone()).map_err(|_| bad("tags", value))?;
    match tags.iter().all(|t| !t.is_empty() && t.chars().count() <= 255) {
        true => Ok(tags),
        false => Err(bad("tags", value)),
    }
}

/// Reads a new image from the attributes of a request.
fn read_new(fields: Map<String, Value>) -> Result<NewImage> {
    let mut blank = Image {
        id: lenticular_model::ImageId(Default::default()),
        created_at: Default::default(),
        updated_at: None,
        name: None,
        owner: None,
        visibility: Visibility::Shared,
        phase: lenticular_model::image::Phase::Queued,
        disk_format: None,
        container_format: None,
        min_disk: 0,
        min_ram: 0,
        protected: false,
        hidden: false,
        tags: BTreeSet::new(),
        properties: BTreeMap::new(),
        unknown: Default::default(),
    };
    let (mut id, mut owner) = (None, None);
    for (name, value) in &fields {
        match name.as_str() {
            "id" => id = Some(value.as_str().and_then(|t| t.parse().ok()).ok_or_else(|| bad("id", value))?),
            "owner" => {
                owner = Some(value.as_str().and_then(|t| t.parse().ok()).ok_or_else(|| bad("owner", value))?)
            }
            name => set(&mut blank, name, value)?,
        }
    }
    Ok(NewImage {
        id,
        name: blank.name,
        owner,
        visibility: blank.visibility,
        disk_format: blank.disk_format,
        container_format: blank.container_format,
        min_disk: blank.min_disk,
        min_ram: blank.min_ram,
        protected: blank.protected,
        hidden: blank.hidden,
        tags: blank.tags,
        properties: blank.properties,
    })
}

/// `POST /v2/images`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let Value::Object(fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object.").into());
    };
    let new = read_new(fields)?;
    if new.owner.is_some_and(|o| Some(o) != ctx.caller.project_id()) && !ctx.caller.is_admin() {
        return Err(
            Error::forbidden("You are not permitted to create images owned by another project.").into()
        );
    }
    if let Some(id) = new.id {
        // A drawn id is always new. An id that a client chose may have been another image's.
        let text = id.to_string();
        let past = ctx.app.store.get(Kind::PastImage, &text).await?.is_some();
        if past || !ctx.app.store.history(Kind::Image, &text).await?.is_empty() {
            return Err(image::exists(id).into());
        }
    }
    let quota = ctx.app.config.settings.images.quota();
    let image = ctx
        .commit("image create", move |txn, caller| {
            let id = image::create(txn, caller, new, &quota)?;
            txn.visible::<Image>(caller, &id)
        })
        .await?;
    let mut response = json(201, &wire::image(&image))?;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&format!("{}/image/v2/images/{}", ctx.url(), image.id)) {
        headers.insert(header::LOCATION, value);
    }
    headers.insert("openstack-image-import-methods", HeaderValue::from_static(""));
    Ok(response)
}

/// `GET /v2/images/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    json(200, &wire::image(&*ctx.state.visible::<Image>(&ctx.caller, &image_id(&id)?)?))
}

/// `GET /v2/images/{id}/tasks`: none, because only an import makes tasks, and images can only be uploaded.
pub async fn tasks(ctx: Ctx, Path(id): Path<String>) -> Handled {
    ctx.state.visible::<Image>(&ctx.caller, &image_id(&id)?)?;
    json(200, &json!({ "tasks": [] }))
}

/// `PATCH /v2/images/{id}` (RFC 6902 over the image's attributes, one level deep; or the draft of it that version
/// 2.0 has)
pub async fn update(ctx: Ctx, Path(id): Path<String>, headers: HeaderMap, Json(body): Json) -> Handled {
    let id = image_id(&id)?;
    let Value::Array(changes) = body else {
        return Err(Error::invalid("Request body must be a JSON array of operation objects.").into());
    };
    let kind = crate::ctx::header(&headers, "content-type").unwrap_or_default();
    let read = if kind.starts_with(crate::body::OLD_PATCH) { read_old_change } else { read_change };
    let changes: Vec<Change> = changes.iter().map(read).collect::<Result<_>>()?;
    let image = ctx
        .commit("image update", move |txn, caller| {
            let may_give = caller.is_admin();
            image::edit(txn, caller, id, |image| {
                changes.iter().try_for_each(|change| apply(image, change, may_give))
            })?;
            // An administrator sees the image still, whoever has it now.
            txn.visible::<Image>(caller, &id)
        })
        .await?;
    json(200, &wire::image(&image))
}

/// A change of one attribute: the operation, the attribute's name and its value.
type Change = (&'static str, String, Value);

const OPERATIONS: [&str; 3] = ["add", "replace", "remove"];

fn read_change(change: &Value) -> Result<Change> {
    let op = change.get("op").and_then(Value::as_str);
    let path = change.get("path").and_then(Value::as_str);
    let (Some(op), Some(path)) = (op, path) else {
        return Err(Error::invalid(
            "Operation objects must contain op and path, and the path must begin with '/'.",
        ));
    };
    let known = OPERATIONS.into_iter().find(|known| *known == op).ok_or_else(|| {
        Error::invalid(format!("Unable to process operation \"{op}\": it must be add, replace or remove."))
    })?;
    to_change(known, path, change.get("value"))
}

/// The older format: the operation's name is the name of the member that has the path.
fn read_old_change(change: &Value) -> Result<Change> {
    let named = |op: &&str| change.get(op).and_then(Value::as_str).is_some();
    let mut ops = OPERATIONS.into_iter().filter(named);
    match (ops.next(), ops.next()) {
        (Some(op), None) => to_change(op, change[op].as_str().unwrap_or_default(), change.get("value")),
        _ => Err(Error::invalid(
            "Operation objects must contain exactly one member named \"add\", \"remove\", or \"replace\".",
        )),
    }
}

fn to_change(op: &'static str, path: &str, value: Option<&Value>) -> Result<Change> {
    let name = path.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/'));
    let name =
        name.ok_or_else(|| Error::invalid(format!("Invalid JSON pointer for this resource: '{path}'")))?;
    let name = name.replace("~1", "/").replace("~0", "~");
    match (op, value) {
        ("remove", _) => Ok((op, name, Value::Null)),
        (_, Some(value)) => Ok((op, name, value.clone())),
        (_, None) => Err(Error::invalid(format!("Operation \"{op}\" requires a member named \"value\"."))),
    }
}

/// Applies a change. `may_give` is true for a caller who may give the image to another project.
fn apply(image: &mut Image, (op, name, value): &Change, may_give: bool) -> Result<()> {
    if name == "owner" && *op != "remove" && may_give {
        let text = value.as_str().and_then(|text| text.parse().ok());
        image.owner = Some(text.ok_or_else(|| bad("owner", value))?);
        return Ok(());
    }
    // A property with a name that is reserved now can still be removed.
    if *op != "remove" {
        wire::check_attribute(name)?;
    }
    let own = FIELDS.contains(&name.as_str());
    match *op {
        "remove" if own => Err(Error::forbidden(format!("Property {name} may not be removed."))),
        "remove" => match image.properties.remove(name) {
            Some(_) => Ok(()),
            None => Err(Error::conflict(format!("Property {name} does not exist."))),
        },
        "replace" if !own && !image.properties.contains_key(name) => {
            Err(Error::conflict(format!("Property {name} does not exist.")))
        }
        _ => set(image, name, value),
    }
}

/// `DELETE /v2/images/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = image_id(&id)?;
    ctx.commit("image delete", move |txn, caller| image::delete(txn, caller, id)).await?;
    empty(204)
}

/// `PUT /v2/images/{id}/tags/{tag}`
pub async fn add_tag(ctx: Ctx, Path((id, tag)): Path<(String, String)>) -> Handled {
    let id = image_id(&id)?;
    read_tags(&json!([tag]))?;
    ctx.commit("image tag", move |txn, caller| {
        image::edit(txn, caller, id, |image| {
            image.tags.insert(tag);
            check_limits(image)
        })
    })
    .await?;
    empty(204)
}

/// `DELETE /v2/images/{id}/tags/{tag}`
pub async fn remove_tag(ctx: Ctx, Path((id, tag)): Path<(String, String)>) -> Handled {
    let id = image_id(&id)?;
    ctx.commit("image untag", move |txn, caller| {
        image::edit(txn, caller, id, |image| match image.tags.remove(&tag) {
            true => Ok(()),
            false => Err(Error::not_found_text(format!("Tag {tag} not found."))),
        })
    })
    .await?;
    empty(204)
}

/// `POST /v2/images/{id}/actions/deactivate`
pub async fn deactivate(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = image_id(&id)?;
    ctx.commit("image deactivate", move |txn, caller| image::set_active(txn, caller, id, false)).await?;
    empty(204)
}

/// `POST /v2/images/{id}/actions/reactivate`
pub async fn reactivate(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = image_id(&id)?;
    ctx.commit("image reactivate", move |txn, caller| image::set_active(txn, caller, id, true)).await?;
    empty(204)
}
