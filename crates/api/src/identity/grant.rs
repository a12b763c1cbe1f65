//! Role assignments.

use super::{id, reached};
use crate::{
    app::App,
    ctx::Ctx,
    fault::Handled,
    identity::missing,
    query::Query,
    respond::{empty, json},
    routes::{Routes, get, put},
};
use axum::extract::Path;
use lenticular_control::command::identity::{self, grant::Place};
use lenticular_model::{
    GroupId, ProjectId, RoleId, State, UserId,
    error::{Error, Result},
    identity::{Actor, RoleAssignment, Target},
    policy::{Action, Reach},
};
use lenticular_wire::identity::{self as wire, AssignmentLine};
use std::sync::Arc;

/// The filters of a listing of role assignments.
struct Asked {
    user: Option<String>,
    group: Option<String>,
    role: Option<String>,
    domain: Option<String>,
    /// Projects, the named project first.
    projects: Option<Vec<String>>,
    system: bool,
    inherited: bool,
    effective: bool,
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
        let below = |top: &String| {
            let id = top.parse::<ProjectId>().ok()?;
            Some(state.subtree_of_project(id).iter().map(ToString::to_string).collect())
        };
        let projects = project.map(|top| match subtree {
            true => below(&top).unwrap_or_else(|| vec![top]),
            false => vec![top],
        });
        Ok(Self { user, group, role: text("role.id"), domain, projects, system, inherited, effective })
    }

    fn wants(&self, line: &AssignmentLine<'_>) -> bool {
        let is = |asked: &Option<String>, id: &dyn ToString| {
            asked.as_ref().is_none_or(|asked| *asked == id.to_string())
        };
        let in_scope = match &line.target {
            Target::Project(id) => {
                let named = self.projects.as_ref().is_none_or(|all| all.contains(&id.to_string()));
                named && self.domain.is_none() && !self.system
            }
            Target::Domain(id) => is(&self.domain, id) && self.projects.is_none() && !self.system,
            Target::System => self.domain.is_none() && self.projects.is_none(),
        };
        let of_actor = match line.actor {
            Actor::User(id) => is(&self.user, &id) && self.group.is_none(),
            Actor::Group(id) => is(&self.group, &id) && self.user.is_none(),
        };
        in_scope && of_actor && is(&self.role, &line.role_id) && (!self.inherited || line.given.inherited)
    }

    /// The assignments that can have lines of the listing.
    fn candidates<'s>(&self, state: &'s State) -> Vec<&'s Arc<RoleAssignment>> {
        match (&self.user, &self.group) {
            (Some(user), _) => match user.parse::<UserId>() {
                Ok(user) if self.effective => state.role_assignments_behind(user).collect(),
                Ok(user) => state.role_assignments_of(Actor::User(user)).collect(),
                Err(_) => Vec::new(),
            },
            (None, Some(group)) => match group.parse::<GroupId>() {
                Ok(group) => state.role_assignments_of(Actor::Group(group)).collect(),
                Err(_) => Vec::new(),
            },
            (None, None) => state.role_assignments.values().collect(),
        }
    }
}

/// The lines of an assignment: itself; or, for an effective list, each user, project and role that it gives.
fn lines<'a>(state: &State, given: &'a RoleAssignment, effective: bool) -> Vec<AssignmentLine<'a>> {
    let line =
        |role_id, actor, target, inherited| AssignmentLine { given, role_id, actor, target, inherited };
    if !effective {
        return vec![line(given.role_id, given.actor, given.target.clone(), given.inherited)];
    }
    let users: Vec<Actor> = match given.actor {
        Actor::User(_) => vec![given.actor],
        Actor::Group(group) => state.users_of_group(group).map(|user| Actor::User(user.id)).collect(),
    };
    let targets: Vec<Target> = match (&given.target, given.inherited) {
        (target, false) => vec![target.clone()],
        (Target::Project(id), true) => {
            state.subtree_of_project(*id).into_iter().skip(1).map(Target::Project).collect()
        }
        (Target::Domain(id), true) => {
            let inside = state.projects.values().filter(|p| p.domain_id == *id);
            inside.map(|p| Target::Project(p.id)).collect()
        }
        (Target::System, true) => Vec::new(),
    };
    let role = state.roles.get(&given.role_id).cloned();
    let roles = state.with_implied_roles(role.into_iter().collect());
    let roles: Vec<RoleId> = roles.iter().filter(|r| r.domain_id.is_none()).map(|r| r.id).collect();
    let mut found = Vec::new();
    for actor in &users {
        for target in &targets {
            found.extend(roles.iter().map(|role| line(*role, *actor, target.clone(), false)));
        }
    }
    found
}

/// `GET /v3/role_assignments`. With `effective`, the list has what tokens have: the users of groups, the projects
/// that inherit, and each role that an assigned role implies.
pub async fn list(ctx: Ctx) -> Handled {
    let reach = reached(&ctx, Action::GrantRead)?;
    let state = &ctx.state;
    let names = ctx.query.flag("include_names")?.unwrap_or(false);
    let asked = Asked::read(state, &ctx.query)?;
    let within = |a: &RoleAssignment| {
        reach == Reach::Cloud || state.domain_of(&a.target).is_some_and(|d| reach.covers(&d))
    };
    let mut items = Vec::new();
    for given in asked.candidates(state).into_iter().filter(|given| within(given)) {
        for line in lines(state, given, asked.effective).iter().filter(|line| asked.wants(line)) {
            items.push(wire::assignment(state, ctx.url(), line, names));
        }
    }
    json(200, &wire::listing(ctx.url(), "role_assignments", items))
}

