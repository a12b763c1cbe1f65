//! Keystone.

mod auth;
mod domain;
mod filter;
mod grant;
pub mod lockout;
pub mod password;
mod project;
mod role;
pub mod token;
pub mod turns;
mod user;

use crate::{
    app::App,
    fault::Handled,
    respond::json,
    routes::{Routes, get, post, put},
};
use axum::extract::State;
use lenticular_model::{
    DomainId,
    policy::{self, Action, Caller, Reach, Scope},
};
use lenticular_wire::identity as wire;
use serde_json::{Map, Value, json};

/// The routes.
pub fn routes() -> Routes<App> {
    let v3 = Routes::new()
        .route("/", get(version))
        .route("/auth/tokens", post(auth::issue).get(auth::show).head(auth::head).delete(auth::revoke))
        .route("/auth/catalog", get(auth::catalog))
        .route("/auth/projects", get(auth::projects))
        .route("/auth/domains", get(auth::domains))
        .route("/auth/system", get(auth::system))
        .route("/domains", get(domain::list).post(domain::create))
        .route("/domains/{id}", get(domain::show).patch(domain::update).delete(domain::delete))
        .route("/projects", get(project::list).post(project::create))
        .route("/projects/{id}", get(project::show).patch(project::update).delete(project::delete))
        .route("/users", get(user::list).post(user::create))
        .route("/users/{id}", get(user::show).patch(user::update).delete(user::delete))
        .route("/users/{id}/password", post(user::change_password))
        .route("/users/{id}/projects", get(user::projects))
        .route("/roles", get(role::list).post(role::create))
        .route("/roles/{id}", get(role::show).patch(role::update).delete(role::delete))
        .route("/role_inferences", get(role::inferences))
        .route("/role_assignments", get(grant::list))
        .route("/projects/{id}/users/{user}/roles", get(grant::on_project))
        .route(
            "/projects/{id}/users/{user}/roles/{role}",
            put(grant::put_project)
                .head(grant::check_project)
                .get(grant::check_project)
                .delete(grant::drop_project),
        )
        .route("/domains/{id}/users/{user}/roles", get(grant::on_domain))
        .route(
            "/domains/{id}/users/{user}/roles/{role}",
            put(grant::put_domain)
                .head(grant::check_domain)
                .get(grant::check_domain)
                .delete(grant::drop_domain),
        )
        .route("/system/users/{user}/roles", get(grant::on_system))
        .route(
            "/system/users/{user}/roles/{role}",
            put(grant::put_system)
                .head(grant::check_system)
                .get(grant::check_system)
                .delete(grant::drop_system),
        )
        .route("/services", get(services))
        .route("/services/{id}", get(service))
        .route("/endpoints", get(endpoints))
        .route("/endpoints/{id}", get(endpoint))
        .route("/regions", get(regions))
        .route("/regions/{id}", get(region));
    Routes::new()
        .route("/identity", get(versions))
        .route("/identity/", get(versions))
        .nest("/identity/v3", v3.route("/limits", get(limits)))
        .route("/identity/v3/", get(version))
}

async fn versions(State(app): State<App>) -> Handled {
    json(300, &json!({"versions": {"values": [wire::version(&app.config.public_url)]}}))
}

async fn version(State(app): State<App>) -> Handled {
    json(200, &json!({"version": wire::version(&app.config.public_url)}))
}

async fn limits(_: crate::ctx::Ctx) -> Handled {
    json(200, &json!({"limits": []}))
}

/// The catalog gives services, endpoints and regions: they are derived and read-only.
async fn services(ctx: crate::ctx::Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let found = filter::chosen(&ctx.query, all_services(ctx.url()), &["type", "name", "enabled"])?;
    json(200, &wire::listing(ctx.url(), "services", found))
}

async fn service(ctx: crate::ctx::Ctx, axum::extract::Path(id): axum::extract::Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    one("service", &id, all_services(ctx.url()))
}

async fn endpoints(ctx: crate::ctx::Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    let attributes = ["interface", "service_id", "region_id", "region", "enabled"];
    let found = filter::chosen(&ctx.query, all_endpoints(ctx.url()), &attributes)?;
    json(200, &wire::listing(ctx.url(), "endpoints", found))
}

