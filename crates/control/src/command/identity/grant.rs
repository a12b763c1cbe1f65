//! Grants: the roles of users on projects, domains and the system.

use crate::command::identity::govern;
use lenticular_model::{
    AssignmentId, RoleId, State, Txn, UserId,
    error::{Error, Result},
    identity::{RoleAssignment, Target},
    policy::{self, Action, Caller, Reach},
};

/// Refuses unless the caller may read, or change, a user's roles on a target.
///
/// # Errors
/// The caller may not; or the user, target or role does not exist.
pub fn check(
    state: &State,
    caller: &Caller,
    action: Action,
    user_id: UserId,
    target: &Target,
    role_id: Option<RoleId>,
) -> Result<()> {
    policy::check_in_domain(caller, action, state.domain_of(target).as_ref())?;
    govern::governed_user(state, caller, action, user_id)?;
    match target {
        Target::Project(id) => govern::project(state, *id).map(drop)?,
        Target::Domain(id) => govern::domain(state, id).map(drop)?,
        Target::System => {}
    }
    role_id.map_or(Ok(()), |id| govern::role(state, id).map(drop))
}

/// Refuses if the caller governs only a domain and the role reaches beyond the domain. An admin of any project
/// administers compute, network and images of the whole cloud. A domain's manager cannot grant the role admin at
/// all.
fn check_role_within(state: &State, caller: &Caller, target: &Target, role_id: RoleId) -> Result<()> {
    if policy::reach(caller, Action::GrantWrite) == Reach::Cloud
        || !govern::is_admin(&*govern::role(state, role_id)?)
    {
        return Ok(());
    }
    if matches!(target, Target::Domain(_)) && caller.level == policy::RoleLevel::Admin {
        return Ok(());
    }
    Err(Error::forbidden(
        "The role admin on a project administers the whole cloud. Only an administrator of the cloud gives or takes it.",
    ))
}

/// Grants a role; granting it again changes nothing.
pub fn grant(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user_id: UserId,
    target: Target,
    role_id: RoleId,
) -> Result<()> {
    check(txn, caller, Action::GrantWrite, user_id, &target, Some(role_id))?;
    check_role_within(txn, caller, &target, role_id)?;
    put(txn, user_id, target, role_id);
    Ok(())
}

/// Writes a grant unless it exists.
pub(crate) fn put(txn: &mut Txn<'_>, user_id: UserId, target: Target, role_id: RoleId) {
    if txn.role_assignment(user_id, &target, role_id).is_some() {
        return;
    }
    let id = AssignmentId::from_random(txn.random());
    let unknown = Default::default();
    txn.put(RoleAssignment { id, created_at: txn.now, updated_at: None, user_id, role_id, target, unknown });
}

/// Revokes a role.
pub fn revoke(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user_id: UserId,
    target: Target,
    role_id: RoleId,
) -> Result<()> {
    check(txn, caller, Action::GrantWrite, user_id, &target, Some(role_id))?;
    check_role_within(txn, caller, &target, role_id)?;
    match txn.role_assignment(user_id, &target, role_id).map(|held| held.id) {
        Some(id) => {
            txn.delete::<RoleAssignment>(&id);
            Ok(())
        }
        None => Err(govern::missing("role assignment with role", role_id)),
    }
}
