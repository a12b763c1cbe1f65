//! Domains, projects, users, roles and grants: their making, change and removal.

pub mod purge;

use crate::command::network::{cascade, group_build};
use lenticular_model::{
    error::{Error, Result},
    identity::{Domain, Project, Revocation, Role, RoleAssignment, Target, User},
    policy::{self, Action, Caller, Reach},
    AssignmentId, DomainId, ProjectId, RevocationId, RoleId, State, Timestamp, Txn, UserId,
};
use std::sync::Arc;

/// The domain of whoever names none.
pub const DEFAULT_DOMAIN: &str = "default";

fn missing(what: &str, id: impl std::fmt::Display) -> Error {
    Error::not_found_text(format!("Could not find {what}: {id}."))
}

fn duplicate(what: &str, name: &str) -> Error {
    Error::conflict(format!(
        "Conflict occurred attempting to store {what} - Duplicate entry found with name {name}."
    ))
}

/// The project, if it is there.
pub fn project(state: &State, id: ProjectId) -> Result<Arc<Project>> {
    state.projects.get(&id).cloned().ok_or_else(|| missing("project", id))
}

/// The user, if it is there.
pub fn user(state: &State, id: UserId) -> Result<Arc<User>> {
    state.users.get(&id).cloned().ok_or_else(|| missing("user", id))
}

/// The domain, if it is there.
pub fn domain(state: &State, id: &DomainId) -> Result<Arc<Domain>> {
    state.domains.get(id).cloned().ok_or_else(|| missing("domain", id))
}

/// The role, if it is there.
pub fn role(state: &State, id: RoleId) -> Result<Arc<Role>> {
    state.roles.get(&id).cloned().ok_or_else(|| missing("role", id))
}

/// The project, for a caller who may do an action of Keystone's to it.
///
/// # Errors
/// The caller may not, which also hides whether the project exists; or there is no such project.
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

/// The user, for a caller who may do an action of Keystone's to it.
///
/// # Errors
/// As for [`governed_project`].
pub fn governed_user(state: &State, caller: &Caller, action: Action, id: UserId) -> Result<Arc<User>> {
    let found = state.users.get(&id);
    policy::check_in_domain(caller, action, found.map(|u| &u.domain_id))?;
    found.cloned().ok_or_else(|| missing("user", id))
}

