//! Regions, services and endpoints: the records behind the catalog.

use super::{field, filter, id, missing, required};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity::catalog;
use lenticular_model::{
    EndpointId, RegionId, ServiceId,
    error::{Error, Result},
    identity::{Endpoint, Interface, Region, Service},
    policy::{self, Action},
};
use lenticular_wire::{
    identity::{self as wire, extra_of},
    request::envelope,
};
use serde_json::{Map, Value, json};

const OF_SERVICE: &[&str] = &["id", "type", "name", "description", "enabled", "links"];
const OF_ENDPOINT: &[&str] = &[
    "id",
    "interface",
    "service_id",
    "region",
    "region_id",
    "url",
    "enabled",
    "links",
    "legacy_endpoint_id",
];
const OF_REGION: &[&str] = &["id", "description", "parent_region_id", "links"];

/// A text of a request with a length in characters.
fn text(fields: &Map<String, Value>, name: &str, max: usize) -> Result<Option<String>> {
    let Some(text) = field::<String>(fields, name)? else { return Ok(None) };
    match text.chars().count() <= max && !text.chars().any(char::is_control) {
        true => Ok(Some(text)),
        false => Err(Error::invalid(format!(
            "Invalid input for field '{name}': it must have at most {max} printable characters."
        ))),
    }
}

/// `GET /v3/services`
pub async fn services(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let all = ctx.state.services.values().map(|service| wire::service(ctx.url(), service)).collect();
    let found = filter::chosen(&ctx.query, all, &["type", "name", "enabled"])?;
    json(200, &wire::listing(ctx.url(), "services", found))
}

/// `GET /v3/services/{id}`
pub async fn service(ctx: Ctx, Path(text): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let found = ctx.state.services.get(&id("service", &text)?).ok_or_else(|| missing("service", &text))?;
    json(200, &json!({"service": wire::service(ctx.url(), found)}))
}

/// Sets the fields of a service that a request has.
fn edit_service(service: &mut Service, fields: &Map<String, Value>) -> Result<()> {
    if let Some(kind) = text(fields, "type", 255)? {
        service.kind = kind;
    }
    if service.kind.is_empty() {
        return Err(required("type"));
    }
    service.name = text(fields, "name", 255)?.or(service.name.take());
    service.description = field(fields, "description")?.or(service.description.take());
    service.enabled = field(fields, "enabled")?.unwrap_or(service.enabled);
    service.extra.extend(extra_of(fields, OF_SERVICE));
    Ok(())
}

/// `POST /v3/services`
pub async fn create_service(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = envelope(body, "service")?;
    let service = ctx
        .commit("service create", move |txn, caller| {
            policy::check(caller, Action::ServiceCatalogWrite, None)?;
            let mut service = Service {
                id: ServiceId::from_random(txn.random()),
                created_at: txn.now,
                updated_at: None,
                kind: String::new(),
                name: None,
                description: None,
                enabled: true,
                extra: Default::default(),
                unknown: Default::default(),
            };
            edit_service(&mut service, &fields)?;
            catalog::put_service(txn, caller, service.clone())?;
            Ok(service)
        })
        .await?;
    json(201, &json!({"service": wire::service(ctx.url(), &service)}))
}

/// `PATCH /v3/services/{id}`
pub async fn update_service(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id: ServiceId = id("service", &text)?;
    let fields = envelope(body, "service")?;
    let service = ctx
        .commit("service update", move |txn, caller| {
            policy::check(caller, Action::ServiceCatalogWrite, None)?;
            let old = txn.need::<Service>(&id, || missing("service", &text))?;
            let mut service = Service::clone(&old);
            edit_service(&mut service, &fields)?;
            service.updated_at = Some(txn.now);
            catalog::put_service(txn, caller, service.clone())?;
            Ok(service)
        })
        .await?;
    json(200, &json!({"service": wire::service(ctx.url(), &service)}))
}

/// `DELETE /v3/services/{id}`
pub async fn delete_service(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = id("service", &text)?;
    ctx.commit("service delete", move |txn, caller| catalog::delete_service(txn, caller, id)).await?;
    empty(204)
}

/// `GET /v3/endpoints`
pub async fn endpoints(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let all = ctx.state.endpoints.values().map(|endpoint| wire::endpoint(ctx.url(), endpoint)).collect();
    let attributes = ["interface", "service_id", "region_id", "region", "enabled"];
    let found = filter::chosen(&ctx.query, all, &attributes)?;
    json(200, &wire::listing(ctx.url(), "endpoints", found))
}

/// `GET /v3/endpoints/{id}`
pub async fn endpoint(ctx: Ctx, Path(text): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let found = ctx.state.endpoints.get(&id("endpoint", &text)?).ok_or_else(|| missing("endpoint", &text))?;
    json(200, &json!({"endpoint": wire::endpoint(ctx.url(), found)}))
}

