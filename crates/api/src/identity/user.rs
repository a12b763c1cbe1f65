//! Users.

use super::{
    auth::{projects_of, user_id},
    domain_of_new, field, filter,
    lockout::Account,
    login::{Secret, judge},
    missing, name, reached, required,
};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    DomainId, ProjectId, UserId,
    error::{Error, Result},
    identity::User,
    policy::Action,
};
use lenticular_wire::{
    identity::{self as wire, extra_of},
    request::envelope,
};
use serde_json::{Map, Value, json};

const KNOWN: &[&str] = &[
    "id",
    "name",
    "password",
    "original_password",
    "enabled",
    "domain_id",
    "default_project_id",
    "options",
    "links",
    "password_expires_at",
];

/// The filters for users. No user comes from another identity provider, and no password expires.
const FILTERS: &[&str] = &[
    "name",
    "domain_id",
    "enabled",
    "password_expires_at",
    "idp_id",
    "protocol_id",
    "unique_id",
    "description",
    "email",
];

/// `GET /v3/users`
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::UserRead)?;
    let query = &ctx.query;
    let users = ctx.state.users.values().filter(|user| reach.covers(&user.domain_id));
    let users = users.map(|user| wire::user(ctx.url(), user)).collect();
    let (found, _) = page::cut(filter::chosen(query, users, FILTERS)?, query, filter::id)?;
    json(200, &wire::listing(ctx.url(), "users", found))
}

fn check_read(ctx: &Ctx, id: UserId) -> Result<()> {
    if id == ctx.caller.user_id {
        return Ok(());
    }
    identity::govern::governed_user(&ctx.state, &ctx.caller, Action::UserRead, id).map(drop)
}

/// `GET /v3/users/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = user_id(&text)?;
    check_read(&ctx, id)?;
    let user = ctx.state.users.get(&id).ok_or_else(|| missing("user", &text))?;
    json(200, &json!({"user": wire::user(ctx.url(), user)}))
}

/// `GET /v3/users/{id}/projects`
pub async fn projects(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = user_id(&text)?;
    check_read(&ctx, id)?;
    let projects = projects_of(&ctx.state, id);
    let items = projects.iter().map(|p| wire::project(ctx.url(), p)).collect();
    let found = filter::chosen(&ctx.query, items, &["name", "domain_id", "parent_id", "enabled"])?;
    json(200, &wire::listing(ctx.url(), &format!("users/{id}/projects"), found))
}

/// The user's fields in a request.
struct Asked {
    name: Option<String>,
    hash: Option<String>,
    enabled: Option<bool>,
    domain_id: Option<DomainId>,
    default_project_id: Option<ProjectId>,
    extra: std::collections::BTreeMap<String, Value>,
}

/// Reads a request after the policy check: hashing costs a core for a while.
async fn read(ctx: &Ctx, fields: &Map<String, Value>) -> Result<Asked> {
    let hash = match field::<String>(fields, "password")? {
        Some(password) if password.is_empty() => return Err(no_password()),
        Some(password) => Some(ctx.app.passwords.hash(ctx.asker(Some(ctx.caller.user_id)), password).await?),
        None => None,
    };
    Ok(Asked {
        name: name(fields, 255)?,
        hash,
        enabled: field(fields, "enabled")?,
        domain_id: field(fields, "domain_id")?,
        default_project_id: field(fields, "default_project_id")?,
        extra: extra_of(fields, KNOWN),
    })
}

/// A password of no characters is refused: everybody would know it.
fn no_password() -> Error {
    Error::invalid("Invalid input for field 'password': a password has at least one character.")
}

