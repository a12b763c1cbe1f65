//! Listings of servers: their order and pages.

use super::{
    past_server,
    server::user_data_of,
    server_filter::{Filter, Which, column},
};
use crate::{ctx::Ctx, fault::Handled, page, respond::json};
use lenticular_model::{
    ProjectId, ServerId, State,
    compute::server::Server,
    error::{Error, Result},
    index::ServerOrder,
};
use lenticular_wire::compute::{
    query::SERVERS,
    server::{Brief, Context, Full},
};
use serde::Serialize;
use serde_json::json;
use std::{cmp::Reverse, collections::BTreeMap, sync::Arc};

#[derive(Serialize)]
struct Listing<T> {
    servers: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers_links: Option<serde_json::Value>,
}

/// `GET /servers`
pub async fn brief(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&SERVERS)?;
    let (servers, next) = find(&ctx, "servers").await?;
    let context = context(&ctx, None);
    json(200, &Listing { servers: servers.iter().map(|s| Brief(context, s)).collect(), servers_links: next })
}

/// `GET /servers/detail`
pub async fn detail(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&SERVERS)?;
    let (servers, next) = find(&ctx, "servers/detail").await?;
    let user_data = user_data_of(&ctx, &servers).await?;
    let context = context(&ctx, Some(&user_data));
    json(200, &Listing { servers: servers.iter().map(|s| Full(context, s)).collect(), servers_links: next })
}

/// Other data that the view of a server needs.
pub fn context<'a>(ctx: &'a Ctx, user_data: Option<&'a BTreeMap<ServerId, String>>) -> Context<'a> {
    Context {
        state: &ctx.state,
        url: ctx.url(),
        version: ctx.version,
        admin: ctx.caller.is_admin(),
        user_data,
        single: false,
        changed: false,
    }
}

type Found = (Vec<Arc<Server>>, Option<serde_json::Value>);

async fn find(ctx: &Ctx, path: &str) -> Result<Found> {
    let filter = Filter::read(ctx)?;
    let sorted = sort_wanted(ctx)?;
    let (page, more) = match (filter.which, sorted) {
        (Which::Nothing, _) => (Vec::new(), false),
        // In the index's order, a page costs only its own length.
        (Which::Live, None) => {
            let limit = page::limit(&ctx.query)?;
            let behind = candidates(&ctx.state, filter.project, marker(ctx)?);
            let found = behind.filter(|s| filter.matches(&ctx.state, s)).take(limit + 1).cloned();
            let mut found: Vec<Arc<Server>> = found.collect();
            let more = found.len() > limit;
            found.truncate(limit);
            (found, more)
        }
        (which, sorted) => {
            let present = |s: &&Arc<Server>| which != Which::Deleted || s.reclaim_at.is_some();
            let mut found: Vec<Arc<Server>> = candidates(&ctx.state, filter.project, None)
                .filter(|s| present(s) && filter.matches(&ctx.state, s))
                .cloned()
                .collect();
            if which != Which::Live {
                found.extend(deleted(ctx, &filter).await?);
            }
            let keys = sorted.unwrap_or_default();
            let by_keys = |a: &Server, b: &Server| {
                keys.iter().map(|key| key.compare(&ctx.state, a, b)).find(|o| o.is_ne())
            };
            let newest = |s: &Server| (Reverse(s.created_at), Reverse(s.id));
            found.sort_by(|a, b| by_keys(a, b).unwrap_or_else(|| newest(a).cmp(&newest(b))));
            page::cut(found, &ctx.query, |s| s.id.to_string())?
        }
    };
    let next = next_link(ctx, path, &page, more);
    Ok((page, next))
}

fn next_link(ctx: &Ctx, path: &str, page: &[Arc<Server>], more: bool) -> Option<serde_json::Value> {
    let last = page.last().filter(|_| more)?;
    let url = format!("{}/compute/v2.1/{path}", ctx.url());
    Some(json!([{"rel": "next", "href": page::next(&url, &ctx.query, &last.id.to_string())}]))
}