fn project(text: &str) -> Result<Target> {
    id("project", text).map(Target::Project)
}

fn domain(text: &str) -> Result<Target> {
    Ok(Target::Domain(text.into()))
}

fn user(text: &str) -> Result<Actor> {
    id("user", text).map(Actor::User)
}

fn group(text: &str) -> Result<Actor> {
    id("group", text).map(Actor::Group)
}

fn held(ctx: &Ctx, place: &Place) -> Handled {
    identity::grant::check(&ctx.state, &ctx.caller, Action::GrantRead, place, None)?;
    let held = ctx.state.role_assignments_of_on(place.actor, &place.target, place.inherited);
    let roles = held.filter_map(|held| ctx.state.roles.get(&held.role_id));
    let items = roles.map(|role| wire::role(ctx.url(), role)).collect();
    json(200, &wire::listing(ctx.url(), "roles", items))
}

async fn give(ctx: Ctx, place: Place, role: &str) -> Handled {
    let role: RoleId = id("role", role)?;
    ctx.commit("role grant", move |txn, caller| identity::grant::grant(txn, caller, place, role)).await?;
    empty(204)
}

async fn take(ctx: Ctx, place: Place, role: &str) -> Handled {
    let role: RoleId = id("role", role)?;
    ctx.commit("role revoke", move |txn, caller| identity::grant::revoke(txn, caller, &place, role)).await?;
    empty(204)
}

fn check(ctx: &Ctx, place: &Place, text: &str) -> Handled {
    let role: RoleId = id("role", text)?;
    identity::grant::check(&ctx.state, &ctx.caller, Action::GrantRead, place, Some(role))?;
    let held = ctx.state.role_assignment(place.actor, &place.target, place.inherited, role);
    match held.is_some() {
        true => empty(204),
        false => Err(missing("role assignment with role", text).into()),
    }
}

/// Adds the routes of grants: for users and groups, on projects, domains and the system, direct and inherited.
pub fn routes(mut routes: Routes<App>) -> Routes<App> {
    type Read<T> = fn(&str) -> Result<T>;
    let actors: [(&str, Read<Actor>); 2] = [("users", user), ("groups", group)];
    let targets: [(&str, Read<Target>); 2] = [("projects", project), ("domains", domain)];
    for (holders, actor) in actors {
        for (places, target) in targets {
            for (before, after, inherited) in
                [("", "", false), ("/OS-INHERIT", "/inherited_to_projects", true)]
            {
                let place = move |on: &str, of: &str| -> Result<Place> {
                    Ok(Place { target: target(on)?, actor: actor(of)?, inherited })
                };
                let base = format!("{before}/{places}/{{id}}/{holders}/{{holder}}/roles");
                routes = placed(routes, &base, after, place);
            }
        }
        let place = move |of: &str| -> Result<Place> {
            Ok(Place { target: Target::System, actor: actor(of)?, inherited: false })
        };
        routes = on_system(routes, holders, place);
    }
    routes
}

/// The routes of one kind of place: the list of its roles, and each role.
fn placed(
    routes: Routes<App>,
    base: &str,
    after: &str,
    place: impl Fn(&str, &str) -> Result<Place> + Copy + Send + Sync + 'static,
) -> Routes<App> {
    type Ids = Path<(String, String, String)>;
    let list =
        move |ctx: Ctx, Path((on, of)): Path<(String, String)>| async move { held(&ctx, &place(&on, &of)?) };
    let put_one =
        move |ctx: Ctx, Path((on, of, role)): Ids| async move { give(ctx, place(&on, &of)?, &role).await };
    let check_one =
        move |ctx: Ctx, Path((on, of, role)): Ids| async move { check(&ctx, &place(&on, &of)?, &role) };
    let drop_one =
        move |ctx: Ctx, Path((on, of, role)): Ids| async move { take(ctx, place(&on, &of)?, &role).await };
    routes.route(&format!("{base}{after}"), get(list)).route(
        &format!("{base}/{{role}}{after}"),
        put(put_one).head(check_one).get(check_one).delete(drop_one),
    )
}

fn on_system(
    routes: Routes<App>,
    holders: &str,
    place: impl Fn(&str) -> Result<Place> + Copy + Send + Sync + 'static,
) -> Routes<App> {
    type Ids = Path<(String, String)>;
    let list = move |ctx: Ctx, Path(of): Path<String>| async move { held(&ctx, &place(&of)?) };
    let put_one = move |ctx: Ctx, Path((of, role)): Ids| async move { give(ctx, place(&of)?, &role).await };
    let check_one = move |ctx: Ctx, Path((of, role)): Ids| async move { check(&ctx, &place(&of)?, &role) };
    let drop_one = move |ctx: Ctx, Path((of, role)): Ids| async move { take(ctx, place(&of)?, &role).await };
    let base = format!("/system/{holders}/{{holder}}/roles");
    routes
        .route(&base, get(list))
        .route(&format!("{base}/{{role}}"), put(put_one).head(check_one).get(check_one).delete(drop_one))
}
