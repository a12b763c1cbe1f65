//! Listings of servers: filters, order and pages.

use super::{pattern::Pattern, server::user_data_of};
use crate::{app::json, ctx::Ctx, fault::Handled, page, query::Query};
use lenticular_control::command::server::ports;
use lenticular_model::{
    error::{Error, Result},
    index::ServerOrder,
    policy::{self, Action},
    server::{Server, Wanted},
    Kind, ProjectId, ServerId, State, Timestamp,
};
use lenticular_wire::compute::server::{Brief, Context, Full};
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
    let (servers, next) = find(&ctx, "servers").await?;
    let context = context(&ctx, None);
    json(200, &Listing { servers: servers.iter().map(|s| Brief(context, s)).collect(), servers_links: next })
}

/// `GET /servers/detail`
pub async fn detail(ctx: Ctx) -> Handled {
    let (servers, next) = find(&ctx, "servers/detail").await?;
    let user_data = user_data_of(&ctx, &servers).await?;
    let context = context(&ctx, Some(&user_data));
    json(200, &Listing { servers: servers.iter().map(|s| Full(context, s)).collect(), servers_links: next })
}

/// What a view needs beside the server.
pub fn context<'a>(ctx: &'a Ctx, user_data: Option<&'a BTreeMap<ServerId, String>>) -> Context<'a> {
    Context {
        state: &ctx.state,
        url: ctx.url(),
        version: ctx.version,
        admin: ctx.caller.is_admin(),
        user_data,
        single: false,
    }
}

type Found = (Vec<Arc<Server>>, Option<serde_json::Value>);

async fn find(ctx: &Ctx, path: &str) -> Result<Found> {
    let filter = Filter::read(ctx)?;
    let limit = page::limit(&ctx.query)?;
    let mut found: Vec<Arc<Server>> = Vec::new();
    if filter.deleted {
        found = deleted(ctx, &filter).await?;
    } else if let Some(sorted) = sort_wanted(&ctx.query)? {
        found.extend(
            candidates(&ctx.state, filter.project, None).filter(|s| filter.matches(&ctx.state, s)).cloned(),
        );
        found.sort_by(|a, b| {
            sorted.iter().map(|key| key.compare(a, b)).find(|o| o.is_ne()).unwrap_or(a.id.cmp(&b.id))
        });
        let (cut, more) = page::cut(found, &ctx.query, |s| s.id.to_string())?;
        return Ok((cut.clone(), next_link(ctx, path, &cut, more)));
    } else {
        // In the index's own order a page costs what it shows, not what there is.
        let marker = marker(ctx)?;
        let all = candidates(&ctx.state, filter.project, marker);
        found.extend(all.filter(|s| filter.matches(&ctx.state, s)).take(limit + 1).cloned());
    }
    let more = found.len() > limit;
    found.truncate(limit);
    let next = next_link(ctx, path, &found, more);
    Ok((found, next))
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
    Ok(Some((Reverse(server.created_at), Reverse(server.id))))
}

/// The servers of a project, or all, newest first, behind the marker.
fn candidates<'s>(
    state: &'s State,
    project: Option<ProjectId>,
    after: Option<ServerOrder>,
) -> Box<dyn Iterator<Item = &'s Arc<Server>> + 's> {
    use std::ops::Bound::{Excluded, Unbounded};
    let highest = (Reverse(Timestamp(i64::MAX)), Reverse(ServerId(uuid::Uuid::max())));
    match project {
        Some(project) => {
            let from = match after {
                Some(order) => Excluded((project, order)),
                None => std::ops::Bound::Included((project, highest)),
            };
            let range =
                state.index.project_servers.range((from, Unbounded)).take_while(move |(p, _)| *p == project);
            Box::new(range.filter_map(|(_, (_, Reverse(id)))| state.servers.get(id)))
        }
        None => {
            let from = after.map_or(Unbounded, Excluded);
            let range = state.index.server_order.range((from, Unbounded));
            Box::new(range.filter_map(|(_, Reverse(id))| state.servers.get(id)))
        }
    }
}

