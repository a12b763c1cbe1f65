//! Flavors.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    query::Query,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::flavor::{self, NewFlavor};
use lenticular_model::{
    FlavorId, ProjectId,
    compute::flavor::{Flavor, Size},
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{extra_specs, flavor as wire, query},
    microversion::{Field, since},
    request::{self, de_bool, de_number},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

/// Sorts by the requested columns, then by id.
fn sort(found: &mut [Arc<Flavor>], query: &Query) -> Result<()> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let dirs: Vec<&str> = query.all("sort_dir").collect();
    if dirs.len() > keys.len().max(1) {
        return Err(Error::invalid("Sort direction size exceeds sort key size"));
    }
    let dir = |i: usize| dirs.get(i).or(dirs.first()).copied().unwrap_or("asc");
    let keys = keys.iter().copied().chain(["flavorid"]).enumerate();
    let keys: Vec<(&str, bool)> = keys.map(|(i, key)| (key, dir(i) == "desc")).collect();
    found.sort_by(|a, b| {
        let ordered = keys.iter().map(|(key, down)| match down {
            true => compare(key, b, a),
            false => compare(key, a, b),
        });
        ordered.into_iter().find(|o| o.is_ne()).unwrap_or(Ordering::Equal)
    });
    Ok(())
}

fn compare(key: &str, a: &Flavor, b: &Flavor) -> Ordering {
    match key {
        "name" => a.name.cmp(&b.name),
        "description" => a.description.cmp(&b.description),
        "memory_mb" => a.size.ram_mb.cmp(&b.size.ram_mb),
        "vcpus" => a.size.vcpus.cmp(&b.size.vcpus),
        "root_gb" => a.size.disk_gb.cmp(&b.size.disk_gb),
        "ephemeral_gb" => a.size.ephemeral_gb.cmp(&b.size.ephemeral_gb),
        "swap" => a.size.swap_mb.cmp(&b.size.swap_mb),
        "rxtx_factor" => a.rxtx_factor.total_cmp(&b.rxtx_factor),
        "is_public" => a.is_public.cmp(&b.is_public),
        "created_at" => a.created_at.cmp(&b.created_at),
        "updated_at" => a.updated_at.cmp(&b.updated_at),
        "flavorid" | "id" => a.id.cmp(&b.id),
        // Nova's other columns have the same value for every flavor here.
        _ => Ordering::Equal,
    }
}

fn find(ctx: &Ctx) -> Result<(Vec<Arc<Flavor>>, Option<Value>)> {
    let query = &ctx.query;
    let admin = ctx.caller.is_admin();
    // For admins, `is_public=None` shows all flavors. Other users see public flavors, and flavors that they have
    // access to.
    let public = match query.get("is_public").map(str::to_ascii_lowercase).as_deref() {
        Some("none") if admin => None,
        Some(_) if admin => query.flag("is_public")?,
        _ => Some(true),
    };
    let given = |f: &Flavor| ctx.caller.project_id().is_some_and(|p| f.access.contains(&p));
    let min_disk = query.number("minDisk")?.unwrap_or(0);
    let min_ram = query.number("minRam")?.unwrap_or(0);
    let wanted = |f: &&Arc<Flavor>| {
        public.is_none_or(|p| f.is_public == p || (p && given(f)))
            && u64::from(f.size.disk_gb) >= min_disk
            && u64::from(f.size.ram_mb) >= min_ram
    };
    let mut found: Vec<Arc<Flavor>> = ctx.state.flavors.values().filter(wanted).cloned().collect();
    sort(&mut found, query)?;
    let (found, more) = page::cut(found, query, |f| f.id.to_string())?;
    let next = found.last().filter(|_| more).map(|last| {
        let url = format!("{}/compute/v2.1/flavors", ctx.url());
        json!([{"rel": "next", "href": page::next(&url, query, last.id.as_str())}])
    });
    Ok((found, next))
}

fn answer(flavors: Vec<Value>, next: Option<Value>) -> Handled {
    let mut body = json!({ "flavors": flavors });
    if let Some(next) = next {
        body["flavors_links"] = next;
    }
    json(200, &body)
}

/// `GET /flavors`
pub async fn list(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::FLAVORS)?;
    let (found, next) = find(&ctx)?;
    answer(found.iter().map(|f| wire::brief(ctx.url(), f, ctx.version)).collect(), next)
}

fn with_specs(ctx: &Ctx) -> bool {
    policy::check(&ctx.caller, Action::FlavorSpecsRead, None).is_ok()
}

/// `GET /flavors/detail`
pub async fn detail(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::FLAVORS)?;
    let (found, next) = find(&ctx)?;
    let specs = with_specs(&ctx);
    answer(found.iter().map(|f| wire::full(ctx.url(), f, ctx.version, specs)).collect(), next)
}

fn show_one(ctx: &Ctx, flavor: &Flavor) -> Handled {
    json(200, &json!({"flavor": wire::full(ctx.url(), flavor, ctx.version, with_specs(ctx))}))
}

