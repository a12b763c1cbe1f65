//! Image members: the projects that an image is shared with.

use super::image_id;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::image_member;
use lenticular_model::{
    ProjectId,
    error::{Error, Result},
};
use lenticular_wire::image as wire;
use serde_json::{Value, json};

/// A project's id in a path. A malformed id gives the same error as an unknown one.
fn member_id(image: &str, text: &str) -> Result<ProjectId> {
    let missing =
        || Error::not_found_text(format!("{text} not found in the member list of the image {image}."));
    text.parse().map_err(|_| missing())
}

/// `GET /v2/images/{id}/members`
pub async fn list(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let members = image_member::list(&ctx.state, &ctx.caller, image_id(&id)?)?;
    let members: Vec<Value> = members.iter().map(|member| wire::member(member)).collect();
    json(200, &json!({"members": members, "schema": "/v2/schemas/members"}))
}

/// `GET /v2/images/{id}/members/{member}`
pub async fn show(ctx: Ctx, Path((image, member)): Path<(String, String)>) -> Handled {
    let (id, member) = (image_id(&image)?, member_id(&image, &member)?);
    let found = image_member::show(&ctx.state, &ctx.caller, id, member);
    // To a stranger, an image that cannot have members looks like one without this member.
    let found = found.map_err(|_| {
        Error::not_found_text(format!("{member} not found in the member list of the image {id}."))
    })?;
    json(200, &wire::member(&found))
}

/// `POST /v2/images/{id}/members`
pub async fn create(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let id = image_id(&id)?;
    let text = body.get("member").and_then(Value::as_str).filter(|text| !text.is_empty());
    let text = text.ok_or_else(|| Error::invalid("Member to be added not specified"))?;
    let member: ProjectId = text.parse().map_err(|_| {
        Error::invalid(format!("Invalid value '{text}' for 'member': it must be the id of a project."))
    })?;
    let made =
        ctx.commit("image share", move |txn, caller| image_member::create(txn, caller, id, member)).await?;
    json(200, &wire::member(&made))
}

/// `PUT /v2/images/{id}/members/{member}`
pub async fn update(ctx: Ctx, Path((image, member)): Path<(String, String)>, Json(body): Json) -> Handled {
    let (id, member) = (image_id(&image)?, member_id(&image, &member)?);
    let word = body.get("status").and_then(Value::as_str);
    let word = word.ok_or_else(|| Error::invalid("Status not specified"))?;
    let status = wire::member_status_of(word).ok_or_else(|| {
        Error::invalid(format!(
            "Incorrect request: the status '{word}' is not pending, accepted or rejected."
        ))
    })?;
    let changed = ctx
        .commit("image member status", move |txn, caller| {
            image_member::set_status(txn, caller, id, member, status)
        })
        .await?;
    json(200, &wire::member(&changed))
}

/// `DELETE /v2/images/{id}/members/{member}`
pub async fn delete(ctx: Ctx, Path((image, member)): Path<(String, String)>) -> Handled {
    let (id, member) = (image_id(&image)?, member_id(&image, &member)?);
    ctx.commit("image unshare", move |txn, caller| image_member::delete(txn, caller, id, member)).await?;
    empty(204)
}