/// Servers that are gone, newest first, out of the store.
async fn deleted(ctx: &Ctx, filter: &Filter) -> Result<Vec<Arc<Server>>> {
    policy::check(&ctx.caller, Action::ServerReadAll, None)?;
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = ctx.app.store.list(Kind::PastServer, "", after.as_deref(), 1_000, false).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        for (_, doc) in &page {
            let server: Server = serde_json::from_str(doc).map_err(Error::internal)?;
            if filter.matches(&ctx.state, &server) {
                found.push(Arc::new(server));
            }
        }
    }
    found.sort_by_key(|s| (Reverse(s.created_at), Reverse(s.id)));
    Ok(found)
}

/// What a listing leaves out.
struct Filter {
    project: Option<ProjectId>,
    deleted: bool,
    name: Option<Pattern>,
    ids: Vec<String>,
    status: Vec<String>,
    image: Option<String>,
    flavor: Option<String>,
    host: Option<String>,
    user: Option<String>,
    zone: Option<String>,
    ip: Option<Pattern>,
    ip6: Option<Pattern>,
    key_name: Option<String>,
    reservation: Option<String>,
    vm_state: Option<String>,
    task_state: Option<String>,
    power_state: Option<u64>,
    locked: Option<bool>,
    description: Option<Pattern>,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    tags: Vec<(TagRule, Vec<String>)>,
    metadata: BTreeMap<String, String>,
}

#[derive(Clone, Copy)]
enum TagRule {
    All,
    Any,
    NotAll,
    NotAny,
}

impl Filter {
    fn read(ctx: &Ctx) -> Result<Self> {
        let query = &ctx.query;
        let admin = ctx.caller.is_admin();
        let all = query.flag("all_tenants")?.unwrap_or(false) || query.flag("all_projects")?.unwrap_or(false);
        if all {
            policy::check(&ctx.caller, Action::ServerReadAll, None)?;
        } else {
            policy::check(&ctx.caller, Action::ServerRead, None)?;
        }
        let text = |name: &str| query.get(name).filter(|v| !v.is_empty()).map(str::to_owned);
        let anywhere = |name: &str| text(name).map(|t| Pattern::anywhere(name, &t)).transpose();
        let at_start = |name: &str| text(name).map(|t| Pattern::at_start(name, &t)).transpose();
        // What only operators may filter by is ignored for others, as Nova has it.
        let operator = |name: &str| text(name).filter(|_| admin);
        let asked_project = operator("project_id").or_else(|| operator("tenant_id"));
        let project = match (&asked_project, all) {
            (Some(id), true) => {
                Some(id.parse().map_err(|_| Error::invalid(format!("Invalid project id {id}.")))?)
            }
            (None, true) => None,
            _ => Some(ctx.caller.need_project()?),
        };
        let time = |name: &str| match query.get(name) {
            None => Ok(None),
            Some(text) => Timestamp::parse(text).map(Some).ok_or_else(|| {
                Error::invalid(format!("Invalid input for query parameters {name}. Value: {text}."))
            }),
        };
        Ok(Self {
            project,
            deleted: admin && query.flag("deleted")?.unwrap_or(false),
            name: anywhere("name")?,
            ids: query.all("uuid").map(str::to_owned).collect(),
            status: query.all("status").map(str::to_ascii_uppercase).collect(),
            image: text("image").map(|i| i.rsplit('/').next().unwrap_or(&i).to_owned()),
            flavor: text("flavor").map(|f| f.rsplit('/').next().unwrap_or(&f).to_owned()),
            host: operator("host").or_else(|| operator("hypervisor_hostname")).or_else(|| operator("node")),
            user: operator("user_id"),
            zone: text("availability_zone"),
            ip: at_start("ip")?,
            ip6: at_start("ip6")?,
            key_name: text("key_name"),
            reservation: text("reservation_id"),
            vm_state: text("vm_state"),
            task_state: text("task_state"),
            power_state: if query.get("power_state").is_some() { query.number("power_state")? } else { None },
            locked: if ctx.version.has(73) { query.flag("locked")? } else { None },
            description: anywhere("description")?,
            since: time("changes-since")?,
            before: if ctx.version.has(66) { time("changes-before")? } else { None },
            tags: if ctx.version.has(26) { tags(query) } else { Vec::new() },
            metadata: match text("metadata") {
                Some(json) => serde_json::from_str(&json).map_err(|_| {
                    Error::invalid("Invalid input for query parameters metadata: it must be JSON.")
                })?,
                None => BTreeMap::new(),
            },
        })
    }