/// The fields of an endpoint in a request.
struct AskedEndpoint {
    service_id: Option<ServiceId>,
    interface: Option<Interface>,
    /// By `region_id`, or by the older `region`, which makes the region.
    region: Option<RegionId>,
    makes_region: bool,
    url: Option<String>,
    enabled: Option<bool>,
    extra: std::collections::BTreeMap<String, Value>,
}

impl AskedEndpoint {
    fn read(fields: &Map<String, Value>) -> Result<Self> {
        let service = text(fields, "service_id", 64)?;
        let unknown = |text: &str| Error::invalid(format!("Could not find service: {text}."));
        let (by_id, by_name) = (text(fields, "region_id", 255)?, text(fields, "region", 255)?);
        for (name, value) in [("region_id", &by_id), ("region", &by_name)] {
            value.as_deref().map_or(Ok(()), |id| check_region_id(name, id))?;
        }
        let url = text(fields, "url", 2_048)?;
        if let Some(url) = &url {
            check_url(url)?;
        }
        Ok(Self {
            service_id: service.map(|text| text.parse().map_err(|_| unknown(&text))).transpose()?,
            interface: field(fields, "interface")?,
            makes_region: by_id.is_none(),
            region: by_id.or(by_name).map(|text| text.as_str().into()),
            url,
            enabled: field(fields, "enabled")?,
            extra: extra_of(fields, OF_ENDPOINT),
        })
    }
}

/// Refuses a URL that is none, or that has other placeholders than the catalog fills.
fn check_url(url: &str) -> Result<()> {
    let bad = || {
        Error::invalid(format!(
            "Invalid input for field 'url': '{url}' is no URL. It may contain $(project_id)s, $(tenant_id)s and $(user_id)s."
        ))
    };
    let is_scheme = |c: char| c.is_ascii_alphanumeric() || "+.-".contains(c);
    let known = ["project_id)s", "tenant_id)s", "user_id)s", "public_url)s"];
    let placeholders = url.split("$(").skip(1).all(|rest| known.iter().any(|known| rest.starts_with(known)));
    let (scheme, rest) = url.split_once(':').unwrap_or_default();
    let whole = !scheme.is_empty() && scheme.chars().all(is_scheme) && !rest.is_empty();
    (placeholders && (whole || url.starts_with("$(public_url)s"))).then_some(()).ok_or_else(bad)
}

/// `POST /v3/endpoints`
pub async fn create_endpoint(ctx: Ctx, Json(body): Json) -> Handled {
    let asked = AskedEndpoint::read(&envelope(body, "endpoint")?)?;
    let endpoint = ctx
        .commit("endpoint create", move |txn, caller| {
            policy::check(caller, Action::EndpointWrite, None)?;
            let endpoint = Endpoint {
                id: EndpointId::from_random(txn.random()),
                created_at: txn.now,
                updated_at: None,
                service_id: asked.service_id.ok_or_else(|| required("service_id"))?,
                interface: asked.interface.ok_or_else(|| required("interface"))?,
                region_id: asked.region,
                url: asked.url.ok_or_else(|| required("url"))?,
                enabled: asked.enabled.unwrap_or(true),
                extra: asked.extra,
                unknown: Default::default(),
            };
            catalog::put_endpoint(txn, caller, endpoint.clone(), asked.makes_region)?;
            Ok(endpoint)
        })
        .await?;
    json(201, &json!({"endpoint": wire::endpoint(ctx.url(), &endpoint)}))
}

/// `PATCH /v3/endpoints/{id}`
pub async fn update_endpoint(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id: EndpointId = id("endpoint", &text)?;
    let asked = AskedEndpoint::read(&envelope(body, "endpoint")?)?;
    let endpoint = ctx
        .commit("endpoint update", move |txn, caller| {
            policy::check(caller, Action::EndpointWrite, None)?;
            let old = txn.need::<Endpoint>(&id, || missing("endpoint", &text))?;
            let mut endpoint = Endpoint::clone(&old);
            endpoint.service_id = asked.service_id.unwrap_or(endpoint.service_id);
            endpoint.interface = asked.interface.unwrap_or(endpoint.interface);
            endpoint.region_id = asked.region.or(endpoint.region_id);
            endpoint.url = asked.url.unwrap_or(endpoint.url);
            endpoint.enabled = asked.enabled.unwrap_or(endpoint.enabled);
            endpoint.extra.extend(asked.extra);
            endpoint.updated_at = Some(txn.now);
            catalog::put_endpoint(txn, caller, endpoint.clone(), asked.makes_region)?;
            Ok(endpoint)
        })
        .await?;
    json(200, &json!({"endpoint": wire::endpoint(ctx.url(), &endpoint)}))
}

/// `DELETE /v3/endpoints/{id}`
pub async fn delete_endpoint(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = id("endpoint", &text)?;
    ctx.commit("endpoint delete", move |txn, caller| catalog::delete_endpoint(txn, caller, id)).await?;
    empty(204)
}

