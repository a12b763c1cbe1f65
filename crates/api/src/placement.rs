//! Placement: what hosts have and what servers take of it, always true; how often it is given out can be set.

use crate::{
    app::{json, App},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::{
    extract::{Path, State},
    routing::get,
    Router,
};
use lenticular_control::command::inventory::{self, Allotment, Class};
use lenticular_model::{
    error::{Error, Result},
    host::Host,
    policy::{self, Action, Caller},
    AggregateId, HostId, ProjectId, ServerId, Txn,
};
use lenticular_wire::placement as wire;
use serde_json::{json, Map, Value};
use std::{collections::BTreeSet, sync::Arc};

/// The routes.
pub fn routes() -> Router<App> {
    let paths = Router::new()
        .route("/resource_providers", get(providers))
        .route("/resource_providers/{id}", get(provider))
        .route("/resource_providers/{id}/inventories", get(inventories).put(set_inventories))
        .route("/resource_providers/{id}/inventories/{class}", get(inventory_of).put(set_inventory))
        .route("/resource_providers/{id}/usages", get(usages))
        .route("/resource_providers/{id}/allocations", get(allocations_on))
        .route("/resource_providers/{id}/aggregates", get(aggregates))
        .route("/resource_providers/{id}/traits", get(traits_of))
        .route("/allocations/{server}", get(allocations))
        .route("/usages", get(project_usages))
        .route("/resource_classes", get(classes))
        .route("/traits", get(traits));
    Router::new()
        .route("/placement", get(versions))
        .route("/placement/", get(versions))
        .nest("/placement", paths)
}

async fn versions(State(app): State<App>) -> Handled {
    json(200, &wire::versions(&app.config.public_url))
}

fn host(ctx: &Ctx, text: &str) -> Result<Arc<Host>> {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let found = text.parse().ok().and_then(|id: HostId| ctx.state.hosts.get(&id)).cloned();
    found.ok_or_else(|| Error::not_found_text(format!("No resource provider with uuid {text} found")))
}

async fn providers(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let wanted = |h: &&Arc<Host>| {
        ctx.query.get("name").is_none_or(|n| h.name == n)
            && ctx.query.get("uuid").is_none_or(|u| h.id.to_string() == u)
    };
    let list: Vec<Value> =
        ctx.state.hosts.values().filter(wanted).map(|h| wire::provider(h, ctx.version)).collect();
    json(200, &json!({ "resource_providers": list }))
}

async fn provider(ctx: Ctx, Path(id): Path<String>) -> Handled {
    json(200, &wire::provider(&*host(&ctx, &id)?, ctx.version))
}

async fn inventories(ctx: Ctx, Path(id): Path<String>) -> Handled {
    json(200, &wire::inventories(&*host(&ctx, &id)?))
}

async fn inventory_of(ctx: Ctx, Path((id, class)): Path<(String, String)>) -> Handled {
    json(200, &wire::one_inventory(&*host(&ctx, &id)?, &class)?)
}

fn allotment(host: &Host, class: &str, asked: &wire::SetInventory) -> Result<Allotment> {
    let class = Class::from_name(class).ok_or_else(|| wire::no_class(host, class))?;
    Ok(Allotment { class, total: asked.total, reserved: asked.reserved, ratio: asked.allocation_ratio })
}

/// Writes what operators decide of a host's resources.
async fn allot(ctx: &Ctx, id: HostId, generation: i64, all: Vec<Allotment>) -> Result<Arc<Host>> {
    let set = move |txn: &mut Txn<'_>, caller: &Caller| {
        inventory::set(txn, caller, id, |host| wire::generation(host) == generation, &all)?;
        txn.need::<Host>(&id, || Error::not_found("Resource provider", id))
    };
    ctx.commit("inventory update", set).await
}

