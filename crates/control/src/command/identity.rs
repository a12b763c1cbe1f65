//! Domains, projects, users, roles and grants: their making, change and removal.

use super::security_group;
use lenticular_model::{
    error::{Error, Result},
    identity::{Domain, Project, Revocation, Role, RoleAssignment, Target, User},
    policy::{self, Action, Caller},
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

/// What is to be written in place of a record, or as a new one.
///
/// The edge has read the fields; here it is decided whether they may stand beside what there is.
pub fn put_domain(txn: &mut Txn<'_>, caller: &Caller, domain: Domain) -> Result<()> {
    policy::check(caller, Action::DomainWrite, None)?;
    if txn.index.domain_names.get(&domain.name).is_some_and(|id| *id != domain.id) {
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
    policy::check(caller, Action::ProjectWrite, None)?;
    domain(txn, &project.domain_id)?;
    if let Some(parent) = project.parent_id {
        self::project(txn, parent)?;
    }
    let key = (project.domain_id.clone(), project.name.clone());
    if txn.index.project_names.get(&key).is_some_and(|id| *id != project.id) {
        return Err(duplicate("project", &project.name));
    }
    let id = project.id;
    let mut project = project;
    if !project.enabled {
        project.tokens_void_before = txn.now;
    }
    txn.put(project);
    security_group::ensure_default(txn, id);
    Ok(())
}

/// Removes a project. Its servers and networks must go first: nothing is ever left without an owner.
pub fn delete_project(txn: &mut Txn<'_>, caller: &Caller, id: ProjectId) -> Result<()> {
    policy::check(caller, Action::ProjectWrite, None)?;
    project(txn, id)?;
    if txn.projects.values().any(|p| p.parent_id == Some(id)) {
        return Err(Error::forbidden(format!(
            "Cannot delete project {id}: it has child projects; delete them first."
        )));
    }
    remove_project(txn, id)
}

fn remove_project(txn: &mut Txn<'_>, id: ProjectId) -> Result<()> {
    if let Some(usage) = txn.index.project_usage.get(&id) {
        let why = format!(
            "Cannot delete project {id}: it still has {} servers; delete them first.",
            usage.instances
        );
        return Err(Error::conflict(why));
    }
    let networks = txn.networks.values().filter(|n| n.project_id == id).count();
    let images = txn.images.values().filter(|i| i.owner == Some(id)).count();
    if networks + images > 0 {
        let why = format!("Cannot delete project {id}: it still has {networks} networks and {images} images; delete them first.");
        return Err(Error::conflict(why));
    }
    let groups: Vec<_> = security_group::of_project(txn, id).map(|g| g.id).collect();
    for group in groups {
        let rules: Vec<_> = security_group::rules(txn, group).map(|r| r.id).collect();
        for rule in rules {
            txn.delete::<lenticular_model::security_group::SecurityGroupRule>(&rule);
        }
        txn.delete::<lenticular_model::security_group::SecurityGroup>(&group);
    }
    txn.delete::<lenticular_model::quota::Quota>(&id);
    drop_grants(txn, |a| a.target == Target::Project(id));
    txn.delete::<Project>(&id);
    Ok(())
}

/// Writes a user, new or changed.
pub fn put_user(txn: &mut Txn<'_>, caller: &Caller, user: User) -> Result<()> {
    policy::check(caller, Action::UserWrite, None)?;
    domain(txn, &user.domain_id)?;
    let key = (user.domain_id.clone(), user.name.clone());
    if txn.index.user_names.get(&key).is_some_and(|id| *id != user.id) {
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
    policy::check(caller, Action::UserWrite, None)?;
    user(txn, id)?;
    remove_user(txn, id);
    Ok(())
}

fn remove_user(txn: &mut Txn<'_>, id: UserId) {
    let keys: Vec<_> = super::keypair::of_user(txn, id).map(|k| k.id.clone()).collect();
    for key in keys {
        txn.delete::<lenticular_model::keypair::Keypair>(&key);
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
    if txn.index.role_names.get(&role.name).is_some_and(|id| *id != role.id) {
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

fn check_grant(state: &State, user_id: UserId, target: &Target, role_id: RoleId) -> Result<()> {
    user(state, user_id)?;
    role(state, role_id)?;
    match target {
        Target::Project(id) => project(state, *id).map(|_| ()),
        Target::Domain(id) => domain(state, id).map(|_| ()),
        Target::System => Ok(()),
    }
}

/// Gives a role; giving it twice is giving it once.
pub fn grant(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user_id: UserId,
    target: Target,
    role_id: RoleId,
) -> Result<()> {
    policy::check(caller, Action::GrantWrite, None)?;
    check_grant(txn, user_id, &target, role_id)?;
    put_grant(txn, user_id, target, role_id);
    Ok(())
}

/// Writes a grant unless it is there.
pub(crate) fn put_grant(txn: &mut Txn<'_>, user_id: UserId, target: Target, role_id: RoleId) {
    if txn.index.user_roles.contains_key(&(user_id, target.clone(), role_id)) {
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
    policy::check(caller, Action::GrantWrite, None)?;
    check_grant(txn, user_id, &target, role_id)?;
    match txn.index.user_roles.get(&(user_id, target, role_id)).copied() {
        Some(id) => {
            txn.delete::<RoleAssignment>(&id);
            Ok(())
        }
        None => Err(missing("role assignment with role", role_id)),
    }
}

/// The roles a user holds on a target, with those they imply.
pub fn roles_on(state: &State, user: UserId, target: &Target) -> Vec<Arc<Role>> {
    let from = (user, target.clone(), RoleId(Default::default()));
    let held = state.index.user_roles.range(from..).take_while(|((u, t, _), _)| *u == user && t == target);
    let mut roles: Vec<Arc<Role>> =
        held.filter_map(|((.., role), _)| state.roles.get(role).cloned()).collect();
    let level = roles.iter().map(|r| policy::RoleLevel::of(&r.name)).max();
    for implied in ["manager", "member", "reader"] {
        let held = roles.iter().any(|r| r.name == implied);
        if !held && level.is_some_and(|level| level > policy::RoleLevel::of(implied)) {
            roles.extend(state.index.role_names.get(implied).and_then(|id| state.roles.get(id)).cloned());
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
