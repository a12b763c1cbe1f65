//! Role assignments.

use super::{id, reached};
use crate::{
    ctx::Ctx,
    fault::Handled,
    identity::missing,
    query::Query,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::identity;
use lenticular_model::{
    RoleId, State, UserId,
    error::{Error, Result},
    identity::{Project, RoleAssignment, Target},
    policy::{Action, Reach},
};
use lenticular_wire::identity as wire;
use std::sync::Arc;

/// The filters of a listing of role assignments.
struct Asked {
    user: Option<String>,
    role: Option<String>,
    domain: Option<String>,
    /// Projects, the named project first.
    projects: Option<Vec<String>>,
    system: bool,
    effective: bool,
    /// True for a filter by something that Keystone has and Lenticular does not: groups, inherited roles.
    nothing: bool,
}

impl Asked {
    fn read(state: &State, query: &Query) -> Result<Self> {
        let text = |name: &str| query.get(name).map(str::to_owned);
        let set = |name: &str| Ok::<_, Error>(query.flag(name)?.unwrap_or(false));
        let (user, domain, project) = (text("user.id"), text("scope.domain.id"), text("scope.project.id"));
        let (group, system) = (text("group.id"), text("scope.system").is_some());
        let inherited = text("scope.OS-INHERIT:inherited_to").is_some();
        let (effective, subtree) = (set("effective")?, set("include_subtree")?);
        let bad = |why: &'static str| Err(Error::invalid(why));
        if [domain.is_some(), project.is_some(), system].into_iter().filter(|named| *named).count() > 1 {
            return bad("Specify a domain, a project or the system as the scope, not several of them.");
        }
        if user.is_some() && group.is_some() {
            return bad("Specify a user or a group, not both.");
        }
        if effective && group.is_some() {
            return bad("Combining the filters effective and group.id always gives an empty list.");
        }
        if subtree && project.is_none() {
            return bad("scope.project.id must be specified if include_subtree is specified, too.");
        }
        let projects = project.map(|top| if subtree { self::subtree(state, top) } else { vec![top] });
        let nothing = group.is_some() || inherited;
        Ok(Self { user, role: text("role.id"), domain, projects, system, effective, nothing })
    }

    fn wants(&self, user: UserId, role: RoleId, target: &Target) -> bool {
        let is = |asked: &Option<String>, id: String| asked.as_ref().is_none_or(|asked| *asked == id);
        let in_scope = match target {
            Target::Project(id) => {
                let named = self.projects.as_ref().is_none_or(|all| all.contains(&id.to_string()));
                named && self.domain.is_none() && !self.system
            }
            Target::Domain(id) => is(&self.domain, id.to_string()) && self.projects.is_none() && !self.system,
            Target::System => self.domain.is_none() && self.projects.is_none(),
        };
        !self.nothing && in_scope && is(&self.user, user.to_string()) && is(&self.role, role.to_string())
    }
}

/// A project and all projects below it.
fn subtree(state: &State, top: String) -> Vec<String> {
    let mut found = vec![top];
    let mut at = 0;
    while let Some(parent) = found.get(at).cloned() {
        let is_child = |p: &&Arc<Project>| p.parent_id.is_some_and(|id| id.to_string() == parent);
        found.extend(state.projects.values().filter(is_child).map(|p| p.id.to_string()));
        at += 1;
    }
    found
}

/// `GET /v3/role_assignments`. With `effective`, the list also has each role that an assigned role implies, as in
/// a token.
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::GrantRead)?;
    let state = &ctx.state;
    let names = ctx.query.flag("include_names")?.unwrap_or(false);
    let asked = Asked::read(state, &ctx.query)?;
    let within = |a: &&Arc<RoleAssignment>| {
        reach == Reach::Cloud || state.domain_of(&a.target).is_some_and(|d| reach.covers(&d))
    };
    let mut items = Vec::new();
    for given in state.role_assignments.values().filter(within) {
        let mut line = |role: RoleId, prior: Option<RoleId>| {
            if asked.wants(given.user_id, role, &given.target) {
                items.push(wire::assignment(state, ctx.url(), given, (role, prior), names));
            }
        };
        line(given.role_id, None);
        let role = state.roles.get(&given.role_id).filter(|_| asked.effective);
        let implied = role.map(|role| state.roles_implied_by(role)).unwrap_or_default();
        implied.iter().for_each(|role| line(role.id, Some(given.role_id)));
    }
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
    identity::grant::check(&ctx.state, &ctx.caller, Action::GrantRead, user, &target, None)?;
    let direct = |r: &RoleId| ctx.state.role_assignment(user, &target, *r).is_some();
    let roles = ctx.state.roles_on(user, &target);
    let items = roles.iter().filter(|r| direct(&r.id)).map(|r| wire::role(ctx.url(), r)).collect();
    json(200, &wire::listing(ctx.url(), "roles", items))
}

async fn give(ctx: Ctx, target: Target, user: &str, role: &str) -> Handled {
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role)?);
    ctx.commit("role grant", move |txn, caller| identity::grant::grant(txn, caller, user, target, role))
        .await?;
    empty(204)
}

async fn take(ctx: Ctx, target: Target, user: &str, role: &str) -> Handled {
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role)?);
    ctx.commit("role revoke", move |txn, caller| identity::grant::revoke(txn, caller, user, target, role))
        .await?;
    empty(204)
}

fn check(ctx: &Ctx, target: Target, user: &str, role_text: &str) -> Handled {
    let (user, role): (UserId, RoleId) = (id("user", user)?, id("role", role_text)?);
    identity::grant::check(&ctx.state, &ctx.caller, Action::GrantRead, user, &target, Some(role))?;
    match ctx.state.role_assignment(user, &target, role).is_some() {
        true => empty(204),
        false => Err(missing("role assignment with role", role_text).into()),
    }
}

macro_rules! on {
    ($target:ident: $list:ident, $put:ident, $check:ident, $drop:ident) => {
        /// Lists a user's assigned roles there.
        pub async fn $list(ctx: Ctx, Path((on, user)): Path<(String, String)>) -> Handled {
            held(&ctx, $target(&on)?, &user)
        }
        /// Assigns a role.
        pub async fn $put(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            give(ctx, $target(&on)?, &user, &role).await
        }
        /// Checks whether a role is assigned.
        pub async fn $check(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            check(&ctx, $target(&on)?, &user, &role)
        }
        /// Removes a role assignment.
        pub async fn $drop(ctx: Ctx, Path((on, user, role)): Path<(String, String, String)>) -> Handled {
            take(ctx, $target(&on)?, &user, &role).await
        }
    };
}

on!(project: on_project, put_project, check_project, drop_project);
on!(domain: on_domain, put_domain, check_domain, drop_domain);

/// Lists a user's assigned roles on the system.
pub async fn on_system(ctx: Ctx, Path(user): Path<String>) -> Handled {
    held(&ctx, Target::System, &user)
}

/// Assigns a role on the system.
pub async fn put_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    give(ctx, Target::System, &user, &role).await
}

/// Checks whether a role is assigned on the system.
pub async fn check_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    check(&ctx, Target::System, &user, &role)
}

/// Removes a role assignment on the system.
pub async fn drop_system(ctx: Ctx, Path((user, role)): Path<(String, String)>) -> Handled {
    take(ctx, Target::System, &user, &role).await
}