/// `GET /flavors/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    show_one(&ctx, &*ctx.state.visible::<Flavor>(&ctx.caller, &id.as_str().into())?)
}

const FIELDS: &[Field] = &[since("description", 55)];

/// Nova's longest description, in characters.
const DESCRIPTION_MAX: usize = 65_535;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CreateFlavor {
    name: String,
    #[serde(default)]
    id: Option<Value>,
    #[serde(deserialize_with = "de_number")]
    ram: u32,
    #[serde(deserialize_with = "de_number")]
    vcpus: u32,
    #[serde(deserialize_with = "de_number")]
    disk: u32,
    #[serde(rename = "OS-FLV-EXT-DATA:ephemeral", default, deserialize_with = "de_number")]
    ephemeral: u32,
    #[serde(default, deserialize_with = "de_number")]
    swap: u32,
    #[serde(default = "one", deserialize_with = "factor")]
    rxtx_factor: f64,
    #[serde(rename = "os-flavor-access:is_public", default = "yes", deserialize_with = "de_bool")]
    is_public: bool,
    #[serde(default)]
    description: Option<String>,
}

fn one() -> f64 {
    1.0
}

fn yes() -> bool {
    true
}

fn factor<'de, D: serde::Deserializer<'de>>(d: D) -> std::result::Result<f64, D::Error> {
    let value = Value::deserialize(d)?;
    let number = value.as_f64().or_else(|| value.as_str()?.parse().ok());
    number
        .filter(|n| *n > 0.0 && n.is_finite())
        .ok_or_else(|| serde::de::Error::custom("rxtx_factor must be above 0"))
}

/// `POST /flavors`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = request::sole(body, "flavor")?;
    request::check_version(&fields, FIELDS, ctx.version)?;
    let asked: CreateFlavor = request::read(fields)?;
    request::check_name("name", &asked.name)?;
    request::check_description(asked.description.as_deref().unwrap_or_default(), DESCRIPTION_MAX)?;
    if asked.ram == 0 || asked.vcpus == 0 {
        return Err(
            Error::invalid("Invalid input for field/attribute ram or vcpus. It must be 1 or more.").into()
        );
    }
    let id = match &asked.id {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) if text == "auto" => None,
        Some(Value::String(text)) => Some(flavor_id(text)?),
        Some(Value::Number(number)) => Some(flavor_id(&number.to_string())?),
        Some(other) => {
            return Err(
                Error::invalid(format!("Invalid input for field/attribute id. Value: {other}.")).into()
            );
        }
    };
    let new = NewFlavor {
        id,
        name: asked.name,
        description: asked.description,
        size: Size {
            vcpus: asked.vcpus,
            ram_mb: asked.ram,
            disk_gb: asked.disk,
            ephemeral_gb: asked.ephemeral,
            swap_mb: asked.swap,
            image_gb: 0,
        },
        is_public: asked.is_public,
        rxtx_factor: asked.rxtx_factor,
    };
    let made = ctx
        .commit("flavor create", move |txn, caller| {
            let id = flavor::create(txn, caller, new)?;
            txn.visible::<Flavor>(caller, &id)
        })
        .await?;
    show_one(&ctx, &made)
}

fn flavor_id(text: &str) -> Result<FlavorId> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ' ');
    if text.is_empty() || text.len() > 255 || !text.chars().all(legal) || text.trim() != text {
        return Err(Error::invalid(format!("Invalid input for field/attribute id. Value: {text}.")));
    }
    Ok(text.into())
}

/// `PUT /flavors/{id}`: changes the description, from 2.55.
pub async fn update(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Update {
        description: Option<String>,
    }
    if !ctx.version.has(55) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let asked: Update = request::read(request::sole(body, "flavor")?)?;
    request::check_description(asked.description.as_deref().unwrap_or_default(), DESCRIPTION_MAX)?;
    let id = FlavorId::from(id.as_str());
    let made = ctx
        .commit("flavor update", move |txn, caller| {
            flavor::edit(txn, caller, &id, |f| {
                f.description = asked.description;
                Ok(())
            })?;
            txn.visible::<Flavor>(caller, &id)
        })
        .await?;
    show_one(&ctx, &made)
}

/// `DELETE /flavors/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    ctx.commit("flavor delete", move |txn, caller| flavor::delete(txn, caller, &id.as_str().into())).await?;
    empty(202)
}

/// `POST /flavors/{id}/action`
pub async fn act(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    // The policy check comes first: a caller without the right must not learn which projects exist.
    policy::check(&ctx.caller, Action::FlavorAccess, None)?;
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Access {
        tenant: String,
    }
    let given = body.get("addTenantAccess").is_some();
    let action = if given { "addTenantAccess" } else { "removeTenantAccess" };
    if body.as_object().is_some_and(|actions| actions.len() > 1) {
        return Err(Error::invalid("The request's body must name exactly one action.").into());
    }
    let asked: Access = request::read(request::sole(body, action)?)?;
    let project: ProjectId = asked
        .tenant
        .parse()
        .ok()
        .filter(|p| ctx.state.projects.contains_key(p))
        .ok_or_else(|| Error::invalid("Project ID is not a valid project."))?;
    let id = FlavorId::from(id.as_str());
    let flavor = ctx
        .commit("flavor access", move |txn, caller| {
            flavor::set_access(txn, caller, &id, project, given)?;
            txn.visible::<Flavor>(caller, &id)
        })
        .await?;
    access_of(&flavor)
}

