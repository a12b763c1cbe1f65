//! Placement: hosts' inventories and servers' allocations, derived from State. Operators can set the allocation
//! ratios.

use crate::{
    app::App,
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
    routes::{Routes, get, post},
};
use axum::extract::{Path, State};
use lenticular_control::command::host::inventory::{self, Allotment, Class};
use lenticular_model::{
    AggregateId, HostId, ProjectId, ServerId, Txn,
    compute::server::Server,
    error::{Error, Result},
    host::host::Host,
    policy::{self, Action, Caller},
};
use lenticular_wire::{
    placement::{
        self as wire, candidates as wire_candidates,
        group::{Group, has_room},
    },
    request::text_bool,
};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// The routes: every URL and method of Placement's API, including the changes of derived resources.
pub fn routes() -> Routes<App> {
    let paths = Routes::new()
        .route("/resource_providers", get(providers).post(derived))
        .route("/resource_providers/{id}", get(provider).put(derived).delete(derived))
        .route(
            "/resource_providers/{id}/inventories",
            get(inventories).put(set_inventories).post(derived).delete(derived),
        )
        .route(
            "/resource_providers/{id}/inventories/{class}",
            get(inventory_of).put(set_inventory).delete(derived),
        )
        .route("/resource_providers/{id}/usages", get(usages))
        .route("/resource_providers/{id}/allocations", get(allocations_on))
        .route("/resource_providers/{id}/aggregates", get(aggregates).put(derived))
        .route("/resource_providers/{id}/traits", get(traits_of).put(derived).delete(derived))
        .route("/allocations", post(derived))
        .route("/allocations/{server}", get(allocations).put(derived).delete(derived))
        .route("/allocation_candidates", get(candidates))
        .route("/usages", get(project_usages))
        .route("/resource_classes", get(classes).post(derived))
        .route("/resource_classes/{name}", get(class).put(derived).delete(derived))
        .route("/traits", get(traits))
        .route("/traits/{name}", get(one_trait).put(derived).delete(derived))
        .route("/reshaper", post(derived));
    Routes::new()
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

/// Refuses a change of a derived resource.
async fn derived(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementWrite, None)?;
    Err(Error::forbidden(
        "Resource providers, their traits and aggregates, and allocations follow from this cloud's hosts, aggregates and \
         servers, and cannot be written. What can be set is the allocation_ratio and the reserved amount of inventories.",
    )
    .into())
}

/// Refuses query parameters that the version does not have; each is listed with its first version.
fn check_query(ctx: &Ctx, known: &[(&str, u16)]) -> Result<()> {
    let is_known = |name: &str| known.iter().any(|(n, since)| *n == name && ctx.version.has(*since));
    let unknown = ctx.query.0.iter().find(|(name, _)| !is_known(name));
    unknown.map_or(Ok(()), |(name, _)| {
        Err(wire::bad_query(&format!("Additional properties are not allowed ('{name}' was unexpected)")))
    })
}

/// `GET /resource_providers`
async fn providers(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let parts = [("member_of", 3), ("resources", 4), ("in_tree", 14), ("required", 18)];
    check_query(&ctx, &[&[("name", 0), ("uuid", 0)], &parts[..]].concat())?;
    let mut group = Group::default();
    for (part, _) in parts {
        let values: Vec<&str> = ctx.query.all(part).collect();
        if !values.is_empty() {
            group.read(&ctx.state, part, &values, ctx.version)?;
        }
    }
    let uuid = ctx.query.get("uuid").map(|text| {
        text.parse::<HostId>().map_err(|_| wire::bad_query(&format!("'{text}' is not a 'uuid'")))
    });
    let uuid = uuid.transpose()?;
    let wanted = |h: &&Arc<Host>| {
        ctx.query.get("name").is_none_or(|n| h.name == n)
            && uuid.is_none_or(|id| h.id == id)
            && group.is_met_by(&ctx.state, h)
            && has_room(&ctx.state, h, &group.resources)
    };
    let list: Vec<Value> =
        ctx.state.hosts.values().filter(wanted).map(|h| wire::provider(h, ctx.version)).collect();
    json(200, &json!({ "resource_providers": list }))
}

/// `GET /allocation_candidates`, from 1.10 on.
async fn candidates(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    if !ctx.version.has(10) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let asked = wire_candidates::read(&ctx.state, &ctx.query.0, ctx.version)?;
    json(200, &asked.answer(&ctx.state, ctx.version))
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

/// Writes an operator's settings for a host's resources.
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
    let all: Map<String, Value> = ctx
        .state
        .servers_on_host(host.id)
        .map(|s| (s.id.to_string(), json!({"resources": wire::resources(s)})))
        .collect();
    json(200, &json!({"allocations": all, "resource_provider_generation": wire::generation(&host)}))
}

