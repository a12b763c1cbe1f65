//! A server's metadata and tags.

use super::{server::readable, server_id};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::{extract::Path, http::HeaderValue};
use lenticular_control::command::compute::server;
use lenticular_model::{
    ServerId,
    compute::server::Server,
    error::{Error, Result},
};
use lenticular_wire::{
    compute::{server_create::check_metadata, tag::check_tag},
    request::{read_value, sole_value},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

fn read(body: Value, key: &str) -> Result<BTreeMap<String, String>> {
    let map: BTreeMap<String, String> = read_value(key, sole_value(body, key)?)?;
    map.iter().try_for_each(|(k, v)| check_metadata(k, v))?;
    Ok(map)
}

async fn edit(
    ctx: &Ctx,
    id: ServerId,
    change: impl FnOnce(&mut BTreeMap<String, String>) -> Result<()> + Send + 'static,
) -> Result<BTreeMap<String, String>> {
    ctx.commit("server metadata", move |txn, caller| {
        server::edit_metadata(txn, caller, id, change)?;
        Ok(txn.visible::<Server>(caller, &id)?.metadata.clone())
    })
    .await
}

/// `GET /servers/{id}/metadata`
pub async fn list(ctx: Ctx, Path(id): Path<String>) -> Handled {
    json(200, &json!({"metadata": readable(&ctx, &id)?.metadata}))
}

/// `POST /servers/{id}/metadata`
pub async fn merge(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let new = read(body, "metadata")?;
    let all = edit(&ctx, server_id(&id)?, move |map| {
        map.extend(new);
        Ok(())
    })
    .await?;
    json(200, &json!({ "metadata": all }))
}

/// `PUT /servers/{id}/metadata`
pub async fn replace(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let new = read(body, "metadata")?;
    let all = edit(&ctx, server_id(&id)?, move |map| {
        *map = new;
        Ok(())
    })
    .await?;
    json(200, &json!({ "metadata": all }))
}

/// `GET /servers/{id}/metadata/{key}`
pub async fn show(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    let server = readable(&ctx, &id)?;
    let value = server.metadata.get(&key).ok_or_else(no_item)?;
    json(200, &json!({"meta": {(key): value}}))
}

fn no_item() -> Error {
    Error::not_found_text("Metadata item was not found")
}

/// `PUT /servers/{id}/metadata/{key}`
pub async fn set(ctx: Ctx, Path((id, key)): Path<(String, String)>, Json(body): Json) -> Handled {
    let new = read(body, "meta")?;
    let Some(value) = new.get(&key).filter(|_| new.len() == 1).cloned() else {
        return Err(Error::invalid(
            "Request body and URI mismatch: the body must hold the one item of the URL.",
        )
        .into());
    };
    let (name, kept) = (key.clone(), value.clone());
    edit(&ctx, server_id(&id)?, move |map| {
        map.insert(name, kept);
        Ok(())
    })
    .await?;
    json(200, &json!({"meta": {(key): value}}))
}

/// `DELETE /servers/{id}/metadata/{key}`
pub async fn delete(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    edit(&ctx, server_id(&id)?, move |map| map.remove(&key).map(|_| ()).ok_or_else(no_item)).await?;
    empty(204)
}

/// Tags exist from 2.26.
fn check_version(ctx: &Ctx) -> Result<()> {
    ctx.version.has(26).then_some(()).ok_or_else(|| Error::not_found_text("The resource could not be found."))
}

async fn edit_tags<T: Send + 'static>(
    ctx: &Ctx,
    id: ServerId,
    change: impl FnOnce(&mut BTreeSet<String>) -> Result<T> + Send + 'static,
) -> Result<T> {
    check_version(ctx)?;
    ctx.commit("server tags", move |txn, caller| {
        let mut out = None;
        server::edit_tags(txn, caller, id, |tags| {
            out = Some(change(tags)?);
            Ok(())
        })?;
        out.ok_or_else(|| Error::internal("the change of tags was not run"))
    })
    .await
}

/// `GET /servers/{id}/tags`
pub async fn tags(ctx: Ctx, Path(id): Path<String>) -> Handled {
    check_version(&ctx)?;
    json(200, &json!({"tags": readable(&ctx, &id)?.tags}))
}

/// `PUT /servers/{id}/tags`
pub async fn replace_tags(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let new: BTreeSet<String> = read_value("tags", sole_value(body, "tags")?)?;
    new.iter().try_for_each(|tag| check_tag(tag))?;
    let shown = new.clone();
    edit_tags(&ctx, server_id(&id)?, move |tags| {
        *tags = new;
        Ok(())
    })
    .await?;
    json(200, &json!({ "tags": shown }))
}

/// `DELETE /servers/{id}/tags`
pub async fn clear_tags(ctx: Ctx, Path(id): Path<String>) -> Handled {
    edit_tags(&ctx, server_id(&id)?, |tags| {
        tags.clear();
        Ok(())
    })
    .await?;
    empty(204)
}

/// `GET /servers/{id}/tags/{tag}`
pub async fn has_tag(ctx: Ctx, Path((id, tag)): Path<(String, String)>) -> Handled {
    check_version(&ctx)?;
    match readable(&ctx, &id)?.tags.contains(&tag) {
        true => empty(204),
        false => Err(no_tag(&id, &tag).into()),
    }
}

fn no_tag(id: &str, tag: &str) -> Error {
    Error::not_found_text(format!("Server {id} has no tag '{tag}'"))
}

/// `PUT /servers/{id}/tags/{tag}`
pub async fn add_tag(ctx: Ctx, Path((id, tag)): Path<(String, String)>) -> Handled {
    check_tag(&tag)?;
    let location = format!("{}/compute/v2.1/servers/{id}/tags/{}", ctx.url(), crate::query::encode(&tag));
    let new = edit_tags(&ctx, server_id(&id)?, move |tags| Ok(tags.insert(tag))).await?;
    let mut response = empty(if new { 201 } else { 204 })?;
    if let Ok(value) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(axum::http::header::LOCATION, value);
    }
    Ok(response)
}

/// `DELETE /servers/{id}/tags/{tag}`
pub async fn remove_tag(ctx: Ctx, Path((id, tag)): Path<(String, String)>) -> Handled {
    let (server, name) = (id.clone(), tag.clone());
    edit_tags(&ctx, server_id(&id)?, move |tags| {
        tags.remove(&name).then_some(()).ok_or_else(|| no_tag(&server, &name))
    })
    .await?;
    empty(204)
}