fn access_of(flavor: &Flavor) -> Handled {
    let list: Vec<Value> =
        flavor.access.iter().map(|p| json!({"flavor_id": flavor.id, "tenant_id": p})).collect();
    json(200, &json!({ "flavor_access": list }))
}

/// `GET /flavors/{id}/os-flavor-access`
pub async fn access(ctx: Ctx, Path(id): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::FlavorAccess, None)?;
    let flavor = ctx.state.visible::<Flavor>(&ctx.caller, &id.as_str().into())?;
    if flavor.is_public {
        return Err(Error::not_found_text("Access list not available for public flavors.").into());
    }
    access_of(&flavor)
}

/// `GET /flavors/{id}/os-extra_specs`
pub async fn specs(ctx: Ctx, Path(id): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::FlavorSpecsRead, None)?;
    let flavor = ctx.state.visible::<Flavor>(&ctx.caller, &id.as_str().into())?;
    json(200, &json!({"extra_specs": *flavor.extra_specs}))
}

/// Reads the extra specs of a body. From the version that does so in Nova, they are checked against Nova's
/// catalogue.
fn known_specs(ctx: &Ctx, value: Value) -> Result<BTreeMap<String, String>> {
    let new = read_specs(value)?;
    if ctx.version.has(86) {
        new.iter().try_for_each(|(name, value)| extra_specs::check(name, value))?;
    }
    Ok(new)
}

fn read_specs(value: Value) -> Result<BTreeMap<String, String>> {
    let bad = |why: String| Error::invalid(format!("Invalid input for field/attribute extra_specs: {why}."));
    let map: BTreeMap<String, Value> = request::read_value("extra_specs", value)?;
    let text = |(key, value): (String, Value)| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | ' ');
        if key.is_empty() || key.len() > 255 || !key.chars().all(legal) {
            return Err(bad(format!("the key {key:?} is not allowed")));
        }
        match value {
            Value::String(s) if s.len() <= 255 => Ok((key, s)),
            Value::Number(n) => Ok((key, n.to_string())),
            _ => Err(bad(format!("the value of {key} must be a text of at most 255 characters"))),
        }
    };
    map.into_iter().map(text).collect()
}

/// `POST /flavors/{id}/os-extra_specs`
pub async fn add_specs(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::FlavorWrite, None)?;
    let new = known_specs(&ctx, request::sole_value(body, "extra_specs")?)?;
    let shown = new.clone();
    ctx.commit("flavor extra specs", move |txn, caller| {
        flavor::edit_specs(txn, caller, &id.as_str().into(), |map| {
            map.extend(new);
            Ok(())
        })
    })
    .await?;
    json(200, &json!({ "extra_specs": shown }))
}

fn no_spec(id: &str, key: &str) -> Error {
    Error::not_found_text(format!("Flavor {id} has no extra specs with key {key}."))
}

/// `GET /flavors/{id}/os-extra_specs/{key}`
pub async fn spec(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    policy::check(&ctx.caller, Action::FlavorSpecsRead, None)?;
    let flavor = ctx.state.visible::<Flavor>(&ctx.caller, &id.as_str().into())?;
    let value = flavor.extra_specs.get(&key).ok_or_else(|| no_spec(&id, &key))?;
    json(200, &json!({ (key): value }))
}

/// `PUT /flavors/{id}/os-extra_specs/{key}`
pub async fn set_spec(ctx: Ctx, Path((id, key)): Path<(String, String)>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::FlavorWrite, None)?;
    let new = known_specs(&ctx, body)?;
    if new.len() != 1 || !new.contains_key(&key) {
        return Err(Error::invalid("The request's body must hold the one item of the URL.").into());
    }
    let shown = new.clone();
    ctx.commit("flavor extra specs", move |txn, caller| {
        flavor::edit_specs(txn, caller, &id.as_str().into(), |map| {
            map.extend(new);
            Ok(())
        })
    })
    .await?;
    json(200, &shown)
}

/// `DELETE /flavors/{id}/os-extra_specs/{key}`
pub async fn drop_spec(ctx: Ctx, Path((id, key)): Path<(String, String)>) -> Handled {
    ctx.commit("flavor extra specs", move |txn, caller| {
        flavor::edit_specs(txn, caller, &id.as_str().into(), |map| {
            map.remove(&key).map(|_| ()).ok_or_else(|| no_spec(&id, &key))
        })
    })
    .await?;
    empty(200)
}
