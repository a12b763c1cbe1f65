//! The tags of a project, as a list and one by one.

use super::{id, missing, project};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{ProjectId, error::Result, identity::Project, policy::Action};
use serde_json::{Map, json};
use std::sync::Arc;

fn visible(ctx: &Ctx, text: &str) -> Result<Arc<Project>> {
    let id: ProjectId = id("project", text)?;
    match ctx.state.projects.get(&id).filter(|_| ctx.caller.project_id() == Some(id)) {
        Some(own) => Ok(own.clone()),
        None => identity::govern::governed_project(&ctx.state, &ctx.caller, Action::ProjectRead, id),
    }
}

/// Changes the tags of a project, and checks them as a whole. Returns the new tags.
async fn edit(
    ctx: &Ctx,
    text: &str,
    change: impl FnOnce(&mut Vec<String>) -> Result<()> + Send + 'static,
) -> Result<Vec<String>> {
    let id: ProjectId = id("project", text)?;
    ctx.commit("project tag", move |txn, caller| {
        let old = identity::govern::governed_project(txn, caller, Action::ProjectWrite, id)?;
        let mut project = Project::clone(&old);
        change(&mut project.tags)?;
        project::tags(&Map::from_iter([("tags".to_owned(), json!(project.tags))]))?;
        project.updated_at = Some(txn.now);
        let tags = project.tags.clone();
        identity::project::put(txn, caller, project)?;
        Ok(tags)
    })
    .await
}

/// `GET /v3/projects/{id}/tags`
pub async fn list(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let link = format!("{}/identity/v3/projects/{text}/tags", ctx.url());
    json(200, &json!({"tags": visible(&ctx, &text)?.tags, "links": {"self": link}}))
}

/// `PUT /v3/projects/{id}/tags`: replaces all tags.
pub async fn replace(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let fields = body.as_object().cloned().unwrap_or_default();
    let tags = project::tags(&fields)?.ok_or_else(|| super::required("tags"))?;
    let tags = edit(&ctx, &text, move |now| {
        *now = tags;
        Ok(())
    })
    .await?;
    let link = format!("{}/identity/v3/projects/{text}/tags", ctx.url());
    json(200, &json!({"tags": tags, "links": {"self": link}}))
}

/// `DELETE /v3/projects/{id}/tags`
pub async fn clear(ctx: Ctx, Path(text): Path<String>) -> Handled {
    edit(&ctx, &text, |now| {
        now.clear();
        Ok(())
    })
    .await?;
    empty(204)
}

/// `GET` and `HEAD /v3/projects/{id}/tags/{tag}`
pub async fn check(ctx: Ctx, Path((text, tag)): Path<(String, String)>) -> Handled {
    match visible(&ctx, &text)?.tags.contains(&tag) {
        true => empty(204),
        false => Err(missing("project tag", &tag).into()),
    }
}

/// `PUT /v3/projects/{id}/tags/{tag}`
pub async fn add(ctx: Ctx, Path((text, tag)): Path<(String, String)>) -> Handled {
    edit(&ctx, &text, move |now| {
        if !now.contains(&tag) {
            now.push(tag);
        }
        Ok(())
    })
    .await?;
    empty(201)
}

/// `DELETE /v3/projects/{id}/tags/{tag}`
pub async fn remove(ctx: Ctx, Path((text, tag)): Path<(String, String)>) -> Handled {
    edit(&ctx, &text, move |now| {
        let at = now.iter().position(|known| *known == tag).ok_or_else(|| missing("project tag", &tag))?;
        now.remove(at);
        Ok(())
    })
    .await?;
    empty(204)
}
