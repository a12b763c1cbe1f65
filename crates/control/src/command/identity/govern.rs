//! Shared checks of the commands on domains, projects, users, roles and grants: existence and the caller's rights.

use lenticular_model::{
    DomainId, ProjectId, RoleId, State, UserId,
    error::{Error, Result},
    identity::{Domain, Project, Role, RoleAssignment, Target, User},
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

/// Refuses if the caller governs only a domain and the user has more rights than the caller: with the user's
/// password the caller would have them too. More rights are any role on the system, and the role admin anywhere
/// except on the domain itself. For a domain's manager the role admin on the domain counts too. Ordinary roles
/// elsewhere do not count: a grant to a user of another domain trusts that domain's administrators, as in Keystone.
pub(crate) fn check_not_above(state: &State, caller: &Caller, user: UserId) -> Result<()> {
    let Reach::Domain(domain) = policy::reach(caller, Action::UserWrite) else { return Ok(()) };
    let is_above = |a: &RoleAssignment| {
        let admin = state.roles.get(&a.role_id).is_some_and(|role| is_admin(role));
        match &a.target {
            Target::System => true,
            Target::Domain(own) if *own == domain => admin && caller.level < policy::RoleLevel::Admin,
            Target::Domain(_) | Target::Project(_) => admin,
        }
    };
    if state.role_assignments_of_user(user).any(|a| is_above(a)) {
        return Err(Error::forbidden(format!(
            "User {user} has rights that you do not have. Only an administrator who has them may change this user."
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
    let of_admin = |a: &&Arc<RoleAssignment>| {
        a.target == Target::Project(project) && state.roles.get(&a.role_id).is_some_and(|role| is_admin(role))
    };
    if state.role_assignments.values().any(|a| of_admin(&a)) {
        return Err(Error::forbidden(format!(
            "Administrators of the cloud act in project {project}. Only an administrator of the cloud may disable or \
             delete it."
        )));
    }
    Ok(())
}

/// Whether a role is the role admin.
pub(crate) fn is_admin(role: &Role) -> bool {
    policy::RoleLevel::of(&role.name) == policy::RoleLevel::Admin
}
