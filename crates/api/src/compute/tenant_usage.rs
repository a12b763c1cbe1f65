//! Usage of projects (`os-simple-tenant-usage`), from the records of servers and of past servers.

use super::past_server;
use crate::{ctx::Ctx, fault::Handled, page, respond::json};
use axum::extract::Path;
use lenticular_model::{
    ProjectId, Timestamp,
    compute::server::Server,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::compute::{
    query::TENANT_USAGE,
    tenant_usage::{Period, usage},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// `GET /os-simple-tenant-usage`
pub async fn list(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&TENANT_USAGE)?;
    policy::check(&ctx.caller, Action::TenantUsageReadAll, None)?;
    let period = period(&ctx)?;
    let mut found: Vec<Arc<Server>> = ctx.state.servers.values().cloned().collect();
    past_server::of_all_since(&ctx, period.start, |server| found.push(Arc::new(server))).await?;
    let (page, next) = cut(&ctx, found, period, "os-simple-tenant-usage")?;
    let mut projects: BTreeMap<ProjectId, Vec<&Server>> = BTreeMap::new();
    for server in &page {
        projects.entry(server.project_id).or_default().push(server);
    }
    let detailed = ctx.query.get("detailed") == Some("1");
    let now = ctx.app.now();
    let usages: Vec<Value> =
        projects.iter().map(|(project, servers)| usage(*project, servers, period, now, detailed)).collect();
    let mut body = json!({ "tenant_usages": usages });
    if let Some(next) = next {
        body["tenant_usages_links"] = next;
    }
    json(200, &body)
}

/// `GET /os-simple-tenant-usage/{project}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&TENANT_USAGE)?;
    let project: Option<ProjectId> = text.parse().ok();
    policy::check(&ctx.caller, Action::TenantUsageRead, Some(project.unwrap_or_default()))?;
    let period = period(&ctx)?;
    // As in Nova, a project without servers in the period has no usage, and neither has an unknown project.
    let Some(project) = project else { return json(200, &json!({"tenant_usage": {}})) };
    let mut found: Vec<Arc<Server>> = ctx.state.servers_of_project(project, None).cloned().collect();
    past_server::of_project_since(&ctx, project, period.start, |server| found.push(Arc::new(server))).await?;
    let (page, next) = cut(&ctx, found, period, &format!("os-simple-tenant-usage/{project}"))?;
    let servers: Vec<&Server> = page.iter().map(|server| &**server).collect();
    let mut body = match servers.is_empty() {
        true => json!({"tenant_usage": {}}),
        false => json!({"tenant_usage": usage(project, &servers, period, ctx.app.now(), true)}),
    };
    if let Some(next) = next {
        body["tenant_usage_links"] = next;
    }
    json(200, &body)
}

fn period(ctx: &Ctx) -> Result<Period> {
    let time = |name: &str| match ctx.query.get(name) {
        None => Ok(ctx.app.now()),
        Some(text) => Timestamp::parse(text).ok_or_else(|| {
            Error::invalid(format!(
                "Invalid input for query parameters {name}. Value: {text}. It must be a time."
            ))
        }),
    };
    let (start, stop) = (time("start")?, time("end")?);
    match start > stop {
        true => Err(Error::invalid("Invalid start time. The start time cannot occur after the end time.")),
        false => Ok(Period { start, stop }),
    }
}

/// The servers of the period in the order of their ids; from 2.40 on one page of them, with the link to the next.
fn cut(
    ctx: &Ctx,
    mut found: Vec<Arc<Server>>,
    period: Period,
    path: &str,
) -> Result<(Vec<Arc<Server>>, Option<Value>)> {
    found.retain(|server| period.has(server));
    found.sort_by_key(|server| server.id);
    if !ctx.version.has(40) {
        return Ok((found, None));
    }
    let (page, more) = page::cut(found, &ctx.query, |server| server.id.to_string())?;
    let next = page.last().filter(|_| more).map(|last| {
        let url = format!("{}/compute/v2.1/{path}", ctx.url());
        json!([{"rel": "next", "href": page::next(&url, &ctx.query, &last.id.to_string())}])
    });
    Ok((page, next))
}
