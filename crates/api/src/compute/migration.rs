//! Migrations: all of them for operators, and a server's migrations in progress.

use super::server_id;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::migrate;
use lenticular_model::{
    Kind, ServerId,
    compute::{migration::Migration, server::Server},
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{migration as wire, query},
    request::text_bool,
};
use serde_json::{Value, json};

/// How many ended migrations one listing reads at most.
const PAST_MAX: usize = 1_000;

/// `GET /os-migrations`
pub async fn list(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::MIGRATIONS)?;
    policy::check(&ctx.caller, Action::MigrationRead, None)?;
    let mut all: Vec<Migration> = ctx.state.migrations.values().map(|m| Migration::clone(m)).collect();
    for (_, doc) in ctx.app.store.list(Kind::PastMigration, "", None, PAST_MAX, true).await? {
        all.push(serde_json::from_str(&doc).map_err(Error::internal)?);
    }
    all.sort_by_key(|m| std::cmp::Reverse((m.created_at, m.id)));
    let changed_when = ctx.query.changes()?;
    all.retain(|m| changed_when.contains(&m.updated_at.unwrap_or(m.created_at)) && fits(&ctx, m));
    // Before 2.59 there are no pages: all migrations are shown.
    let (all, more) = match ctx.version.has(59) {
        true => page::cut(all, &ctx.query, |m| m.id.to_string())?,
        false => (all, false),
    };
    let url = &ctx.app.config.public_url;
    let views: Vec<Value> = all.iter().map(|m| wire::view(m, ctx.version, url)).collect();
    let mut body = json!({ "migrations": views });
    if let Some(last) = all.last().filter(|_| more) {
        let href = page::next(&format!("{url}/compute/v2.1/os-migrations"), &ctx.query, &last.id.to_string());
        body["migrations_links"] = json!([{ "rel": "next", "href": href }]);
    }
    json(200, &body)
}

fn fits(ctx: &Ctx, m: &Migration) -> bool {
    let is = |name: &str, text: &str| ctx.query.get(name).is_none_or(|wanted| wanted == text);
    let host = ctx.query.get("host");
    let owner = |name: &str, text: Option<String>| {
        ctx.query.get(name).is_none_or(|wanted| text.as_deref() == Some(wanted))
    };
    // Nova hides migrations between cells; here nothing is hidden.
    let hidden = ctx.query.get("hidden").is_some_and(|text| text_bool(text).unwrap_or(false));
    !hidden
        && is("status", m.phase.name(m.purpose))
        && is("instance_uuid", &m.server_id.to_string())
        && is("migration_type", m.purpose.name())
        && is("source_compute", &m.from_name)
        && host.is_none_or(|host| host == m.from_name || host == m.to_name)
        && owner("user_id", m.user_id.map(|id| id.to_string()))
        && owner("project_id", Some(m.project_id.to_string()))
}

/// `GET /servers/{id}/migrations`
pub async fn of_server(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = visible(&ctx, &id)?;
    let found = ctx.state.migrations_of_server(id).filter(|m| wire::is_live_under_way(m));
    let views: Vec<Value> = found.map(|m| one(&ctx, m)).collect();
    json(200, &json!({ "migrations": views }))
}

/// `GET /servers/{id}/migrations/{number}`
pub async fn show(ctx: Ctx, Path((id, number)): Path<(String, String)>) -> Handled {
    let server = visible(&ctx, &id)?;
    let number = read_number(&number, server)?;
    let found = ctx.state.migrations_of_server(server).find(|m| m.number == number);
    let found = found.filter(|m| wire::is_live_under_way(m)).ok_or_else(|| missing(number, server))?;
    json(200, &json!({ "migration": one(&ctx, found) }))
}

/// `DELETE /servers/{id}/migrations/{number}`
pub async fn abort(ctx: Ctx, Path((id, number)): Path<(String, String)>) -> Handled {
    let server = server_id(&id)?;
    let number = read_number(&number, server)?;
    ctx.commit("migration abort", move |txn, caller| migrate::abort(txn, caller, server, number)).await?;
    empty(202)
}

/// `POST /servers/{id}/migrations/{number}/action`
pub async fn act(ctx: Ctx, Path((id, number)): Path<(String, String)>, Json(body): Json) -> Handled {
    let server = server_id(&id)?;
    let number = read_number(&number, server)?;
    let known =
        body.as_object().is_some_and(|b| b.len() == 1 && b.get("force_complete").is_some_and(Value::is_null));
    if !known {
        return Err(Error::invalid("The request's body must be {\"force_complete\": null}.").into());
    }
    ctx.commit("migration force", move |txn, caller| migrate::force(txn, caller, server, number)).await?;
    empty(202)
}

fn one(ctx: &Ctx, m: &Migration) -> Value {
    let seen = ctx.state.migration_progress.get(&m.id).map(|p| &p.seen);
    wire::of_server(m, seen, ctx.version)
}

fn visible(ctx: &Ctx, text: &str) -> Result<ServerId> {
    let server = ctx.state.visible::<Server>(&ctx.caller, &server_id(text)?)?;
    policy::check(&ctx.caller, Action::ServerMigrationRead, None)?;
    Ok(server.id)
}

fn read_number(text: &str, server: ServerId) -> Result<u64> {
    text.parse().map_err(|_| missing(text, server))
}

fn missing(number: impl std::fmt::Display, server: ServerId) -> Error {
    Error::not_found_text(format!("Migration {number} for server {server} could not be found."))
}