async fn set_inventories(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let host = host(&ctx, &id)?;
    let (generation, asked) = wire::read_inventories(body)?;
    if let Some(left_out) = Class::ALL.iter().find(|class| !asked.contains_key(class.name())) {
        return Err(Error::invalid(format!(
            "A host's {} cannot be taken away: name VCPU, MEMORY_MB and DISK_GB (--amend), or set one class by itself.",
            left_out.name()
        ))
        .into());
    }
    let all: Result<Vec<Allotment>> = asked.iter().map(|(class, one)| allotment(&host, class, one)).collect();
    json(200, &wire::inventories(&*allot(&ctx, host.id, generation, all?).await?))
}

async fn set_inventory(ctx: Ctx, Path((id, class)): Path<(String, String)>, Json(body): Json) -> Handled {
    let host = host(&ctx, &id)?;
    let (generation, asked) = wire::read_inventory(body)?;
    let all = vec![allotment(&host, &class, &asked)?];
    json(200, &wire::one_inventory(&*allot(&ctx, host.id, generation, all).await?, &class)?)
}

async fn usages(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    json(200, &wire::usages(&ctx.state, &host))
}

async fn allocations_on(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    let from = (host.id, ServerId(Default::default()));
    let on = ctx.state.index.host_servers.range(from..).take_while(|(h, _)| *h == host.id);
    let all: Map<String, Value> = on
        .filter_map(|(_, id)| ctx.state.servers.get(id))
        .map(|s| (s.id.to_string(), json!({"resources": wire::resources(s)})))
        .collect();
    json(200, &json!({"allocations": all, "resource_provider_generation": wire::generation(&host)}))
}

async fn aggregates(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    let all: Vec<AggregateId> = ctx.state.index.aggregates_of(host.id).collect();
    let mut body = json!({ "aggregates": all });
    if ctx.version.has(19) {
        body["resource_provider_generation"] = json!(wire::generation(&host));
    }
    json(200, &body)
}

async fn traits_of(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    let mut all = host.hypervisor.traits();
    if !host.is_enabled() {
        all.push("COMPUTE_STATUS_DISABLED");
    }
    all.sort_unstable();
    json(200, &json!({"traits": all, "resource_provider_generation": wire::generation(&host)}))
}

async fn traits(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let classes = ctx.state.index.rooms.classes.iter();
    let mut all: BTreeSet<&str> = classes.flat_map(|(_, class)| class.hypervisor.traits()).collect();
    all.insert("COMPUTE_STATUS_DISABLED");
    json(200, &json!({ "traits": all }))
}

async fn classes(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let list: Vec<Value> = ["VCPU", "MEMORY_MB", "DISK_GB"]
        .iter()
        .map(|name| json!({"name": name, "links": [{"rel": "self", "href": format!("/placement/resource_classes/{name}")}]}))
        .collect();
    json(200, &json!({ "resource_classes": list }))
}

async fn allocations(ctx: Ctx, Path(id): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let server = id.parse().ok().and_then(|id: ServerId| ctx.state.servers.get(&id));
    let held = server.and_then(|s| Some((s, ctx.state.hosts.get(&s.host_id?)?)));
    let Some((server, host)) = held else { return json(200, &json!({"allocations": {}})) };
    let mut body = json!({"allocations": {
        host.id.to_string(): {"generation": wire::generation(host), "resources": wire::resources(server)},
    }});
    if ctx.version.has(12) {
        body["project_id"] = json!(server.project_id);
        body["user_id"] = json!(server.user_id);
    }
    if ctx.version.has(28) {
        body["consumer_generation"] = json!(server.disk.generation);
    }
    if ctx.version.has(38) {
        body["consumer_type"] = json!("INSTANCE");
    }
    json(200, &body)
}

async fn project_usages(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let project: ProjectId = ctx.query.get("project_id").and_then(|p| p.parse().ok()).ok_or_else(|| {
        Error::invalid("Badly formed querystring parameters: 'project_id' is a required property")
    })?;
    let used = ctx.state.index.project_usage.get(&project).copied().unwrap_or_default();
    json(200, &json!({"usages": {"VCPU": used.cores, "MEMORY_MB": used.ram}}))
}