async fn endpoint(ctx: crate::ctx::Ctx, axum::extract::Path(id): axum::extract::Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceCatalogRead, None)?;
    one("endpoint", &id, all_endpoints(ctx.url()))
}

async fn regions(ctx: crate::ctx::Ctx) -> Handled {
    let found = filter::chosen(&ctx.query, vec![the_region()], &["parent_region_id", "description"])?;
    json(200, &wire::listing(ctx.url(), "regions", found))
}

async fn region(_: crate::ctx::Ctx, axum::extract::Path(id): axum::extract::Path<String>) -> Handled {
    one("region", &id, vec![the_region()])
}

fn the_region() -> Value {
    json!({"id": wire::REGION, "description": "", "parent_region_id": null})
}

fn all_services(url: &str) -> Vec<Value> {
    let Value::Array(catalog) = wire::catalog(url) else { return Vec::new() };
    let plain = |s: &Value| json!({"id": s["id"], "type": s["type"], "name": s["name"], "enabled": true, "links": {}});
    catalog.iter().map(plain).collect()
}

fn all_endpoints(url: &str) -> Vec<Value> {
    let Value::Array(catalog) = wire::catalog(url) else { return Vec::new() };
    let mut all = Vec::new();
    for service in &catalog {
        for endpoint in service["endpoints"].as_array().into_iter().flatten() {
            let mut endpoint = endpoint.clone();
            endpoint["service_id"] = service["id"].clone();
            endpoint["enabled"] = json!(true);
            endpoint["links"] = json!({});
            all.push(endpoint);
        }
    }
    all
}

fn one(what: &str, id: &str, all: Vec<Value>) -> Handled {
    match all.into_iter().find(|item| item["id"] == id) {
        Some(item) => json(200, &json!({what: item})),
        None => Err(missing(what, id).into()),
    }
}

/// The reach of an action of Keystone's for the caller; an error if it reaches nothing.
pub fn reached(ctx: &crate::ctx::Ctx, action: Action) -> Result<Reach, lenticular_model::Error> {
    match policy::reach(&ctx.caller, action) {
        // The refusal uses the policy's own message.
        Reach::Own => policy::check(&ctx.caller, action, None).map(|()| Reach::Own),
        reach => Ok(reach),
    }
}

/// The domain of a new resource if the request names none: the token's domain, or the default domain.
pub fn domain_of_new(caller: &Caller) -> DomainId {
    match &caller.scope {
        Scope::Domain(id) => id.clone(),
        _ => lenticular_control::command::identity::domain::DEFAULT_DOMAIN.into(),
    }
}

/// The error for a resource that does not exist, in Keystone's words.
pub fn missing(what: &str, id: &str) -> lenticular_model::Error {
    lenticular_model::Error::not_found_text(format!("Could not find {what}: {id}."))
}

/// Reads an id. A malformed id gives the same error as an unknown id.
pub fn id<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, lenticular_model::Error> {
    text.parse().map_err(|_| missing(what, text))
}

/// Reads one field of a request.
pub fn field<T: serde::de::DeserializeOwned>(
    fields: &Map<String, Value>,
    name: &str,
) -> Result<Option<T>, lenticular_model::Error> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map(Some).map_err(|error| {
            lenticular_model::Error::invalid(format!("Invalid input for field '{name}': {error}."))
        }),
    }
}

/// Reads the name of a new resource.
pub fn name(fields: &Map<String, Value>, max: usize) -> Result<Option<String>, lenticular_model::Error> {
    let Some(name) = field::<String>(fields, "name")? else { return Ok(None) };
    if name.trim().is_empty() || name.chars().count() > max || name.chars().any(char::is_control) {
        return Err(lenticular_model::Error::invalid(format!(
            "Invalid input for field 'name': it must have 1 to {max} printable characters."
        )));
    }
    Ok(Some(name))
}

/// The error for a missing field.
pub fn required(name: &str) -> lenticular_model::Error {
    lenticular_model::Error::invalid(format!("'{name}' is a required property"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printable() {
        let read = |text: &str| name(&Map::from_iter([("name".to_owned(), json!(text))]), 8);
        assert_eq!(read("Zoë B.").unwrap().as_deref(), Some("Zoë B."));
        for bad in ["", "  ", "a\0b", "a\nb", "a\u{1b}[2J", "ninechars"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }
}