/// `POST /v3/users`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    reached(&ctx, Action::UserWrite)?;
    let asked = read(&ctx, &envelope(body, "user")?).await?;
    let name = asked.name.clone().ok_or_else(|| required("name"))?;
    let user = ctx
        .commit("user create", move |txn, caller| {
            let user = User {
                id: UserId::from_random(txn.random()),
                created_at: txn.now,
                updated_at: None,
                domain_id: asked.domain_id.unwrap_or_else(|| domain_of_new(caller)),
                name,
                password_hash: asked.hash,
                past_password_hashes: Vec::new(),
                password_changed_at: txn.now,
                enabled: asked.enabled.unwrap_or(true),
                default_project_id: asked.default_project_id,
                extra: asked.extra,
                unknown: Default::default(),
            };
            identity::user::put(txn, caller, user.clone())?;
            Ok(user)
        })
        .await?;
    json(201, &json!({"user": wire::user(ctx.url(), &user)}))
}

/// `PATCH /v3/users/{id}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id = user_id(&text)?;
    identity::govern::governed_user(&ctx.state, &ctx.caller, Action::UserWrite, id)?;
    let asked = read(&ctx, &envelope(body, "user")?).await?;
    let unlocks = asked.enabled == Some(true) || asked.hash.is_some();
    let unique = ctx.app.config.settings.security_compliance.unique();
    let user = ctx
        .commit("user update", move |txn, caller| {
            let old = identity::govern::governed_user(txn, caller, Action::UserWrite, id)?;
            let mut user = User::clone(&old);
            if asked.domain_id.as_ref().is_some_and(|d| *d != user.domain_id) {
                return Err(Error::invalid("A user cannot be moved to another domain."));
            }
            if let Some(hash) = asked.hash {
                user.set_password(hash, txn.now, unique);
            }
            user.name = asked.name.unwrap_or(user.name);
            user.enabled = asked.enabled.unwrap_or(user.enabled);
            user.default_project_id = asked.default_project_id.or(user.default_project_id);
            user.extra.extend(asked.extra);
            user.updated_at = Some(txn.now);
            identity::user::put(txn, caller, user.clone())?;
            Ok(user)
        })
        .await?;
    if unlocks {
        ctx.app.lockout.clear(Account::User(id));
    }
    json(200, &json!({"user": wire::user(ctx.url(), &user)}))
}

/// `POST /v3/users/{id}/password`: who knows a user's password changes it. As in Keystone, the token may be another
/// user's.
pub async fn change_password(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id = user_id(&text)?;
    let fields = envelope(body, "user")?;
    let old: String = field(&fields, "original_password")?.ok_or_else(|| required("original_password"))?;
    let new: String = field(&fields, "password")?.ok_or_else(|| required("password"))?;
    if new.is_empty() {
        return Err(no_password().into());
    }
    // A missing user gets the same answer as a wrong password: the answer must not tell which users exist.
    let user = ctx.state.users.get(&id).filter(|user| user.enabled);
    let asker = ctx.asker(user.map(|user| user.id));
    let hash = user.and_then(|user| user.password_hash.clone());
    let secret = Secret { given: &old, hash, account: asker.user.map(Account::User) };
    let right = judge(&ctx.app, asker, secret).await?;
    let user = user.filter(|_| right);
    let user =
        user.ok_or_else(|| Error::unauthorized("The request you have made requires authentication."))?;
    let unique = ctx.app.config.settings.security_compliance.unique();
    for past in user.hashes_to_avoid(unique) {
        if ctx.app.passwords.verify(asker, new.clone(), Some(past.clone())).await? {
            return Err(Error::invalid(format!(
                "Password validation error: The new password cannot be identical to a previous password. It must differ \
                 from the last {unique}."
            ))
            .into());
        }
    }
    let hash = ctx.app.passwords.hash(asker, new).await?;
    let known = user.password_hash.clone().unwrap_or_default();
    ctx.commit("user change password", move |txn, _| {
        identity::user::change_password(txn, id, &known, hash, unique)
    })
    .await?;
    empty(204)
}

/// `DELETE /v3/users/{id}`
pub async fn delete(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = user_id(&text)?;
    ctx.commit("user delete", move |txn, caller| identity::user::delete(txn, caller, id)).await?;
    empty(204)
}