async fn aggregates(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    let all: Vec<AggregateId> = ctx.state.aggregate_ids_of_host(host.id).collect();
    let mut body = json!({ "aggregates": all });
    if ctx.version.has(19) {
        body["resource_provider_generation"] = json!(wire::generation(&host));
    }
    json(200, &body)
}

async fn traits_of(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let host = host(&ctx, &id)?;
    json(
        200,
        &json!({"traits": wire::traits(&ctx.state, &host), "resource_provider_generation": wire::generation(&host)}),
    )
}

/// `GET /traits`: the traits of hosts, and the trait of disabled hosts.
async fn traits(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    check_query(&ctx, &[("name", 6), ("associated", 6)])?;
    let classes = ctx.state.host_table().classes.iter();
    let mut all: BTreeSet<&str> = classes.flat_map(|(_, class)| class.hypervisor.traits()).collect();
    all.insert("COMPUTE_STATUS_DISABLED");
    if let Some(text) = ctx.query.get("associated") {
        let wanted = text_bool(text).ok_or_else(|| {
            wire::bad_query(&format!("the value of associated must be true or false, not {text}"))
        })?;
        let hosts = ctx.state.hosts.values();
        let given: BTreeSet<&str> = hosts.flat_map(|host| wire::traits(&ctx.state, host)).collect();
        all.retain(|name| given.contains(name) == wanted);
    }
    if let Some(text) = ctx.query.get("name") {
        match (text.strip_prefix("startswith:"), text.strip_prefix("in:")) {
            (Some(start), _) => all.retain(|name| name.starts_with(start)),
            (_, Some(list)) => all.retain(|name| list.split(',').any(|one| one == *name)),
            _ => {
                return Err(Error::invalid(format!(
                    "Badly formatted name parameter. Expected name query string parameter in form: \
                     ?name=[in|startswith]:[name1,name2|prefix]. Got: \"{text}\""
                ))
                .into());
            }
        }
    }
    json(200, &json!({ "traits": all }))
}

/// `GET /traits/{name}`
async fn one_trait(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    match wire::has_trait(&ctx.state, &name) {
        true => empty(204),
        false => Err(Error::not_found_text(format!("No such trait(s): {name}.")).into()),
    }
}

fn class_view(name: &str) -> Value {
    let href = format!("/placement/resource_classes/{name}");
    json!({"name": name, "links": [{"rel": "self", "href": href}]})
}

async fn classes(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    let list: Vec<Value> = wire::CLASSES.iter().map(|name| class_view(name)).collect();
    json(200, &json!({ "resource_classes": list }))
}

/// `GET /resource_classes/{name}`
async fn class(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    match wire::CLASSES.contains(&name.as_str()) {
        true => json(200, &class_view(&name)),
        false => Err(Error::not_found_text(format!("No such resource class {name}.")).into()),
    }
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
        body["consumer_generation"] = json!(ctx.state.generation_of_server(server.id));
    }
    if ctx.version.has(38) {
        body["consumer_type"] = json!("INSTANCE");
    }
    json(200, &body)
}

/// `GET /usages`: the usage of a project's servers, or of one user's servers in it.
async fn project_usages(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::PlacementRead, None)?;
    check_query(&ctx, &[("project_id", 9), ("user_id", 9), ("consumer_type", 38)])?;
    let project: ProjectId = ctx.query.get("project_id").and_then(|p| p.parse().ok()).ok_or_else(|| {
        Error::invalid("Badly formed querystring parameters: 'project_id' is a required property")
    })?;
    let user = ctx.query.get("user_id");
    let is_theirs = |s: &&Arc<Server>| {
        s.project_id == project
            && s.host_id.is_some()
            && user.is_none_or(|user| s.user_id.to_string() == user)
    };
    let (mut usages, mut count) = (BTreeMap::<String, u64>::new(), 0_u64);
    for server in ctx.state.servers.values().filter(is_theirs) {
        count += 1;
        for (class, amount) in wire::amounts(server) {
            *usages.entry(class.to_owned()).or_default() += amount;
        }
    }
    if !ctx.version.has(38) {
        return json(200, &json!({ "usages": usages }));
    }
    // All consumers are servers, and have one consumer type.
    let kind = match ctx.query.get("consumer_type") {
        None | Some("INSTANCE") => "INSTANCE",
        Some("all") => "all",
        Some(_) => return json(200, &json!({"usages": {}})),
    };
    if count == 0 {
        return json(200, &json!({"usages": {}}));
    }
    usages.insert("consumer_count".to_owned(), count);
    json(200, &json!({"usages": {kind: usages}}))
}
