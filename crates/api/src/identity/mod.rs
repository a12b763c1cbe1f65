//! Keystone.

mod access_rule;
mod application_credential;
mod auth;
mod catalog;
mod domain;
mod filter;
mod grant;
mod group;
pub mod lockout;
mod login;
pub mod password;
mod project;
mod project_tag;
mod role;
pub mod token;
mod trust;
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
    DomainId, State as Cloud,
    error::{Error, Result},
    policy::{self, Action, Caller, Reach, Scope},
};
use lenticular_wire::identity::{self as wire, Named};
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
        .route(
            "/projects/{id}/tags",
            get(project_tag::list).put(project_tag::replace).delete(project_tag::clear),
        )
        .route(
            "/projects/{id}/tags/{tag}",
            put(project_tag::add)
                .get(project_tag::check)
                .head(project_tag::check)
                .delete(project_tag::remove),
        )
        .route("/users", get(user::list).post(user::create))
        .route("/users/{id}", get(user::show).patch(user::update).delete(user::delete))
        .route("/users/{id}/password", post(user::change_password))
        .route("/users/{id}/projects", get(user::projects));
    let v3 = grant::routes(catalog_routes(delegation_routes(role_routes(v3))));
    Routes::new()
        .route("/identity", get(versions))
        .route("/identity/", get(versions))
        .nest("/identity/v3", v3.route("/limits", get(limits)))
        .route("/identity/v3/", get(version))
}

/// Roles and groups.
fn role_routes(routes: Routes<App>) -> Routes<App> {
    routes
        .route("/roles", get(role::list).post(role::create))
        .route("/roles/{id}", get(role::show).patch(role::update).delete(role::delete))
        .route("/roles/{id}/implies", get(role::implied))
        .route(
            "/roles/{id}/implies/{implied}",
            put(role::imply)
                .get(role::show_inference)
                .head(role::check_inference)
                .delete(role::imply_no_more),
        )
        .route("/role_inferences", get(role::inferences))
        .route("/role_assignments", get(grant::list))
        .route("/groups", get(group::list).post(group::create))
        .route("/groups/{id}", get(group::show).patch(group::update).delete(group::delete))
        .route("/groups/{id}/users", get(group::users))
        .route(
            "/groups/{id}/users/{user}",
            put(group::add_user).get(group::check_user).head(group::check_user).delete(group::remove_user),
        )
        .route("/users/{id}/groups", get(group::of_user))
}

/// Application credentials, access rules and trusts.
fn delegation_routes(routes: Routes<App>) -> Routes<App> {
    routes
        .route(
            "/users/{id}/application_credentials",
            get(application_credential::list).post(application_credential::create),
        )
        .route(
            "/users/{id}/application_credentials/{credential}",
            get(application_credential::show).delete(application_credential::delete),
        )
        .route("/users/{id}/access_rules", get(access_rule::list))
        .route("/users/{id}/access_rules/{rule}", get(access_rule::show).delete(access_rule::delete))
        .route("/OS-TRUST/trusts", get(trust::list).post(trust::create))
        .route("/OS-TRUST/trusts/{id}", get(trust::show).delete(trust::delete))
        .route("/OS-TRUST/trusts/{id}/roles", get(trust::roles))
        .route("/OS-TRUST/trusts/{id}/roles/{role}", get(trust::role).head(trust::check_role))
}

/// Services, endpoints and regions.
fn catalog_routes(routes: Routes<App>) -> Routes<App> {
    routes
        .route("/services", get(catalog::services).post(catalog::create_service))
        .route(
            "/services/{id}",
            get(catalog::service).patch(catalog::update_service).delete(catalog::delete_service),
        )
        .route("/endpoints", get(catalog::endpoints).post(catalog::create_endpoint))
        .route(
            "/endpoints/{id}",
            get(catalog::endpoint).patch(catalog::update_endpoint).delete(catalog::delete_endpoint),
        )
        .route("/regions", get(catalog::regions).post(catalog::create_region))
        .route(
            "/regions/{id}",
            get(catalog::region)
                .put(catalog::put_region)
                .patch(catalog::update_region)
                .delete(catalog::delete_region),
        )
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

/// The refusal of a log-in. It does not tell the reason.
pub fn refused() -> Error {
    Error::unauthorized("The request you have made requires authentication.")
}

/// The domain that a request names.
pub fn domain_of(state: &Cloud, named: Option<&Named>) -> Option<DomainId> {
    let named = named?;
    match (&named.id, &named.name) {
        (Some(id), _) => Some(DomainId::from(id.as_str())),
        (None, Some(name)) => {
            // A missing domain has no users and no projects, so the refusal is the same.
            Some(
                state
                    .domain_named(name)
                    .map(|domain| domain.id.clone())
                    .unwrap_or_else(|| DomainId::from("")),
            )
        }
        (None, None) => None,
    }
}

/// The reach of an action of Keystone's for the caller; an error if it reaches nothing.
pub fn reached(ctx: &crate::ctx::Ctx, action: Action) -> Result<Reach> {
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
pub fn missing(what: &str, id: &str) -> Error {
    Error::not_found_text(format!("Could not find {what}: {id}."))
}

/// Reads an id. A malformed id gives the same error as an unknown id.
pub fn id<T: std::str::FromStr>(what: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| missing(what, text))
}

/// Reads one field of a request.
pub fn field<T: serde::de::DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Result<Option<T>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|error| Error::invalid(format!("Invalid input for field '{name}': {error}."))),
    }
}

/// Reads the name of a new resource.
pub fn name(fields: &Map<String, Value>, max: usize) -> Result<Option<String>> {
    let Some(name) = field::<String>(fields, "name")? else { return Ok(None) };
    if name.trim().is_empty() || name.chars().count() > max || name.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "Invalid input for field 'name': it must have 1 to {max} printable characters."
        )));
    }
    Ok(Some(name))
}

/// The error for a missing field.
pub fn required(name: &str) -> Error {
    Error::invalid(format!("'{name}' is a required property"))
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