/// `GET /v3/regions`
pub async fn regions(ctx: Ctx) -> Handled {
    let all = ctx.state.regions.values().map(|region| wire::region(ctx.url(), region)).collect();
    let found = filter::chosen(&ctx.query, all, &["parent_region_id", "description"])?;
    json(200, &wire::listing(ctx.url(), "regions", found))
}

/// `GET /v3/regions/{id}`
pub async fn region(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let found = ctx.state.regions.get(&id.as_str().into()).ok_or_else(|| missing("region", &id))?;
    json(200, &json!({"region": wire::region(ctx.url(), found)}))
}

/// The fields of a region in a request.
struct AskedRegion {
    description: Option<String>,
    parent: Option<RegionId>,
    extra: std::collections::BTreeMap<String, Value>,
}

fn read_region(fields: &Map<String, Value>) -> Result<AskedRegion> {
    let parent = text(fields, "parent_region_id", 255)?.filter(|parent| !parent.is_empty());
    Ok(AskedRegion {
        description: field(fields, "description")?,
        parent: parent.map(|text| text.as_str().into()),
        extra: extra_of(fields, OF_REGION),
    })
}

/// `POST /v3/regions`
pub async fn create_region(ctx: Ctx, Json(body): Json) -> Handled {
    let fields = envelope(body, "region")?;
    let given = text(&fields, "id", 255)?;
    new_region(ctx, fields, given).await
}

/// `PUT /v3/regions/{id}`
pub async fn put_region(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let fields = envelope(body, "region")?;
    if fields.get("id").is_some_and(|other| *other != id.as_str()) {
        return Err(Error::invalid("The region's id in the body differs from the id in the URL.").into());
    }
    new_region(ctx, fields, Some(id)).await
}

/// Refuses a region's id that no URL can name.
fn check_region_id(field: &str, id: &str) -> Result<()> {
    let is_short = id.chars().count() <= 255;
    match !id.is_empty() && is_short && !id.chars().any(|c| c == '/' || c.is_control()) {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "Invalid input for field '{field}': a region has 1 to 255 printable characters, and no '/'."
        ))),
    }
}

async fn new_region(ctx: Ctx, fields: Map<String, Value>, given: Option<String>) -> Handled {
    let asked = read_region(&fields)?;
    if let Some(id) = &given {
        check_region_id("id", id)?;
    }
    let region = ctx
        .commit("region create", move |txn, caller| {
            policy::check(caller, Action::RegionWrite, None)?;
            let id = match given {
                Some(id) => id,
                None => ServiceId::from_random(txn.random()).to_string(),
            };
            let id: RegionId = id.as_str().into();
            catalog::check_new_region(txn, &id)?;
            let region = Region {
                id,
                created_at: txn.now,
                updated_at: None,
                description: asked.description.unwrap_or_default(),
                parent_region_id: asked.parent,
                extra: asked.extra,
                unknown: Default::default(),
            };
            catalog::put_region(txn, caller, region.clone())?;
            Ok(region)
        })
        .await?;
    json(201, &json!({"region": wire::region(ctx.url(), &region)}))
}

/// `PATCH /v3/regions/{id}`
pub async fn update_region(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let fields = envelope(body, "region")?;
    let asked = read_region(&fields)?;
    let region = ctx
        .commit("region update", move |txn, caller| {
            policy::check(caller, Action::RegionWrite, None)?;
            let old = txn.need::<Region>(&id.as_str().into(), || missing("region", &id))?;
            let mut region = Region::clone(&old);
            region.description = asked.description.unwrap_or(region.description);
            if fields.contains_key("parent_region_id") {
                region.parent_region_id = asked.parent;
            }
            region.extra.extend(asked.extra);
            region.updated_at = Some(txn.now);
            catalog::put_region(txn, caller, region.clone())?;
            Ok(region)
        })
        .await?;
    json(200, &json!({"region": wire::region(ctx.url(), &region)}))
}

/// `DELETE /v3/regions/{id}`
pub async fn delete_region(ctx: Ctx, Path(id): Path<String>) -> Handled {
    ctx.commit("region delete", move |txn, caller| catalog::delete_region(txn, caller, &id.as_str().into()))
        .await?;
    empty(204)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_have_a_scheme_and_known_placeholders() {
        for good in ["http://a.example/", "https://a/v1/$(project_id)s", "$(public_url)s/compute", "a:b"] {
            assert!(check_url(good).is_ok(), "{good}");
        }
        for bad in ["", "plain", "http:", "http://a/$(password)s", "http://a/$(", "ht tp://a"] {
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_region_is_one_that_a_url_can_name() {
        assert!(check_region_id("id", "north 1").is_ok());
        for bad in ["", "a/b", "a\nb", &"r".repeat(256)] {
            assert!(check_region_id("id", bad).is_err(), "{bad}");
        }
    }
}
