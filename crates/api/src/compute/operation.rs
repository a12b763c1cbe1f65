//! Operations on a server: Nova's instance actions and their events.

use super::{server::readable, server_id};
use crate::{ctx::Ctx, fault::Handled, page, respond::json};
use axum::extract::Path;
use lenticular_model::{
    Kind, ServerId,
    compute::{operation::Operation, server::Server},
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::compute::{query::INSTANCE_ACTIONS, server::host_hash};
use serde_json::{Value, json};

/// Finds the server, existing or deleted: a deleted server's operations can still be read (from 2.21).
async fn find(ctx: &Ctx, text: &str) -> Result<ServerId> {
    let id = server_id(text)?;
    let there = readable(ctx, text);
    if there.is_ok() || !ctx.version.has(21) {
        return there.map(|s| s.id);
    }
    let doc = ctx.app.store.get(Kind::PastServer, &id.to_string()).await?;
    let past: Option<Server> = doc.and_then(|doc| serde_json::from_str(&doc).ok());
    let past =
        past.filter(|s| ctx.caller.sees(s.project_id)).ok_or_else(|| Error::not_found("Instance", id))?;
    policy::check(&ctx.caller, Action::OperationRead, Some(past.project_id))?;
    Ok(id)
}

/// All operations of a server, newest first.
async fn all(ctx: &Ctx, id: ServerId) -> Result<Vec<Operation>> {
    let running = ctx.state.operations_of_server(id);
    let mut found: Vec<Operation> = running.map(|o| Operation::clone(o)).collect();
    let past = ctx.app.store.list(Kind::PastOperation, &format!("{id}/"), None, 1_000, true).await?;
    for (_, doc) in past {
        found.push(serde_json::from_str(&doc).map_err(Error::internal)?);
    }
    found.sort_by_key(|o| (std::cmp::Reverse(o.created_at), o.id));
    found.dedup_by_key(|o| o.id);
    Ok(found)
}

fn brief(ctx: &Ctx, operation: &Operation) -> Value {
    let failed = operation.outcome.as_ref().is_some_and(|o| o.failure.is_some());
    let mut view = json!({
        "action": operation.action.name(),
        "instance_uuid": operation.server_id,
        "request_id": operation.request_id,
        "user_id": operation.user_id,
        "project_id": operation.project_id,
        "start_time": operation.created_at.iso_naive_us(),
        "message": failed.then_some("Error"),
    });
    if ctx.version.has(58) {
        view["updated_at"] = json!(operation.updated_at.unwrap_or(operation.created_at).iso_naive_us());
    }
    view
}

/// `GET /servers/{id}/os-instance-actions`
pub async fn list(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let ctx = ctx.asking(&INSTANCE_ACTIONS)?;
    let id = find(&ctx, &path).await?;
    let changed_when = ctx.query.changes()?;
    let mut operations = all(&ctx, id).await?;
    operations.retain(|o| changed_when.contains(&o.updated_at.unwrap_or(o.created_at)));
    // Before 2.58 there are no pages: all operations are shown.
    let (operations, more) = match ctx.version.has(58) {
        true => page::cut(operations, &ctx.query, |o| o.request_id.clone())?,
        false => (operations, false),
    };
    let views: Vec<Value> = operations.iter().map(|o| brief(&ctx, o)).collect();
    let mut body = json!({"instanceActions": views});
    if let Some(last) = operations.last().filter(|_| more) {
        let url = format!("{}/compute/v2.1/servers/{id}/os-instance-actions", ctx.url());
        body["links"] = json!([{"rel": "next", "href": page::next(&url, &ctx.query, &last.request_id)}]);
    }
    json(200, &body)
}

/// `GET /servers/{id}/os-instance-actions/{request}`
pub async fn show(ctx: Ctx, Path((id, request)): Path<(String, String)>) -> Handled {
    let id = find(&ctx, &id).await?;
    let found = all(&ctx, id).await?.into_iter().find(|o| o.request_id == request);
    let missing =
        || Error::not_found_text(format!("Action for request_id {request} on instance {id} not found"));
    let operation = found.ok_or_else(missing)?;
    let mut view = brief(&ctx, &operation);
    let admin = policy::check(&ctx.caller, Action::OperationReadHost, None).is_ok();
    if admin || ctx.version.has(51) {
        view["events"] = json!([event(&ctx, &operation, admin)]);
    }
    json(200, &json!({"instanceAction": view}))
}

fn event(ctx: &Ctx, operation: &Operation, admin: bool) -> Value {
    let outcome = operation.outcome.as_ref();
    let result = outcome.map(|o| if o.failure.is_some() { "Error" } else { "Success" });
    let mut event = json!({
        "event": operation.action.event(),
        "start_time": operation.created_at.iso_naive_us(),
        "finish_time": outcome.map(|o| o.at.iso_naive_us()),
        "result": result,
    });
    if admin {
        event["traceback"] = json!(outcome.and_then(|o| o.failure.as_ref()));
    }
    let host = operation.host_id.and_then(|id| ctx.state.hosts.get(&id));
    if ctx.version.has(62) {
        event["hostId"] = json!(host.map(|h| host_hash(h.id, operation.project_id)));
        if admin {
            event["host"] = json!(host.map(|h| &h.name));
        }
    }
    if ctx.version.has(84) {
        event["details"] = json!(outcome.and_then(|o| o.failure.as_ref()));
    }
    event
}
