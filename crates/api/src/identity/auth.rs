//! Tokens: issue, show and revoke them, and list the scopes that a bearer can use.

use super::{domain_of, id, refused};
use crate::{
    app::App,
    body::Json,
    ctx::{self, Ctx, header},
    fault::Handled,
    identity::{
        login::{self, Proven},
        token::{Payload, audit_text},
    },
    respond::{empty, json},
    serve::listener::Origin,
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue},
    response::Response,
};
use lenticular_control::command::identity;
use lenticular_model::{
    Cause, DomainId, ProjectId, State as Cloud, Timestamp, Txn, UserId,
    error::{Error, Result},
    identity::{Project, Proof, Target, Trust, User},
    policy::{self, Action, Scope},
};
use lenticular_wire::{
    identity::{self as wire, CatalogOf, Login, Named},
    request,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// `POST /v3/auth/tokens`
pub async fn issue(
    State(app): State<App>,
    uri: axum::http::Uri,
    origin: Origin,
    Json(body): Json,
) -> Handled {
    let login: Login = request::read_value("body", body)?;
    let proven = login::prove(&app, &app.store.state(), origin, &login.auth.identity).await?;
    let mut audit_id = [0; 16];
    getrandom::fill(&mut audit_id).map_err(Error::internal)?;
    let (scope, life_s) = (login.auth.scope, app.tokens.life_s);
    let cause =
        Cause { actor: proven.user.id.to_string(), request_id: String::new(), why: "log-in".to_owned() };
    // The writer decides: a change of the user comes before the token, or after the token and voids it. Nothing is
    // written.
    let grant = move |txn: &mut Txn<'_>| grant(txn, &proven, scope.as_ref(), audit_id, life_s);
    let (payload, user) = app.store.transact(cause, grant).await?;
    let text = app.tokens.seal(&payload);
    let with_catalog = !uri.query().is_some_and(|q| q.contains("nocatalog"));
    let response = json(201, &view(&app, &app.store.state(), &user, &payload, with_catalog))?;
    Ok(with_token(response, &text))
}

/// The content of a token for what a log-in has proven, and the token's user.
///
/// # Errors
/// What was proven does not hold any more, or the scope is not the user's.
fn grant(
    txn: &Txn<'_>,
    proven: &Proven,
    scope: Option<&Value>,
    audit_id: [u8; 16],
    life_s: i64,
) -> Result<(Payload, Arc<User>)> {
    login::check_still_holds(txn, proven)?;
    let Proven { user, earlier, credential } = proven;
    let trust = named_trust(txn, user, scope)?;
    let (scope, proof) = match (credential, &trust) {
        (Some(_), _) if scope.is_some() => {
            return Err(Error::unauthorized("Application credentials cannot request a scope."));
        }
        (Some(by), _) => (Scope::Project(by.project_id), Proof::ApplicationCredential(by.id)),
        (None, Some(by)) => (Scope::Project(by.project_id), Proof::Trust(by.id)),
        (None, None) => (wanted_scope(txn, user, scope)?, Proof::Own),
    };
    if scope != Scope::Unscoped && txn.roles_by(user.id, &ctx::target(&scope), proof).is_empty() {
        return Err(refused());
    }
    // A token ends no later than what it was issued for.
    let ends = [
        earlier.as_ref().map(|token| token.expires_at),
        credential.as_ref().and_then(|by| by.expires_at),
        trust.as_ref().and_then(|by| by.expires_at),
    ];
    let payload = Payload {
        user_id: trust.as_ref().map_or(user.id, |by| by.user()),
        scope,
        issued_at: txn.now,
        expires_at: ends.into_iter().flatten().fold(txn.now.plus_s(life_s), Timestamp::min),
        audit_id,
        by_token: earlier.is_some(),
        proof,
    };
    let user = ctx::check(txn, &payload, txn.now)?;
    Ok((payload, user))
}

/// The trust that a scope names, if the user is its trustee.
///
/// # Errors
/// There is no such trust for the user.
fn named_trust(state: &Cloud, user: &User, scope: Option<&Value>) -> Result<Option<Arc<Trust>>> {
    let Some(named) = scope.and_then(|scope| scope.get("OS-TRUST:trust")) else { return Ok(None) };
    let id = named.get("id").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let found = id.and_then(|id| state.trusts.get(&id)).filter(|trust| trust.trustee_user_id == user.id);
    found.cloned().map(Some).ok_or_else(refused)
}

fn with_token(mut response: Response, text: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(text) {
        response.headers_mut().insert("x-subject-token", value);
    }
    response
}

fn wanted_scope(state: &Cloud, user: &User, scope: Option<&Value>) -> Result<Scope> {
    let bad = |why: &str| Error::invalid(format!("Invalid input for field 'scope': {why}."));
    match scope {
        None => Ok(default_scope(state, user)),
        Some(Value::String(word)) if word == "unscoped" => Ok(Scope::Unscoped),
        Some(Value::Object(fields)) => {
            let read = |name: &str| -> Result<Option<Named>> {
                let value = fields.get(name).cloned();
                value.map(|v| request::read_value(&format!("scope.{name}"), v)).transpose()
            };
            if ["project", "domain", "system"].iter().filter(|name| fields.contains_key(**name)).count() > 1 {
                return Err(bad("it must name one of a project, a domain and the system, not several"));
            }
            if let Some(project) = read("project")? {
                return project_scope(state, &project);
            }
            if let Some(domain) = read("domain")? {
                let id =
                    domain_of(state, Some(&domain)).ok_or_else(|| bad("domain needs an id or a name"))?;
                let domain = state.domains.get(&id).filter(|d| d.enabled).ok_or_else(refused)?;
                return Ok(Scope::Domain(domain.id.clone()));
            }
            if fields.get("system").is_some_and(|s| s["all"] == true) {
                return Ok(Scope::System);
            }
            if fields.contains_key("unscoped") {
                return Ok(Scope::Unscoped);
            }
            Err(bad("it must name a project, a domain or the system"))
        }
        Some(_) => Err(bad("it must be an object")),
    }
}

fn project_scope(state: &Cloud, named: &Named) -> Result<Scope> {
    let found: Option<&Arc<Project>> = match (&named.id, &named.name) {
        (Some(id), _) => id.parse::<ProjectId>().ok().and_then(|id| state.projects.get(&id)),
        (None, Some(name)) => {
            let domain = domain_of(state, named.domain.as_deref())
                .ok_or_else(|| Error::invalid("Expecting to find domain in project."))?;
            state.project_named(&domain, name)
        }
        (None, None) => None,
    };
    let enabled = |p: &&Arc<Project>| p.enabled && state.domains.get(&p.domain_id).is_some_and(|d| d.enabled);
    found.filter(enabled).map(|p| Scope::Project(p.id)).ok_or_else(refused)
}

/// The user's default project, if there is one and the user still has a role there.
fn default_scope(state: &Cloud, user: &User) -> Scope {
    let holds = |id: &ProjectId| {
        state.projects.get(id).is_some_and(|p| p.enabled)
            && !state.roles_on(user.id, &Target::Project(*id)).is_empty()
    };
    user.default_project_id.filter(holds).map_or(Scope::Unscoped, Scope::Project)
}

fn view(app: &App, state: &Cloud, user: &User, payload: &Payload, with_catalog: bool) -> Value {
    let roles = match payload.scope {
        Scope::Unscoped => Vec::new(),
        _ => state.roles_by(user.id, &ctx::target(&payload.scope), payload.proof),
    };
    let methods: &[&'static str] = match (payload.proof, payload.by_token) {
        (Proof::ApplicationCredential(_), _) => &["application_credential"],
        (Proof::Own | Proof::Trust(_), true) => &["token", "password"],
        (Proof::Own | Proof::Trust(_), false) => &["password"],
    };
    wire::token(&wire::Token {
        state,
        url: &app.config.public_url,
        user,
        methods,
        scope: &payload.scope,
        roles: &roles,
        issued_at: payload.issued_at,
        expires_at: payload.expires_at,
        audit_id: &audit_text(&payload.audit_id),
        proof: payload.proof,
        with_catalog,
    })
}

/// The token that a request is about, if the caller may ask about it.
fn subject(ctx: &Ctx, headers: &HeaderMap, action: Action) -> Result<(Payload, Arc<User>, String)> {
    let text = header(headers, "x-subject-token").ok_or_else(|| super::required("X-Subject-Token"))?;
    let found = ctx::authenticate(&ctx.app, &ctx.state, text);
    let (payload, user) = found.map_err(|_| Error::not_found_text("Could not find token."))?;
    if payload.user_id != ctx.caller.user_id {
        policy::check(&ctx.caller, action, None)?;
    }
    Ok((payload, user, text.to_owned()))
}

/// `GET /v3/auth/tokens`
pub async fn show(ctx: Ctx, headers: HeaderMap) -> Handled {
    let (payload, user, text) = subject(&ctx, &headers, Action::TokenValidateOthers)?;
    let with_catalog = ctx.query.get("nocatalog").is_none();
    let response = json(200, &view(&ctx.app, &ctx.state, &user, &payload, with_catalog))?;
    Ok(with_token(response, &text))
}

/// `HEAD /v3/auth/tokens`
pub async fn head(ctx: Ctx, headers: HeaderMap) -> Handled {
    let (_, _, text) = subject(&ctx, &headers, Action::TokenValidateOthers)?;
    Ok(with_token(empty(200)?, &text))
}

/// `DELETE /v3/auth/tokens`
pub async fn revoke(ctx: Ctx, headers: HeaderMap) -> Handled {
    let (payload, _, _) = subject(&ctx, &headers, Action::TokenRevokeOthers)?;
    ctx.commit("token revoke", move |txn, _| {
        identity::token::revoke(txn, &audit_text(&payload.audit_id), payload.expires_at);
        Ok(())
    })
    .await?;
    empty(204)
}

/// `GET /v3/auth/catalog`
pub async fn catalog(ctx: Ctx) -> Handled {
    if ctx.caller.scope == Scope::Unscoped {
        return Err(Error::forbidden("The catalog needs a token with a scope.").into());
    }
    let of = CatalogOf { user: ctx.caller.user_id, project: ctx.caller.project_id() };
    json(200, &wire::listing(ctx.url(), "auth/catalog", wire::catalog(&ctx.state, ctx.url(), of)))
}

/// The enabled projects in which a user has a role.
pub fn projects_of(state: &Cloud, user: UserId) -> Vec<Arc<Project>> {
    let domain_enabled = |id: &DomainId| state.domains.get(id).is_some_and(|d| d.enabled);
    let all = state.projects_of_user(user).into_iter();
    all.filter(|p| p.enabled && domain_enabled(&p.domain_id)).collect()
}

/// `GET /v3/auth/projects`
pub async fn projects(ctx: Ctx) -> Handled {
    let projects = projects_of(&ctx.state, ctx.caller.user_id);
    let items = projects.iter().map(|p| wire::project(ctx.url(), p)).collect();
    json(200, &wire::listing(ctx.url(), "auth/projects", items))
}

/// `GET /v3/auth/domains`
pub async fn domains(ctx: Ctx) -> Handled {
    let user = ctx.caller.user_id;
    let held = |id: &DomainId| !ctx.state.roles_on(user, &Target::Domain(id.clone())).is_empty();
    let domains = ctx.state.domains.values().filter(|d| d.enabled && held(&d.id));
    json(
        200,
        &wire::listing(ctx.url(), "auth/domains", domains.map(|d| wire::domain(ctx.url(), d)).collect()),
    )
}

/// `GET /v3/auth/system`
pub async fn system(ctx: Ctx) -> Handled {
    let held = !ctx.state.roles_on(ctx.caller.user_id, &Target::System).is_empty();
    let system = if held { vec![json!({"all": true})] } else { Vec::new() };
    json(200, &json!({"system": system, "links": {"self": format!("{}/identity/v3/auth/system", ctx.url())}}))
}

/// Reads a user's id, which may be the caller's own.
pub fn user_id(text: &str) -> Result<UserId> {
    id("user", text)
}