/// Refuses if the caller rules a domain alone, and the user has more rights than the caller: with the user's password the
/// caller would have them, too. More are any role on the system, the role admin anywhere but on the domain itself, and for
/// a domain's manager that one as well. Ordinary roles elsewhere do not count: who gives one to a user of another domain
/// trusts that domain's administrators, as in Keystone.
fn check_not_above(state: &State, caller: &Caller, user: UserId) -> Result<()> {
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

/// Refuses if the caller rules a domain alone, and administrators of the cloud act in the project: without it they would
/// be shut out.
fn check_nobody_above_in(state: &State, caller: &Caller, project: ProjectId) -> Result<()> {
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

fn is_admin(role: &Role) -> bool {
    policy::RoleLevel::of(&role.name) == policy::RoleLevel::Admin
}

/// What is to be written in place of a record, or as a new one.
///
/// The edge has read the fields; here it is decided whether they may stand beside what there is.
pub fn put_domain(txn: &mut Txn<'_>, caller: &Caller, domain: Domain) -> Result<()> {
    policy::check(caller, Action::DomainWrite, None)?;
    if txn.domain_named(&domain.name).is_some_and(|other| other.id != domain.id) {
        return Err(duplicate("domain", &domain.name));
    }
    let mut domain = domain;
    if !domain.enabled {
        domain.tokens_void_before = txn.now;
    }
    txn.put(domain);
    Ok(())
}

/// Removes a domain that was disabled first, with all that is in it.
pub fn delete_domain(txn: &mut Txn<'_>, caller: &Caller, id: &DomainId) -> Result<()> {
    policy::check(caller, Action::DomainWrite, None)?;
    if domain(txn, id)?.enabled {
        return Err(Error::forbidden("Cannot delete a domain that is enabled, please disable it first."));
    }
    let users: Vec<UserId> = txn.users.values().filter(|u| u.domain_id == *id).map(|u| u.id).collect();
    let projects: Vec<ProjectId> =
        txn.projects.values().filter(|p| p.domain_id == *id).map(|p| p.id).collect();
    for project in projects {
        remove_project(txn, project)?;
    }
    for user in users {
        remove_user(txn, user);
    }
    drop_grants(txn, |a| a.target == Target::Domain(id.clone()));
    txn.delete::<Domain>(id);
    Ok(())
}

/// Writes a project, new or changed; a new one gets its default security group.
pub fn put_project(txn: &mut Txn<'_>, caller: &Caller, project: Project) -> Result<()> {
    policy::check_in_domain(caller, Action::ProjectWrite, Some(&project.domain_id))?;
    domain(txn, &project.domain_id)?;
    if let Some(parent) = project.parent_id {
        let parent_domain = txn.projects.get(&parent).map(|parent| parent.domain_id.clone());
        if parent_domain.as_ref() != Some(&project.domain_id) {
            // Who may not see another domain is not told what is there.
            if parent_domain.is_none() || policy::reach(caller, Action::ProjectRead) != Reach::Cloud {
                return Err(missing("project", parent));
            }
            return Err(Error::invalid(format!(
                "The parent project {parent} is in another domain. A project and its parent share one domain."
            )));
        }
    }
    if txn.project_named(&project.domain_id, &project.name).is_some_and(|other| other.id != project.id) {
        return Err(duplicate("project", &project.name));
    }
    let id = project.id;
    let mut project = project;
    if !project.enabled {
        check_nobody_above_in(txn, caller, id)?;
        project.tokens_void_before = txn.now;
    }
    txn.put(project);
    group_build::ensure_default(txn, id);
    Ok(())
}

/// Removes a project. All that it has must go first: nothing is ever left without an owner.
pub fn delete_project(txn: &mut Txn<'_>, caller: &Caller, id: ProjectId) -> Result<()> {
    governed_project(txn, caller, Action::ProjectWrite, id)?;
    check_nobody_above_in(txn, caller, id)?;
    if txn.projects.values().any(|p| p.parent_id == Some(id)) {
        return Err(Error::forbidden(format!(
            "Cannot delete project {id}: it has child projects; delete them first."
        )));
    }
    remove_project(txn, id)
}

fn remove_project(txn: &mut Txn<'_>, id: ProjectId) -> Result<()> {
    crate::command::identity::purge::check_empty(txn, id)?;
    cascade::on_project_deleted(txn, id);
    txn.delete::<lenticular_model::quota::Quota>(&id);
    drop_grants(txn, |a| a.target == Target::Project(id));
    txn.delete::<Project>(&id);
    Ok(())
}

/// Writes a user, new or changed.
pub fn put_user(txn: &mut Txn<'_>, caller: &Caller, user: User) -> Result<()> {
    policy::check_in_domain(caller, Action::UserWrite, Some(&user.domain_id))?;
    check_not_above(txn, caller, user.id)?;
    domain(txn, &user.domain_id)?;
    if txn.user_named(&user.domain_id, &user.name).is_some_and(|other| other.id != user.id) {
        return Err(duplicate("user", &user.name));
    }
    let mut user = user;
    if !user.enabled {
        // Who is let in again must log in again.
        user.password_changed_at = txn.now;
    }
    txn.put(user);
    Ok(())
}

/// Sets a user's password, whose hash the edge has made; tokens issued before are void.
pub fn set_password(txn: &mut Txn<'_>, id: UserId, hash: String) -> Result<()> {
    let now = txn.now;
    let set = txn.update::<User>(&id, |u| {
        u.password_hash = Some(hash);
        u.password_changed_at = now;
    });
    set.then_some(()).ok_or_else(|| missing("user", id))
}

/// Removes a user with its keypairs and grants.
pub fn delete_user(txn: &mut Txn<'_>, caller: &Caller, id: UserId) -> Result<()> {
    governed_user(txn, caller, Action::UserWrite, id)?;
    check_not_above(txn, caller, id)?;
    remove_user(txn, id);
    Ok(())
}

fn remove_user(txn: &mut Txn<'_>, id: UserId) {
    let keys: Vec<_> = txn.keypairs_of_user(id).map(|k| k.id.clone()).collect();
    for key in keys {
        txn.delete::<lenticular_model::compute::keypair::Keypair>(&key);
    }
    drop_grants(txn, |a| a.user_id == id);
    txn.delete::<User>(&id);
}

/// The roles that the policy is written in are there for good: without them nobody could get in any more.
fn check_mutable(role: &Role) -> Result<()> {
    match policy::RoleLevel::of(&role.name) {
        policy::RoleLevel::None => Ok(()),
        _ => {
            Err(Error::forbidden(format!("The role {} is the cloud's own and cannot be changed.", role.name)))
        }
    }
}

/// Writes a role, new or changed.
pub fn put_role(txn: &mut Txn<'_>, caller: &Caller, role: Role) -> Result<()> {
    policy::check(caller, Action::RoleWrite, None)?;
    if let Some(old) = txn.roles.get(&role.id) {
        check_mutable(old)?;
    }
    if txn.role_named(&role.name).is_some_and(|other| other.id != role.id) {
        return Err(duplicate("role", &role.name));
    }
    txn.put(role);
    Ok(())
}

/// Removes a role and all grants of it.
pub fn delete_role(txn: &mut Txn<'_>, caller: &Caller, id: RoleId) -> Result<()> {
    policy::check(caller, Action::RoleWrite, None)?;
    check_mutable(&*role(txn, id)?)?;
    drop_grants(txn, |a| a.role_id == id);
    txn.delete::<Role>(&id);
    Ok(())
}

fn drop_grants(txn: &mut Txn<'_>, which: impl Fn(&RoleAssignment) -> bool) {
    let gone: Vec<AssignmentId> = txn.role_assignments.values().filter(|a| which(a)).map(|a| a.id).collect();
    for id in gone {
        txn.delete::<RoleAssignment>(&id);
    }
}

/// The domain in which a role holds: a project's or the domain itself; `None` for the system and for what is not there.
pub fn domain_of(state: &State, target: &Target) -> Option<DomainId> {
    match target {
        Target::Project(id) => state.projects.get(id).map(|p| p.domain_id.clone()),
        Target::Domain(id) => state.domains.get(id).map(|d| d.id.clone()),
        Target::System => None,
    }
}

/// Refuses unless the caller may look at, or change, what a user holds there.
///
/// # Errors
/// The caller may not; or user, target or role do not exist.
pub fn check_grant(
    state: &State,
    caller: &Caller,
    action: Action,
    user_id: UserId,
    target: &Target,
    role_id: Option<RoleId>,
) -> Result<()> {
    policy::check_in_domain(caller, action, domain_of(state, target).as_ref())?;
    governed_user(state, caller, action, user_id)?;
    match target {
        Target::Project(id) => project(state, *id).map(drop)?,
        Target::Domain(id) => domain(state, id).map(drop)?,
        Target::System => {}
    }
    role_id.map_or(Ok(()), |id| role(state, id).map(drop))
}

/// Refuses if the caller rules a domain alone and the role reaches beyond it: an admin of any project administers
/// compute, network and images of the whole cloud. A domain's manager makes no admins at all.
fn check_role_within(state: &State, caller: &Caller, target: &Target, role_id: RoleId) -> Result<()> {
    if policy::reach(caller, Action::GrantWrite) == Reach::Cloud || !is_admin(&*role(state, role_id)?) {
        return Ok(());
    }
    if matches!(target, Target::Domain(_)) && caller.level == policy::RoleLevel::Admin {
        return Ok(());
    }
    Err(Error::forbidden(
        "The role admin on a project administers the whole cloud. Only an administrator of the cloud gives or takes it.",
    ))
}

/// Gives a role; giving it twice is giving it once.
pub fn grant(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user_id: UserId,
    target: Target,
    role_id: RoleId,
) -> Result<()> {
    check_grant(txn, caller, Action::GrantWrite, user_id, &target, Some(role_id))?;
    check_role_within(txn, caller, &target, role_id)?;
    put_grant(txn, user_id, target, role_id);
    Ok(())
}

/// Writes a grant unless it is there.
pub(crate) fn put_grant(txn: &mut Txn<'_>, user_id: UserId, target: Target, role_id: RoleId) {
    if txn.role_assignment(user_id, &target, role_id).is_some() {
        return;
    }
    let id = AssignmentId::from_random(txn.random());
    let unknown = Default::default();
    txn.put(RoleAssignment { id, created_at: txn.now, updated_at: None, user_id, role_id, target, unknown });
}

/// Takes a role away.
pub fn revoke_grant(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user_id: UserId,
    target: Target,
    role_id: RoleId,
) -> Result<()> {
    check_grant(txn, caller, Action::GrantWrite, user_id, &target, Some(role_id))?;
    check_role_within(txn, caller, &target, role_id)?;
    match txn.role_assignment(user_id, &target, role_id).map(|held| held.id) {
        Some(id) => {
            txn.delete::<RoleAssignment>(&id);
            Ok(())
        }
        None => Err(missing("role assignment with role", role_id)),
    }
}

/// The roles that a role implies, the highest first.
pub fn implied_by(state: &State, role: &Role) -> Vec<Arc<Role>> {
    let level = policy::RoleLevel::of(&role.name);
    let below =
        ["manager", "member", "reader"].into_iter().filter(|name| policy::RoleLevel::of(name) < level);
    below.filter_map(|name| state.role_named(name).cloned()).collect()
}

/// The roles a user holds on a target, with those they imply.
pub fn roles_on(state: &State, user: UserId, target: &Target) -> Vec<Arc<Role>> {
    let held = state.role_assignments_of_user_on(user, target);
    let mut roles: Vec<Arc<Role>> = held.filter_map(|held| state.roles.get(&held.role_id).cloned()).collect();
    let implied: Vec<Arc<Role>> = roles.iter().flat_map(|role| implied_by(state, role)).collect();
    for role in implied {
        if !roles.iter().any(|held| held.id == role.id) {
            roles.push(role);
        }
    }
    roles
}

/// Voids a token before its time, and forgets the revocations of those whose time has come.
pub fn revoke_token(txn: &mut Txn<'_>, audit_id: &str, expires_at: Timestamp) {
    let over: Vec<RevocationId> =
        txn.revocations.values().filter(|r| r.expires_at < txn.now).map(|r| r.id.clone()).collect();
    for id in over {
        txn.delete::<Revocation>(&id);
    }
    let unknown = Default::default();
    txn.put(Revocation { id: audit_id.into(), created_at: txn.now, updated_at: None, expires_at, unknown });
}
