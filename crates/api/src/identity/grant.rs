//! Who holds which role where.

use super::id;
use crate::{
    app::{empty, json},
    ctx::Ctx,
    fault::Handled,
    identity::missing,
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    error::Result,
    identity::{RoleAssignment, Target},
    policy::{self, Action},
    RoleId, UserId,
};
use lenticular_wire::identity as wire;
use std::sync::Arc;

/// `GET /v3/role_assignments`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::GrantRead, None)?;
    let query = &ctx.query;
    let names = query.flag("include_names")?.unwrap_or(false);
    let system = query.get("scope.system").is_some();
    let wanted = |a: &&Arc<RoleAssignment>| {
        query.get("user.id").is_none_or(|u| a.user_id.to_string() == u)
            && query.get("role.id").is_none_or(|r| a.role_id.to_string() == r)
            && query
                .get("scope.project.id")
                .is_none_or(|p| matches!(&a.target, Target::Project(id) if id.to_string() == p))
            && query
                .get("scope.domain.id")
                .is_none_or(|d| matches!(&a.target, Target::Domain(id) if id.as_str() == d))
            && (!system || a.target == Target::System)
    };
    let found = ctx.state.role_assignments.values().filter(wanted);
    let items = found.map(|a| wire::assignment(&ctx.state, ctx.url(), a, names)).collect();
    json(200, &wire::listing(ctx.url(), "role_assignments", items))
}

fn project(text: &str) -> Result<Target> {
    id("project", text).map(Target::Project)
}

fn domain(text: &str) -> Result<Target> {
    Ok(Target::Domain(text.into()))
}

fn held(ctx: &Ctx, target: Target, user: &str) -> Handled {
    let user: UserId = id("user", user)?;
    policy::check(&ctx.caller, Action::GrantRead, None)?;
    identity::user(&ctx.state, user)?;
    let direct = |r: &RoleId| ctx.state.index.user_roles.contains_key(&(user, target.clone(), *r));
    let roles = identity::roles_on(&ctx.state, user, &target);
    let items = roles.iter().filter(|r| direct(&r.id)).map(|r| wire::role(ctx.url(), r)).collect();
    json(200, &wire::listing(ctx.url(), "roles", items))
}

async fn give(ctx: Ctx, target: Target, user: &str, role: &str) -> Handled {
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role)?);
    ctx.commit("role grant", move |txn, caller| identity::grant(txn, caller, user, target, role)).await?;
    empty(204)
}

async fn take(ctx: Ctx, target: Target, user: &str, role: &str) -> Handled {
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role)?);
    ctx.commit("role revoke", move |txn, caller| identity::revoke_grant(txn, caller, user, target, role))
        .await?;
    empty(204)
}

fn check(ctx: &Ctx, target: Target, user: &str, role_text: &str) -> Handled {
    policy::check(&ctx.caller, Action::GrantRead, None)?;
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role_text)?);
    match ctx.state.index.user_roles.contains_key(&(user, target, role)) {
        true => empty(204),
        false => Err(missing("role assignment with role", role_text).into()),
    }
}

macro_rules! on {
    ($target:ident: $list:ident, $put:ident, $check:ident, $drop:ident) => {
        /// Lists the roles that a user was given there.
        pub async fn $list(ctx: Ctx, Path((on, user)): Path<(String, String)>) -> Handled {
            held(&ctx, $target(&on)?, &user)
        }
        /// Gives a role.
        pub async fn $put(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            give(ctx, $target(&on)?, &user, &role).await
        }
        /// Answers whether the role was given.
        pub async fn $check(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            check(&ctx, $target(&on)?, &user, &role)
        }
        /// Takes a role away.
        pub async fn $drop(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            take(ctx, $target(&on)?, &user, &role).await
        }
    };
}

on!(project: on_project, put_project, check_project, drop_project);
on!(domain: on_domain, put_domain, check_domain, drop_domain);

/// Lists the roles that a user was given on the whole cloud.
pub async fn on_system(ctx: Ctx, Path(user): Path<String>) -> Handled {
    held(&ctx, Target::System, &user)
}

/// Gives a role on the whole cloud.
pub async fn put_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    give(ctx, Target::System, &user, &role).await
}

/// Answers whether the role was given on the whole cloud.
pub async fn check_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    check(&ctx, Target::System, &user, &role)
}

/// Takes a role on the whole cloud away.
pub async fn drop_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    take(ctx, Target::System, &user, &role).await
}
