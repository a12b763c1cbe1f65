//! Server groups.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::server_group::{self, NewServerGroup};
use lenticular_model::{
    ServerGroupId,
    compute::server_group::ServerGroup,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::compute::{query, server_group as wire};
use serde_json::{Value, json};
use std::sync::Arc;

fn group_id(text: &str) -> Result<ServerGroupId> {
    text.parse().map_err(|_| Error::not_found("Instance group", text))
}

/// `GET /os-server-groups`
pub async fn list(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::SERVER_GROUPS)?;
    let all = ctx.query.get("all_projects").is_some();
    let mut found: Vec<Arc<ServerGroup>> = if all && ctx.caller.is_admin() {
        policy::check(&ctx.caller, Action::ServerGroupReadAll, None)?;
        ctx.state.server_groups.values().cloned().collect()
    } else {
        let project = ctx.caller.need_project()?;
        policy::check(&ctx.caller, Action::ServerGroupRead, Some(project))?;
        ctx.state.server_groups_of_project(project).cloned().collect()
    };
    found.sort_by_key(|group| (group.created_at, group.id));
    let offset = ctx.query.number("offset")?.unwrap_or(0);
    let limit = ctx.query.number("limit")?.filter(|limit| *limit > 0).unwrap_or(1_000).min(1_000);
    let page = found.iter().skip(offset as usize).take(limit as usize);
    let list: Vec<Value> = page.map(|group| wire::view(&ctx.state, group, ctx.version)).collect();
    json(200, &json!({ "server_groups": list }))
}

/// `POST /os-server-groups`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let asked = wire::read_create(body, ctx.version)?;
    let new = NewServerGroup {
        name: asked.name,
        policy: asked.policy,
        max_server_per_host: asked.max_server_per_host,
    };
    let made = ctx
        .commit("server group create", move |txn, caller| {
            let id = server_group::create(txn, caller, new)?;
            txn.visible::<ServerGroup>(caller, &id)
        })
        .await?;
    json(200, &json!({"server_group": wire::view(&ctx.state, &made, ctx.version)}))
}

/// `GET /os-server-groups/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let group = ctx.state.visible::<ServerGroup>(&ctx.caller, &group_id(&id)?)?;
    policy::check(&ctx.caller, Action::ServerGroupRead, Some(group.project_id))?;
    json(200, &json!({"server_group": wire::view(&ctx.state, &group, ctx.version)}))
}

/// `DELETE /os-server-groups/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = group_id(&id)?;
    ctx.commit("server group delete", move |txn, caller| server_group::delete(txn, caller, id)).await?;
    empty(204)
}
