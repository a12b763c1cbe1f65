//! Groups and their users.

use super::{auth::user_id, domain_of_new, field, filter, id, missing, name, reached, required};
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
    DomainId, GroupId, UserId,
    error::{Error, Result},
    identity::Group,
    policy::{Action, Caller},
};
use lenticular_wire::{identity as wire, request::envelope};
use serde_json::json;

/// `GET /v3/groups`
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::GroupRead)?;
    let groups = ctx.state.groups.values().filter(|group| reach.covers(&group.domain_id));
    let groups = groups.map(|group| wire::group(ctx.url(), group)).collect();
    let found = filter::chosen(&ctx.query, groups, &["name", "domain_id", "description"])?;
    let (found, _) = page::cut(found, &ctx.query, filter::id)?;
    json(200, &wire::listing(ctx.url(), "groups", found))
}

/// `GET /v3/groups/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = id("group", &text)?;
    let group = identity::govern::governed_group(&ctx.state, &ctx.caller, Action::GroupRead, id)?;
    json(200, &json!({"group": wire::group(ctx.url(), &group)}))
}

/// `POST /v3/groups`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    reached(&ctx, Action::GroupWrite)?;
    let fields = envelope(body, "group")?;
    let name = name(&fields, 64)?.ok_or_else(|| required("name"))?;
    let description = field::<String>(&fields, "description")?.unwrap_or_default();
    let domain = field::<DomainId>(&fields, "domain_id")?;
    let group = ctx
        .commit("group create", move |txn, caller| {
            let group = Group {
                id: GroupId::from_random(txn.random()),
                created_at: txn.now,
                updated_at: None,
                domain_id: domain.unwrap_or_else(|| domain_of_new(caller)),
                name,
                description,
                unknown: Default::default(),
            };
            identity::group::put(txn, caller, group.clone())?;
            Ok(group)
        })
        .await?;
    json(201, &json!({"group": wire::group(ctx.url(), &group)}))
}

/// `PATCH /v3/groups/{id}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let id: GroupId = id("group", &text)?;
    let fields = envelope(body, "group")?;
    let (name, description) = (name(&fields, 64)?, field::<String>(&fields, "description")?);
    let domain = field::<DomainId>(&fields, "domain_id")?;
    let group = ctx
        .commit("group update", move |txn, caller| {
            let old = identity::govern::governed_group(txn, caller, Action::GroupWrite, id)?;
            let mut group = Group::clone(&old);
            if domain.is_some_and(|domain| domain != group.domain_id) {
                return Err(Error::invalid("A group cannot be moved to another domain."));
            }
            group.name = name.unwrap_or(group.name);
            group.description = description.unwrap_or(group.description);
            group.updated_at = Some(txn.now);
            identity::group::put(txn, caller, group.clone())?;
            Ok(group)
        })
        .await?;
    json(200, &json!({"group": wire::group(ctx.url(), &group)}))
}

/// `DELETE /v3/groups/{id}`
pub async fn delete(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id = id("group", &text)?;
    ctx.commit("group delete", move |txn, caller| identity::group::delete(txn, caller, id)).await?;
    empty(204)
}

/// `GET /v3/groups/{id}/users`
pub async fn users(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let id: GroupId = id("group", &text)?;
    identity::govern::governed_group(&ctx.state, &ctx.caller, Action::GroupRead, id)?;
    // A group may have users of a domain that the caller does not reach.
    let reach = reached(&ctx, Action::UserRead)?;
    let users = ctx.state.users_of_group(id).filter(|user| reach.covers(&user.domain_id));
    let users = users.map(|user| wire::user(ctx.url(), user)).collect();
    let found = filter::chosen(&ctx.query, users, &["name", "enabled", "domain_id"])?;
    json(200, &wire::listing(ctx.url(), &format!("groups/{id}/users"), found))
}

/// `GET /v3/users/{id}/groups`
pub async fn of_user(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let user = user_id(&text)?;
    if user != ctx.caller.user_id {
        identity::govern::governed_user(&ctx.state, &ctx.caller, Action::UserRead, user)?;
    }
    let groups = ctx.state.groups_of_user(user).map(|group| wire::group(ctx.url(), group)).collect();
    let found = filter::chosen(&ctx.query, groups, &["name"])?;
    json(200, &wire::listing(ctx.url(), &format!("users/{user}/groups"), found))
}

fn ids(group: &str, user: &str) -> Result<(GroupId, UserId)> {
    Ok((id("group", group)?, user_id(user)?))
}

/// `PUT /v3/groups/{id}/users/{user}`
pub async fn add_user(ctx: Ctx, Path((group, user)): Path<(String, String)>) -> Handled {
    let (group, user) = ids(&group, &user)?;
    ctx.commit("group add user", move |txn, caller: &Caller| {
        identity::group::add_user(txn, caller, group, user)
    })
    .await?;
    empty(204)
}

/// `HEAD` and `GET /v3/groups/{id}/users/{user}`
pub async fn check_user(ctx: Ctx, Path((group, text)): Path<(String, String)>) -> Handled {
    let (group, user) = ids(&group, &text)?;
    identity::group::check(&ctx.state, &ctx.caller, Action::GroupRead, group, user)?;
    match ctx.state.users_of_group(group).any(|found| found.id == user) {
        true => empty(204),
        false => Err(missing(&format!("user in group {group}"), &text).into()),
    }
}

/// `DELETE /v3/groups/{id}/users/{user}`
pub async fn remove_user(ctx: Ctx, Path((group, user)): Path<(String, String)>) -> Handled {
    let (group, user) = ids(&group, &user)?;
    ctx.commit("group remove user", move |txn, caller: &Caller| {
        identity::group::remove_user(txn, caller, group, user)
    })
    .await?;
    empty(204)
}