fn marker(ctx: &Ctx) -> Result<Option<ServerOrder>> {
    let Some(text) = ctx.query.get("marker").filter(|m| !m.is_empty()) else { return Ok(None) };
    let server = text.parse().ok().and_then(|id: ServerId| ctx.state.servers.get(&id));
    let server = server.filter(|s| ctx.caller.sees(s.project_id));
    let server = server.ok_or_else(|| Error::invalid(format!("marker [{text}] not found")))?;
    Ok(Some((server.created_at, server.id)))
}

/// The servers of a project, or of all projects, newest first, after the marker.
fn candidates<'s>(
    state: &'s State,
    project: Option<ProjectId>,
    after: Option<ServerOrder>,
) -> Box<dyn Iterator<Item = &'s Arc<Server>> + 's> {
    match project {
        Some(project) => Box::new(state.servers_of_project(project, after)),
        None => Box::new(state.servers_newest_first(after)),
    }
}

/// Deleted servers, from the store. For a project they are read back to the filter's limit; only operators may
/// ask for all projects.
async fn deleted(ctx: &Ctx, filter: &Filter) -> Result<Vec<Arc<Server>>> {
    let mut found = Vec::new();
    let take = |server: Server| {
        if filter.matches(&ctx.state, &server) {
            found.push(Arc::new(server));
        }
    };
    match filter.project {
        Some(project) => {
            past_server::of_project_since(ctx, project, filter.since.unwrap_or_default(), take).await?
        }
        None => past_server::all(ctx, take).await?,
    }
    Ok(found)
}

/// A column to sort by.
struct SortKey {
    name: String,
    ascending: bool,
}

impl SortKey {
    fn compare(&self, state: &State, a: &Server, b: &Server) -> std::cmp::Ordering {
        let ordering = match self.name.as_str() {
            "updated_at" => a.updated_at.cmp(&b.updated_at),
            "launched_at" => a.launched_at.cmp(&b.launched_at),
            "terminated_at" => a.terminated_at.cmp(&b.terminated_at),
            "created_at" => a.created_at.cmp(&b.created_at),
            "project_id" => a.project_id.cmp(&b.project_id),
            "instance_type_id" => a.flavor_id.cmp(&b.flavor_id),
            "launch_index" => a.launch_index.cmp(&b.launch_index),
            "progress" => a.progress().cmp(&b.progress()),
            "locked" => a.locked.is_some().cmp(&b.locked.is_some()),
            "config_drive" => a.has_config_drive(state).cmp(&b.has_config_drive(state)),
            "auto_disk_config" => b.disk_config_manual.cmp(&a.disk_config_manual),
            // Keys that Nova accepts but does not sort by have no column here.
            name => column(name).map_or(std::cmp::Ordering::Equal, |of| of(state, a).cmp(&of(state, b))),
        };
        if self.ascending { ordering } else { ordering.reverse() }
    }
}

/// The requested order; `None` for the default order.
fn sort_wanted(ctx: &Ctx) -> Result<Option<Vec<SortKey>>> {
    let mut keys: Vec<&str> = ctx.query.all("sort_key").collect();
    let dirs: Vec<&str> = ctx.query.all("sort_dir").collect();
    if keys.is_empty() && dirs.is_empty() {
        return Ok(None);
    }
    if dirs.len() > keys.len().max(1) {
        return Err(Error::invalid("Sort direction size exceeds sort key size"));
    }
    if let Some(key) = keys.iter().find(|key| ["host", "node"].contains(*key) && !ctx.caller.is_admin()) {
        return Err(Error::forbidden(format!("Only administrators can sort servers by {key}")));
    }
    if keys.is_empty() {
        keys.push("created_at");
    }
    // Before that version, the key was accepted and ignored.
    let sorts = |name: &str| name != "locked" || ctx.version.has(73);
    let dir = |i: usize| dirs.get(i).or(dirs.first()).copied().unwrap_or("desc");
    let all = keys.iter().enumerate().filter(|(_, name)| sorts(name));
    let all = all.map(|(i, name)| SortKey { name: (*name).to_owned(), ascending: dir(i) == "asc" });
    let last =
        ["created_at", "uuid"].map(|name| SortKey { name: name.to_owned(), ascending: dir(0) == "asc" });
    Ok(Some(all.chain(last).collect()))
}
