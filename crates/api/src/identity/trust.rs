//! Trusts (`OS-TRUST`).

use super::{application_credential::asked_roles, auth::user_id, field, id, missing, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity::trust::{self, NewTrust};
use lenticular_model::{
    RoleId, Timestamp,
    error::{Error, Result},
    identity::{Role, Trust},
    policy::{self, Action},
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// `GET /v3/OS-TRUST/trusts`: of the trustor or trustee that the query names, or all.
pub async fn list(ctx: Ctx) -> Handled {
    let user = |name: &str| ctx.query.get(name).map(user_id).transpose();
    let (trustor, trustee) = (user("trustor_user_id")?, user("trustee_user_id")?);
    if ![trustor, trustee].contains(&Some(ctx.caller.user_id)) {
        policy::check(&ctx.caller, Action::TrustRead, None)?;
    }
    let state = &ctx.state;
    let found: Vec<&Arc<Trust>> = match (trustor, trustee) {
        (Some(user), _) => state.trusts_of_trustor(user).collect(),
        (None, Some(user)) => state.trusts_of_trustee(user).collect(),
        (None, None) => state.trusts.values().collect(),
    };
    let now = ctx.app.now();
    let wanted = found.into_iter().filter(|t| trustee.is_none_or(|user| t.trustee_user_id == user));
    let wanted = wanted.filter(|t| t.expires_at.is_none_or(|end| end > now));
    let items = wanted.map(|t| wire::trust(state, ctx.url(), t, false)).collect();
    json(200, &wire::listing(ctx.url(), "OS-TRUST/trusts", items))
}

fn visible(ctx: &Ctx, text: &str) -> Result<Arc<Trust>> {
    let found = trust::visible(&ctx.state, &ctx.caller, id("trust", text)?)?;
    let valid = found.expires_at.is_none_or(|end| end > ctx.app.now());
    valid.then_some(found).ok_or_else(|| missing("trust", text))
}

/// `GET /v3/OS-TRUST/trusts/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let found = visible(&ctx, &text)?;
    json(200, &json!({"trust": wire::trust(&ctx.state, ctx.url(), &found, true)}))
}

fn read(fields: &Map<String, Value>) -> Result<NewTrust> {
    let text = |name: &str| field::<String>(fields, name)?.ok_or_else(|| required(name));
    for name in ["remaining_uses", "redelegation_count", "redelegated_trust_id"] {
        let says_nothing = |value: &Value| value.is_null() || (name != "remaining_uses" && *value == 0);
        if fields.get(name).is_some_and(|value| !says_nothing(value)) {
            return Err(Error::invalid(format!(
                "Invalid input for field '{name}': trusts have no limited number of uses and are not delegated again."
            )));
        }
    }
    if field(fields, "allow_redelegation")?.unwrap_or(false) {
        return Err(Error::invalid(
            "Invalid input for field 'allow_redelegation': trusts are not delegated again. Leave the field out.",
        ));
    }
    let bad = |text: &str| {
        Error::invalid(format!("Invalid input for field 'expires_at': '{text}' is not a time in ISO 8601."))
    };
    let end = field::<String>(fields, "expires_at")?;
    Ok(NewTrust {
        trustor: user_id(&text("trustor_user_id")?)?,
        trustee: user_id(&text("trustee_user_id")?)?,
        project: id("project", &text("project_id")?)?,
        roles: asked_roles(fields)?.unwrap_or_default(),
        impersonation: field(fields, "impersonation")?.ok_or_else(|| required("impersonation"))?,
        expires_at: end.map(|text| Timestamp::parse(&text).ok_or_else(|| bad(&text))).transpose()?,
    })
}

/// `POST /v3/OS-TRUST/trusts`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let (new, proof) = (read(&envelope(body, "trust")?)?, ctx.proof());
    let url = ctx.url().to_owned();
    let view = ctx
        .commit("trust create", move |txn, caller| {
            let made = trust::create(txn, caller, proof, new)?;
            Ok(wire::trust(txn, &url, &made, true))
        })
        .await?;
    json(201, &json!({ "trust": view }))
}

/// `DELETE /v3/OS-TRUST/trusts/{id}`
pub async fn delete(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let (id, proof) = (id("trust", &text)?, ctx.proof());
    ctx.commit("trust delete", move |txn, caller| trust::delete(txn, caller, proof, id)).await?;
    empty(204)
}

/// `GET /v3/OS-TRUST/trusts/{id}/roles`
pub async fn roles(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let found = visible(&ctx, &text)?;
    let roles = found.role_ids.iter().filter_map(|id| ctx.state.roles.get(id));
    let items = roles.map(|role| wire::role(ctx.url(), role)).collect();
    json(200, &wire::listing(ctx.url(), &format!("OS-TRUST/trusts/{text}/roles"), items))
}

fn role_of(ctx: &Ctx, trust: &str, role: &str) -> Result<Arc<Role>> {
    let (found, id) = (visible(ctx, trust)?, id::<RoleId>("role", role)?);
    let role = ctx.state.roles.get(&id).filter(|_| found.role_ids.contains(&id));
    role.cloned().ok_or_else(|| missing("role", &id.to_string()))
}

/// `GET /v3/OS-TRUST/trusts/{id}/roles/{role}`
pub async fn role(ctx: Ctx, Path((trust, role)): Path<(String, String)>) -> Handled {
    json(200, &json!({"role": wire::role(ctx.url(), &*role_of(&ctx, &trust, &role)?)}))
}

/// `HEAD /v3/OS-TRUST/trusts/{id}/roles/{role}`
pub async fn check_role(ctx: Ctx, Path((trust, role)): Path<(String, String)>) -> Handled {
    role_of(&ctx, &trust, &role)?;
    empty(200)
}
