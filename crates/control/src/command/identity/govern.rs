//! Shared checks of the commands on domains, projects, users, roles and grants: existence and the caller's rights.

use lenticular_model::{
    DomainId, GroupId, ProjectId, RoleId, State, UserId,
    error::{Error, Result},
    identity::{Actor, Domain, Group, Project, Role, RoleAssignment, Target, User},
    policy::{self, Action, Caller, Reach},
};
use std::sync::Arc;

/// The refusal: the object does not exist.
pub(crate) fn missing(what: &str, id: impl std::fmt::Display) -> Error {
    Error::not_found_text(format!("Could not find {what}: {id}."))
}

/// The refusal of a name that is taken.
pub(crate) fn duplicate(what: &str, name: &str) -> Error {
    Error::conflict(format!(
        "Conflict occurred attempting to store {what} - Duplicate entry found with name {name}."
    ))
}

/// The project, if it exists.
pub fn project(state: &State, id: ProjectId) -> Result<Arc<Project>> {
    state.projects.get(&id).cloned().ok_or_else(|| missing("project", id))
}

/// The user, if it exists.
pub fn user(state: &State, id: UserId) -> Result<Arc<User>> {
    state.users.get(&id).cloned().ok_or_else(|| missing("user", id))
}

/// The domain, if it exists.
pub fn domain(state: &State, id: &DomainId) -> Result<Arc<Domain>> {
    state.domains.get(id).cloned().ok_or_else(|| missing("domain", id))
}

/// The role, if it exists.
pub fn role(state: &State, id: RoleId) -> Result<Arc<Role>> {
    state.roles.get(&id).cloned().ok_or_else(|| missing("role", id))
}

/// The project, if the caller may do an action of Keystone to it.
///
/// # Errors
/// The caller may not, which also hides whether the project exists; or the project does not exist.
pub fn governed_project(
    state: &State,
    caller: &Caller,
    action: Action,
    id: ProjectId,
) -> Result<Arc<Project>> {
    let found = state.projects.get(&id);
    policy::check_in_domain(caller, action, found.map(|p| &p.domain_id))?;
    found.cloned().ok_or_else(|| missing("project", id))
}

/// The user, if the caller may do an action of Keystone to it.
///
/// # Errors
/// As for [`governed_project`].
pub fn governed_user(state: &State, caller: &Caller, action: Action, id: UserId) -> Result<Arc<User>> {
    let found = state.users.get(&id);
    policy::check_in_domain(caller, action, found.map(|u| &u.domain_id))?;
    found.cloned().ok_or_else(|| missing("user", id))
}

/// The group, if the caller may do an action of Keystone to it.
///
/// # Errors
/// As for [`governed_project`].
pub fn governed_group(state: &State, caller: &Caller, action: Action, id: GroupId) -> Result<Arc<Group>> {
    let found = state.groups.get(&id);
    policy::check_in_domain(caller, action, found.map(|g| &g.domain_id))?;
    found.cloned().ok_or_else(|| missing("group", id))
}

/// Refuses unless the caller is this user, or may do the action for every user.
pub fn check_owner(caller: &Caller, action: Action, user: UserId) -> Result<()> {
    if caller.user_id == user { Ok(()) } else { policy::check(caller, action, None) }
}

/// Refuses if the caller governs only a domain and the user or group has more rights than the caller: with the
/// user's password, or as a user of the group, the caller would have them too. More rights are any role on the
/// system, and the role admin anywhere except on the domain itself. For a domain's manager the role admin on the
/// domain counts too. Ordinary roles elsewhere do not count: a grant to a user of another domain trusts that
/// domain's administrators, as in Keystone.
pub(crate) fn check_not_above(state: &State, caller: &Caller, actor: Actor) -> Result<()> {
    let Reach::Domain(domain) = policy::reach(caller, Action::UserWrite) else { return Ok(()) };
    let is_above = |a: &RoleAssignment| {
        let admin = state.roles.get(&a.role_id).is_some_and(|role| state.is_admin_role(role));
        match &a.target {
            Target::System => true,
            Target::Domain(own) if *own == domain && !a.inherited => {
                admin && caller.level < policy::RoleLevel::Admin
            }
            Target::Domain(_) | Target::Project(_) => admin,
        }
    };
    let (noun, id, above) = match actor {
        Actor::User(id) => {
            // Who has a trustee's password acts by the trust, too.
            let mut trusted = state.trusts_of_trustee(id).flat_map(|trust| &trust.role_ids);
            let by_trust =
                trusted.any(|id| state.roles.get(id).is_some_and(|role| state.is_admin_role(role)));
            let above = by_trust || state.role_assignments_behind(id).any(|a| is_above(a));
            ("user", id.to_string(), above)
        }
        Actor::Group(id) => ("group", id.to_string(), state.role_assignments_of(actor).any(|a| is_above(a))),
    };
    if above {
        return Err(Error::forbidden(format!(
            "The {noun} {id} has rights that you do not have. Only an administrator who has them may change this \
             {noun}."
        )));
    }
    Ok(())
}

/// Refuses if the caller governs only a domain and administrators of the cloud work in the project: without the
/// project they would be shut out.
pub(crate) fn check_nobody_above_in(state: &State, caller: &Caller, project: ProjectId) -> Result<()> {
    if policy::reach(caller, Action::ProjectWrite) == Reach::Cloud {
        return Ok(());
    }
    let of_admin =
        |a: &RoleAssignment| state.roles.get(&a.role_id).is_some_and(|role| state.is_admin_role(role));
    let sources = state.sources_of(&Target::Project(project));
    let holds =
        |a: &RoleAssignment| sources.iter().any(|(target, low)| a.target == *target && a.inherited == *low);
    if state.role_assignments.values().any(|a| holds(a) && of_admin(a)) {
        return Err(Error::forbidden(format!(
            "Administrators of the cloud act in project {project}. Only an administrator of the cloud may disable or \
             delete it."
        )));
    }
    Ok(())
}