    fn matches(&self, state: &State, server: &Server) -> bool {
        self.project.is_none_or(|p| server.project_id == p)
            && self.by_words(server)
            && self.by_state(server)
            && self.by_place(state, server)
            && self.tags.iter().all(|(rule, tags)| rule.holds(tags, server))
            && self.metadata.iter().all(|(k, v)| server.metadata.get(k) == Some(v))
    }

    fn by_words(&self, server: &Server) -> bool {
        let found = |wanted: &Option<Pattern>, text: &str| wanted.as_ref().is_none_or(|w| w.matches(text));
        found(&self.name, &server.name)
            && found(&self.description, server.description.as_deref().unwrap_or(""))
            && (self.ids.is_empty() || self.ids.iter().any(|id| *id == server.id.to_string()))
            && self.key_name.as_ref().is_none_or(|k| server.key.as_ref().is_some_and(|key| key.name == *k))
            && self.reservation.as_ref().is_none_or(|r| *server.reservation_id == **r)
            && self.user.as_ref().is_none_or(|u| server.user_id.to_string() == *u)
            && self.image.as_ref().is_none_or(|i| server.image_id.to_string() == *i)
            && self.flavor.as_ref().is_none_or(|f| server.flavor_id.as_str() == f)
    }

    fn by_state(&self, server: &Server) -> bool {
        let changed = server.updated_at.unwrap_or(server.created_at);
        let task = server.task.as_ref().map(|t| t.action.task_state());
        (self.status.is_empty() || self.status.iter().any(|s| s == server.status()))
            && self.vm_state.as_ref().is_none_or(|v| server.vm_state() == v)
            && self.task_state.as_ref().is_none_or(|t| task == Some(t.as_str()))
            && self.power_state.is_none_or(|p| u64::from(server.power_state()) == p)
            && self.locked.is_none_or(|l| server.locked.is_some() == l)
            && self.since.is_none_or(|t| changed >= t)
            && self.before.is_none_or(|t| changed <= t)
            && (!self.deleted || server.wanted == Wanted::Absent)
    }

    fn by_place(&self, state: &State, server: &Server) -> bool {
        let host = || server.host_id.and_then(|id| state.hosts.get(&id));
        let address = |wanted: &Pattern, v4: bool| {
            let mut all = ports(state, server.id).flat_map(|port| &port.fixed_ips).map(|ip| ip.ip_address);
            all.any(|ip| ip.is_ipv4() == v4 && wanted.matches(&ip.to_string()))
        };
        self.host.as_ref().is_none_or(|name| host().is_some_and(|h| h.name == *name))
            && self.zone.as_ref().is_none_or(|zone| host().is_some_and(|h| h.zone == *zone))
            && self.ip.as_ref().is_none_or(|ip| address(ip, true))
            && self.ip6.as_ref().is_none_or(|ip| address(ip, false))
    }
}

