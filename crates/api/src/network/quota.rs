//! Quotas of network resources.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::{
    command::{self, quota::Whose},
    quota::{self, Service},
};
use lenticular_model::{
    ProjectId,
    error::{Error, Result},
    policy::{self, Action},
    quota::{Limits, NETWORK_DEFAULTS},
};
use lenticular_wire::request::envelope;
use serde_json::{Map, Value, json};

fn project(text: &str) -> Result<ProjectId> {
    text.parse().map_err(|_| Error::not_found("Project", text).coded("TenantQuotaNotFound"))
}

fn view(limits: &[(&'static str, i64)]) -> Map<String, Value> {
    limits.iter().map(|(name, limit)| ((*name).to_owned(), json!(limit))).collect()
}

/// `GET /v2.0/quotas`: the projects that have limits other than the defaults.
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkQuotaWrite, None)?;
    let own = ctx.state.quotas.values().filter(|q| !q.network.is_empty());
    let list: Vec<Value> = own
        .map(|q| {
            let mut view = view(&quota::limits(&ctx.state, Service::Network, q.id));
            view.insert("project_id".to_owned(), json!(q.id));
            view.insert("tenant_id".to_owned(), json!(q.id));
            Value::Object(view)
        })
        .collect();
    json(200, &json!({ "quotas": list }))
}

/// `GET /v2.0/quotas/{project}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = project(&text)?;
    policy::check(&ctx.caller, Action::QuotaRead, Some(id))?;
    json(200, &json!({"quota": view(&quota::limits(&ctx.state, Service::Network, id))}))
}

/// `GET /v2.0/quotas/{project}/default`
pub async fn defaults(ctx: Ctx, Path(text): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::QuotaRead, Some(project(&text)?))?;
    json(200, &json!({"quota": view(NETWORK_DEFAULTS)}))
}

/// `GET /v2.0/quotas/{project}/details.json`
pub async fn details(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = project(&text)?;
    policy::check(&ctx.caller, Action::QuotaRead, Some(id))?;
    let state = &ctx.state;
    let used = |name: &str| quota::network_usage(state, id, name);
    let limits = quota::limits(state, Service::Network, id);
    let lines: Map<String, Value> = limits
        .iter()
        .map(|(name, limit)| ((*name).to_owned(), json!({"limit": limit, "used": used(name), "reserved": 0})))
        .collect();
    json(200, &json!({ "quota": lines }))
}

/// `PUT /v2.0/quotas/{project}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id = project(&text)?;
    let fields = envelope(body, "quota")?;
    let mut new = Limits::new();
    for (name, value) in fields
        .iter()
        .filter(|(n, _)| !matches!(n.as_str(), "tenant_id" | "project_id" | "force" | "check_limit"))
    {
        let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
        let number = number.ok_or_else(|| {
            super::fields::bad(format!("Invalid input for {name}. Reason: '{value}' is not an integer."))
        })?;
        new.insert(name.clone(), number);
    }
    ctx.commit("network quota update", move |txn, caller| {
        command::quota::set(txn, caller, Service::Network, Whose::Project(id), new, false)
    })
    .await?;
    let state = ctx.app.store.state();
    json(200, &json!({"quota": view(&quota::limits(&state, Service::Network, id))}))
}

/// `DELETE /v2.0/quotas/{project}`
pub async fn reset(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = project(&text)?;
    ctx.commit("network quota reset", move |txn, caller| {
        command::quota::reset(txn, caller, Service::Network, Whose::Project(id))
    })
    .await?;
    empty(204)
}
