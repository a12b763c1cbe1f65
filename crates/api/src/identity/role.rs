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
    identity::Role,
    policy::{self, Action},
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::{Value, json};

/// `GET /v3/roles`
pub async fn list(ctx: Ctx) -> Handled {
    reached(&ctx, Action::RoleRead)?;
    // Domain roles are listed only if the query names a domain.
    let of_domains = ctx.query.get("domain_id").is_some();
    let roles = ctx.state.roles.values().filter(|role| of_domains || role.domain_id.is_none());
    let roles = roles.map(|role| wire::role(ctx.url(), role)).collect();
    let found = filter::chosen(&ctx.query, roles, &["name", "domain_id", "description"])?;
    json(200, &wire::listing(ctx.url(), "roles", found))
}

/// `GET /v3/roles/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    reached(&ctx, Action::RoleRead)?;
    let id: RoleId = id("role", &text)?;
    let role = ctx.state.roles.get(&id).ok_or_else(|| missing("role", &text))?;
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

/// `GET /v3/role_inferences`: each default role implies the next.
pub async fn inferences(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::InferenceRead, None)?;
    let role = |name: &str| ctx.state.role_named(name);
    let brief = |r: &Role| json!({"id": r.id, "name": r.name, "links": {}});
    let chain = ["admin", "manager", "member", "reader"];
    let items: Vec<Value> = chain
        .windows(2)
        .filter_map(|pair| {
            let (prior, implied) = (role(pair[0])?, role(pair[1])?);
            Some(json!({"prior_role": brief(prior), "implies": [brief(implied)]}))
        })
        .collect();
    json(200, &wire::listing(ctx.url(), "role_inferences", items))
}