fn tags(query: &Query) -> Vec<(TagRule, Vec<String>)> {
    let rules = [
        ("tags", TagRule::All),
        ("tags-any", TagRule::Any),
        ("not-tags", TagRule::NotAll),
        ("not-tags-any", TagRule::NotAny),
    ];
    let read =
        |name: &str| query.get(name).map(|list| list.split(',').map(str::to_owned).collect::<Vec<_>>());
    rules.iter().filter_map(|(name, rule)| Some((*rule, read(name)?))).collect()
}

impl TagRule {
    fn holds(self, tags: &[String], server: &Server) -> bool {
        let all = || tags.iter().all(|t| server.tags.contains(t));
        let any = || tags.iter().any(|t| server.tags.contains(t));
        match self {
            TagRule::All => all(),
            TagRule::Any => any(),
            TagRule::NotAll => !all(),
            TagRule::NotAny => !any(),
        }
    }
}

struct SortKey {
    name: String,
    ascending: bool,
}

impl SortKey {
    fn compare(&self, a: &Server, b: &Server) -> std::cmp::Ordering {
        let ordering = match self.name.as_str() {
            "display_name" | "name" => a.name.cmp(&b.name),
            "uuid" | "id" => a.id.cmp(&b.id),
            "updated_at" => a.updated_at.cmp(&b.updated_at),
            "launched_at" => a.launched_at.cmp(&b.launched_at),
            "vm_state" => a.vm_state().cmp(b.vm_state()),
            "power_state" => a.power_state().cmp(&b.power_state()),
            "host" | "node" => a.host_id.cmp(&b.host_id),
            "user_id" => a.user_id.cmp(&b.user_id),
            "project_id" => a.project_id.cmp(&b.project_id),
            "image_ref" => a.image_id.cmp(&b.image_id),
            "instance_type_id" => a.flavor_id.cmp(&b.flavor_id),
            "key_name" => a.key.as_ref().map(|k| &k.name).cmp(&b.key.as_ref().map(|k| &k.name)),
            "launch_index" => a.launch_index.cmp(&b.launch_index),
            "hostname" => a.hostname.cmp(&b.hostname),
            _ => a.created_at.cmp(&b.created_at),
        };
        if self.ascending {
            ordering
        } else {
            ordering.reverse()
        }
    }
}

const SORT_KEYS: &[&str] = &[
    "display_name",
    "name",
    "uuid",
    "id",
    "updated_at",
    "launched_at",
    "vm_state",
    "power_state",
    "host",
    "node",
    "user_id",
    "project_id",
    "image_ref",
    "instance_type_id",
    "key_name",
    "launch_index",
    "hostname",
    "created_at",
    "access_ip_v4",
    "access_ip_v6",
    "auto_disk_config",
    "availability_zone",
    "config_drive",
    "display_description",
    "locked",
    "locked_by",
    "progress",
    "root_device_name",
    "task_state",
    "terminated_at",
];

/// The order asked for; `None` for the usual one.
fn sort_wanted(query: &Query) -> Result<Option<Vec<SortKey>>> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let dirs: Vec<&str> = query.all("sort_dir").collect();
    if keys.is_empty() && dirs.is_empty() {
        return Ok(None);
    }
    if let Some(bad) = keys.iter().find(|k| !SORT_KEYS.contains(k)) {
        return Err(Error::invalid(format!("Invalid input for query parameters sort_key. Value: {bad}.")));
    }
    if let Some(bad) = dirs.iter().find(|d| !["asc", "desc"].contains(d)) {
        return Err(Error::invalid(format!("Invalid input for query parameters sort_dir. Value: {bad}.")));
    }
    let keys = if keys.is_empty() { vec!["created_at"] } else { keys };
    let dir = |i: usize| dirs.get(i).or(dirs.last()).copied().unwrap_or("desc");
    let all = keys
        .iter()
        .enumerate()
        .map(|(i, name)| SortKey { name: (*name).to_owned(), ascending: dir(i) == "asc" });
    Ok(Some(all.collect()))
}
