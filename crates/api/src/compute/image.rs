//! Images under Nova's old paths (`/images`, until 2.35; their metadata until 2.38).

use super::retired;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::{command::image, quota};
use lenticular_model::{
    ImageId, Timestamp,
    error::{Error, Result},
    image::{Image, ImageMember, MemberStatus, Visibility},
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{image as wire, query::IMAGES, server_create::check_metadata},
    request::{read_value, sole_value},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

type Metadata = BTreeMap<String, String>;

fn find(ctx: &Ctx, text: &str) -> Result<Arc<Image>> {
    let missing = || Error::not_found_text("Image not found.");
    let id: ImageId = text.parse().map_err(|_| missing())?;
    ctx.state.visible::<Image>(&ctx.caller, &id).map_err(|_| missing())
}

/// `GET /images`
pub async fn list(ctx: Ctx) -> Handled {
    listing(ctx, "images", wire::brief)
}

/// `GET /images/detail`
pub async fn detail(ctx: Ctx) -> Handled {
    listing(ctx, "images/detail", wire::full)
}

fn listing(ctx: Ctx, path: &str, view: fn(&Image, &str) -> Value) -> Handled {
    retired(&ctx, 36)?;
    let properties = properties(&ctx);
    let ctx = ctx.asking(&IMAGES)?;
    policy::check(&ctx.caller, Action::ImageRead, None)?;
    let since = match ctx.query.get("changes-since") {
        Some(text) => Timestamp::parse(text),
        None => None,
    };
    let listed = |image: &&Arc<Image>| {
        let own = image.owner.is_some() && image.owner == ctx.caller.project_id();
        let project = ctx.caller.project_id();
        // A project lists the images of others that it has accepted.
        let accepted = |member: &ImageMember| own || member.status == MemberStatus::Accepted;
        (ctx.caller.is_admin() || image.is_open_to(&ctx.state, project))
            && (ctx.caller.is_admin() || image.membership(&ctx.state, project).is_none_or(accepted))
            && (image.visibility != Visibility::Community || own)
            && !image.hidden
            && since.is_none_or(|since| image.updated_at.unwrap_or(image.created_at) >= since)
            && fits(&ctx, image)
            && properties.iter().all(|(name, value)| image.properties.get(name) == Some(value))
    };
    let found: Vec<Arc<Image>> = ctx.state.images_newest_first().filter(listed).cloned().collect();
    let (found, more) = page::cut(found, &ctx.query, |image| image.id.to_string())?;
    let mut body = json!({"images": found.iter().map(|image| view(image, ctx.url())).collect::<Vec<_>>()});
    if let Some(last) = found.last().filter(|_| more) {
        let url = format!("{}/compute/v2.1/{path}", ctx.url());
        body["images_links"] =
            json!([{"rel": "next", "href": page::next(&url, &ctx.query, &last.id.to_string())}]);
    }
    json(200, &body)
}

/// The properties that the query asks for: `property-<name>=<value>`.
fn properties(ctx: &Ctx) -> Vec<(String, String)> {
    let named = ctx.query.0.iter().filter_map(|(name, value)| Some((name.strip_prefix("property-")?, value)));
    named.map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

fn fits(ctx: &Ctx, image: &Image) -> bool {
    let is = |name: &str, fits: &dyn Fn(&str) -> bool| ctx.query.get(name).is_none_or(fits);
    // The server may be named by its URL.
    let server = |text: &str| text.rsplit('/').next().unwrap_or(text).to_owned();
    let server_of = wire::server_of(image).map(|id| id.to_string());
    is("name", &|text| image.name.as_deref() == Some(text))
        && is("status", &|text| wire::status(image).eq_ignore_ascii_case(text))
        && is("server", &|text| server_of.as_ref() == Some(&server(text)))
        && is("type", &|text| image.properties.get("image_type").is_some_and(|kind| kind == text))
        && is("minRam", &|text| text.parse() == Ok(image.min_ram))
        && is("minDisk", &|text| text.parse() == Ok(image.min_disk))
}

/// `GET /images/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    json(200, &json!({"image": wire::full(&*find(&ctx, &id)?, ctx.url())}))
}

/// `DELETE /images/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    let id = find(&ctx, &id)?.id;
    ctx.commit("image delete", move |txn, caller| image::delete(txn, caller, id)).await?;
    empty(204)
}

async fn edit(
    ctx: &Ctx,
    id: &str,
    change: impl FnOnce(&mut Metadata) -> Result<()> + Send + 'static,
) -> Result<Metadata> {
    retired(ctx, 39)?;
    let id = find(ctx, id)?.id;
    ctx.commit("image metadata", move |txn, caller| {
        let project = caller.need_project()?;
        let limit = quota::own_limit(txn, project, "metadata_items");
        image::edit(txn, caller, id, |image| {
            change(&mut image.properties)?;
            match limit >= 0 && image.properties.len() as i64 > limit {
                true => Err(Error::over_quota("Image metadata limit exceeded")),
                false => Ok(()),
            }
        })?;
        Ok(txn.visible::<Image>(caller, &id)?.properties.clone())
    })
    .await
}

fn read(body: Value, key: &str) -> Result<Metadata> {
    let map: Metadata = read_value(key, sole_value(body, key)?)?;
    map.iter().try_for_each(|(name, value)| {
        check_metadata(name, value)?;
        lenticular_wire::image::check_attribute(name)
    })?;
    Ok(map)
}

/// `GET /images/{id}/metadata`
pub async fn metadata(ctx: Ctx, Path(id): Path<String>) -> Handled {
    retired(&ctx, 39)?;
    json(200, &json!({"metadata": find(&ctx, &id)?.properties}))
}

/// `POST /images/{id}/metadata`
pub async fn merge(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let new = read(body, "metadata")?;
    let all = edit(&ctx, &id, move |map| {
        map.extend(new);
        Ok(())
    });
    json(200, &json!({"metadata": all.await?}))
}

/// `PUT /images/{id}/metadata`
pub async fn replace(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let new = read(body, "metadata")?;
    let all = edit(&ctx, &id, move |map| {
        *map = new;
        Ok(())
    });
    json(200, &json!({"metadata": all.await?}))
}

fn no_item() -> Error {
    Error::not_found_text("Metadata item was not found")
}

/// `GET /images/{id}/metadata/{key}`
pub async fn item(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    retired(&ctx, 39)?;
    let image = find(&ctx, &id)?;
    let value = image.properties.get(&key).ok_or_else(no_item)?;
    json(200, &json!({"meta": {(key): value}}))
}

/// `PUT /images/{id}/metadata/{key}`
pub async fn set_item(ctx: Ctx, Path((id, key)): Path<(String, String)>, Json(body): Json) -> Handled {
    let new = read(body, "meta")?;
    let Some(value) = new.get(&key).filter(|_| new.len() == 1).cloned() else {
        let why = "Request body and URI mismatch: the body must hold the one item of the URL.";
        return Err(Error::invalid(why).into());
    };
    let (name, kept) = (key.clone(), value.clone());
    edit(&ctx, &id, move |map| {
        map.insert(name, kept);
        Ok(())
    })
    .await?;
    json(200, &json!({"meta": {(key): value}}))
}

/// `DELETE /images/{id}/metadata/{key}`
pub async fn delete_item(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    edit(&ctx, &id, move |map| map.remove(&key).map(drop).ok_or_else(no_item)).await?;
    empty(204)
}
