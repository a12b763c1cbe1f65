//! Tags of resources.

use super::fields::bad;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::network::tags::{self, Tagged};
use lenticular_model::error::{Error, Result};
use serde_json::{Value, json};

fn tagged(collection: &str, id: &str) -> Result<Tagged> {
    let missing = || Error::not_found("Resource", id).coded("TagResourceNotFound");
    let read = match collection {
        "networks" => id.parse().map(Tagged::Network),
        "subnets" => id.parse().map(Tagged::Subnet),
        "ports" => id.parse().map(Tagged::Port),
        "security-groups" => id.parse().map(Tagged::SecurityGroup),
        "routers" => id.parse().map(Tagged::Router),
        "floatingips" => id.parse().map(Tagged::FloatingIp),
        "subnetpools" => id.parse().map(Tagged::SubnetPool),
        "policies" => id.parse().map(Tagged::QosPolicy),
        "trunks" => id.parse().map(Tagged::Trunk),
        _ => return Err(missing()),
    };
    read.map_err(|_| missing())
}

async fn edit(
    ctx: &Ctx,
    on: Tagged,
    change: impl FnOnce(&mut Vec<String>) -> Result<()> + Send + 'static,
) -> Result<Vec<String>> {
    ctx.commit("network tags", move |txn, caller| tags::edit(txn, caller, on, change)).await
}

/// `GET /v2.0/{collection}/{id}/tags`
pub async fn list(ctx: Ctx, Path((collection, id)): Path<(String, String)>) -> Handled {
    json(200, &json!({"tags": tags::of(&ctx.state, &ctx.caller, tagged(&collection, &id)?)?}))
}

/// `PUT /v2.0/{collection}/{id}/tags`
pub async fn replace(ctx: Ctx, Path((collection, id)): Path<(String, String)>, Json(body): Json) -> Handled {
    let new: Vec<String> = serde_json::from_value(body.get("tags").cloned().unwrap_or(Value::Null))
        .map_err(|error| bad(format!("Invalid tags: {error}.")))?;
    let all = edit(&ctx, tagged(&collection, &id)?, move |tags| {
        *tags = new;
        Ok(())
    })
    .await?;
    json(200, &json!({ "tags": all }))
}

/// `DELETE /v2.0/{collection}/{id}/tags`
pub async fn clear(ctx: Ctx, Path((collection, id)): Path<(String, String)>) -> Handled {
    edit(&ctx, tagged(&collection, &id)?, |tags| {
        tags.clear();
        Ok(())
    })
    .await?;
    empty(204)
}

fn no_tag(tag: &str) -> Error {
    Error::not_found("Tag", tag).coded("TagNotFound")
}

/// `GET /v2.0/{collection}/{id}/tags/{tag}`
pub async fn has(ctx: Ctx, Path((collection, id, tag)): Path<(String, String, String)>) -> Handled {
    match tags::of(&ctx.state, &ctx.caller, tagged(&collection, &id)?)?.contains(&tag) {
        true => empty(204),
        false => Err(no_tag(&tag).into()),
    }
}

/// `PUT /v2.0/{collection}/{id}/tags/{tag}`
pub async fn add(ctx: Ctx, Path((collection, id, tag)): Path<(String, String, String)>) -> Handled {
    edit(&ctx, tagged(&collection, &id)?, move |tags| {
        tags.push(tag);
        Ok(())
    })
    .await?;
    empty(201)
}

/// `DELETE /v2.0/{collection}/{id}/tags/{tag}`
pub async fn remove(ctx: Ctx, Path((collection, id, tag)): Path<(String, String, String)>) -> Handled {
    edit(&ctx, tagged(&collection, &id)?, move |tags| {
        let before = tags.len();
        tags.retain(|t| *t != tag);
        (tags.len() < before).then_some(()).ok_or_else(|| no_tag(&tag))
    })
    .await?;
    empty(204)
}
