//! Roles.

use super::{field, filter, id, missing, name, reached, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    RoleId,
    error::Result,
    identity::Role,
    policy::{self, Action},
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::json;
use std::sync::Arc;

/// `GET /v3/roles`
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::RoleRead)?;
    // Domain roles are listed only if the query names a domain.
    let of_domains = ctx.query.get("domain_id").is_some();
    let roles = ctx
        .state
        .roles
        .values()
        .filter(|role| role.domain_id.as_ref().is_none_or(|domain| of_domains && reach.covers(domain)));
    let roles = roles.map(|role| wire::role(ctx.url(), role)).collect();
    let found = filter::chosen(&ctx.query, roles, &["name", "domain_id", "description"])?;
    json(200, &wire::listing(ctx.url(), "roles", found))
}

/// `GET /v3/roles/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let reach = reached(&ctx, Action::RoleRead)?;
    let id: RoleId = id("role", &text)?;
    let role = ctx.state.roles.get(&id);
    let role = role.filter(|role| role.domain_id.as_ref().is_none_or(|domain| reach.covers(domain)));
    let role = role.ok_or_else(|| missing("role", &text))?;
    json(200, &json!({"role": wire::role(ctx.url(), role)}))
}

/// `POST /v3/roles`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = envelope(body, "role")?;
    let name = name(&fields, 255)?.ok_or_else(|| required("name"))?;
    let (description, domain_id) = (field(&fields, "description")?, field(&fields, "domain_id")?);
    let role = ctx
        .commit("role create", move |txn, caller| {
            let id = RoleId::from_random(txn.random());
            let (created_at, unknown) = (txn.now, Default::default());
            let role = Role { id, created_at, updated_at: None, name, domain_id, description, unknown };
            identity::role::put(txn, caller, role.clone())?;
            Ok(role)
        })
        .await?;
    json(201, &json!({"role": wire::role(ctx.url(), &role)}))
}

/// `PATCH /v3/roles/{id}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id: RoleId = id("role", &text)?;
    let fields = envelope(body, "role")?;
    let (name, description) = (name(&fields, 255)?, field::<String>(&fields, "description")?);
    let role = ctx
        .commit("role update", move |txn, caller| {
            policy::check(caller, Action::RoleWrite, None)?;
            let mut role = Role::clone(&*identity::govern::role(txn, id)?);
            role.name = name.unwrap_or(role.name);
            role.description = description.or(role.description);
            role.updated_at = Some(txn.now);
            identity::role::put(txn, caller, role.clone())?;
            Ok(role)
        })
        .await?;
    json(200, &json!({"role": wire::role(ctx.url(), &role)}))
}

/// `DELETE /v3/roles/{id}`
pub async fn delete(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id: RoleId = id("role", &text)?;
    ctx.commit("role delete", move |txn, caller| identity::role::delete(txn, caller, id)).await?;
    empty(204)
}

fn pair(prior: &str, implied: &str) -> Result<(RoleId, RoleId)> {
    Ok((id("role", prior)?, id("role", implied)?))
}

/// `GET /v3/role_inferences`: every role that implies others.
pub async fn inferences(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::InferenceRead, None)?;
    let mut items = Vec::new();
    for prior in ctx.state.roles.values() {
        let implied: Vec<Arc<Role>> = ctx.state.roles_implied_by(prior).cloned().collect();
        if !implied.is_empty() {
            items.push(wire::role_inferences(ctx.url(), prior, &implied));
        }
    }
    json(200, &wire::listing(ctx.url(), "role_inferences", items))
}

/// `GET /v3/roles/{id}/implies`: the roles that a role implies directly.
pub async fn implied(ctx: Ctx, Path(text): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::InferenceRead, None)?;
    let prior = identity::govern::role(&ctx.state, id("role", &text)?)?;
    let implied: Vec<Arc<Role>> = ctx.state.roles_implied_by(&prior).cloned().collect();
    let link = format!("{}/identity/v3/roles/{}/implies", ctx.url(), prior.id);
    let view = wire::role_inferences(ctx.url(), &prior, &implied);
    json(200, &json!({"role_inference": view, "links": {"self": link}}))
}

/// The rule that a role implies another.
fn inference(ctx: &Ctx, prior: &str, implied: &str) -> Result<(Arc<Role>, Arc<Role>)> {
    policy::check(&ctx.caller, Action::InferenceRead, None)?;
    let (prior, implied) = pair(prior, implied)?;
    let (prior, implied) =
        (identity::govern::role(&ctx.state, prior)?, identity::govern::role(&ctx.state, implied)?);
    if !ctx.state.roles_implied_by(&prior).any(|role| role.id == implied.id) {
        return Err(missing(&format!("role {} implying", prior.id), &implied.id.to_string()));
    }
    Ok((prior, implied))
}

/// `GET /v3/roles/{id}/implies/{implied}`
pub async fn show_inference(ctx: Ctx, Path((prior, implied)): Path<(String, String)>) -> Handled {
    let (prior, implied) = inference(&ctx, &prior, &implied)?;
    json(200, &wire::role_inference(ctx.url(), &prior, &implied))
}

/// `HEAD /v3/roles/{id}/implies/{implied}`
pub async fn check_inference(ctx: Ctx, Path((prior, implied)): Path<(String, String)>) -> Handled {
    inference(&ctx, &prior, &implied)?;
    empty(204)
}

/// `PUT /v3/roles/{id}/implies/{implied}`
pub async fn imply(ctx: Ctx, Path((prior, implied)): Path<(String, String)>) -> Handled {
    let (prior_id, implied_id) = pair(&prior, &implied)?;
    let (prior, implied) = ctx
        .commit("role imply", move |txn, caller| {
            identity::role::imply(txn, caller, prior_id, implied_id)?;
            Ok((identity::govern::role(txn, prior_id)?, identity::govern::role(txn, implied_id)?))
        })
        .await?;
    json(201, &wire::role_inference(ctx.url(), &prior, &implied))
}

/// `DELETE /v3/roles/{id}/implies/{implied}`
pub async fn imply_no_more(ctx: Ctx, Path((prior, implied)): Path<(String, String)>) -> Handled {
    let (prior, implied) = pair(&prior, &implied)?;
    ctx.commit("role imply no more", move |txn, caller| {
        identity::role::imply_no_more(txn, caller, prior, implied)
    })
    .await?;
    empty(204)
}
