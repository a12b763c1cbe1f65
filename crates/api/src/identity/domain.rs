//! Domains.

use super::{field, filter, missing, name, reached, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    DomainId,
    error::Error,
    identity::{Domain, Target},
    policy::{self, Action},
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::json;

/// `GET /v3/domains`
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::DomainRead)?;
    let domains = ctx.state.domains.values().filter(|domain| reach.covers(&domain.id));
    let domains = domains.map(|domain| wire::domain(ctx.url(), domain)).collect();
    let found = filter::chosen(&ctx.query, domains, &["name", "enabled", "description"])?;
    json(200, &wire::listing(ctx.url(), "domains", found))
}

/// `GET /v3/domains/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = DomainId::from(id.as_str());
    let own = ctx.state.users.get(&ctx.caller.user_id).is_some_and(|u| u.domain_id == id)
        || !ctx.state.roles_on(ctx.caller.user_id, &Target::Domain(id.clone())).is_empty();
    if !own {
        policy::check_in_domain(&ctx.caller, Action::DomainRead, ctx.state.domains.get(&id).map(|d| &d.id))?;
    }
    let domain = ctx.state.domains.get(&id).ok_or_else(|| missing("domain", id.as_str()))?;
    json(200, &json!({"domain": wire::domain(ctx.url(), domain)}))
}

/// `POST /v3/domains`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = envelope(body, "domain")?;
    let new = (
        name(&fields, 64)?.ok_or_else(|| required("name"))?,
        field::<String>(&fields, "description")?.unwrap_or_default(),
        field::<bool>(&fields, "enabled")?.unwrap_or(true),
    );
    let domain = ctx
        .commit("domain create", move |txn, caller| {
            let (name, description, enabled) = new;
            let id: DomainId =
                lenticular_model::ProjectId::from_random(txn.random()).to_string().as_str().into();
            let domain = Domain {
                id,
                created_at: txn.now,
                updated_at: None,
                name,
                description,
                enabled,
                tokens_void_before: Default::default(),
                unknown: Default::default(),
            };
            identity::domain::put(txn, caller, domain.clone())?;
            Ok(domain)
        })
        .await?;
    json(201, &json!({"domain": wire::domain(ctx.url(), &domain)}))
}

/// `PATCH /v3/domains/{id}`
pub async fn update(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let fields = envelope(body, "domain")?;
    let change =
        (name(&fields, 64)?, field::<String>(&fields, "description")?, field::<bool>(&fields, "enabled")?);
    let domain = ctx
        .commit("domain update", move |txn, caller| {
            policy::check(caller, Action::DomainWrite, None)?;
            let (name, description, enabled) = change;
            let mut domain = Domain::clone(&*identity::govern::domain(txn, &id.as_str().into())?);
            if enabled == Some(false) && domain.id.as_str() == identity::domain::DEFAULT_DOMAIN {
                return Err(Error::forbidden(
                    "The default domain cannot be disabled: the administrators are in it.",
                ));
            }
            domain.name = name.unwrap_or(domain.name);
            domain.description = description.unwrap_or(domain.description);
            domain.enabled = enabled.unwrap_or(domain.enabled);
            domain.updated_at = Some(txn.now);
            identity::domain::put(txn, caller, domain.clone())?;
            Ok(domain)
        })
        .await?;
    json(200, &json!({"domain": wire::domain(ctx.url(), &domain)}))
}

/// `DELETE /v3/domains/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    ctx.commit("domain delete", move |txn, caller| {
        identity::domain::delete(txn, caller, &id.as_str().into())
    })
    .await?;
    empty(204)
}
