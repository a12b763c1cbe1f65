//! Grants: the roles of users and groups on projects, domains and the system.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    AssignmentId, RoleId, State, Txn, UserId,
    error::{Error, Result},
    identity::{Actor, RoleAssignment, Target},
    policy::{self, Action, Caller, Reach, RoleLevel},
};

/// The place of a grant: who has a role, and where.
#[derive(Debug, Clone)]
pub struct Place {
    /// The holder.
    pub actor: Actor,
    /// The target.
    pub target: Target,
    /// True if the role holds on the projects below the target, not on the target itself.
    pub inherited: bool,
}

/// Refuses unless the caller may read, or change, an actor's roles on a target.
///
/// # Errors
/// The caller may not; or the actor, target or role does not exist.
pub fn check(
    state: &State,
    caller: &Caller,
    action: Action,
    place: &Place,
    role_id: Option<RoleId>,
) -> Result<()> {
    policy::check_in_domain(caller, action, state.domain_of(&place.target).as_ref())?;
    match place.actor {
        Actor::User(id) => govern::governed_user(state, caller, action, id).map(drop)?,
        Actor::Group(id) => govern::governed_group(state, caller, action, id).map(drop)?,
    }
    match &place.target {
        Target::Project(id) => govern::project(state, *id).map(drop)?,
        Target::Domain(id) => govern::domain(state, id).map(drop)?,
        Target::System => {}
    }
    role_id.map_or(Ok(()), |id| govern::role(state, id).map(drop))
}

/// Refuses if the caller governs only a domain and the role reaches beyond the domain. An admin of any project
/// administers compute, network and images of the whole cloud. A domain's manager gives and takes the roles
/// manager, member and reader, and no other, as in Keystone.
fn check_role_within(state: &State, caller: &Caller, place: &Place, role_id: RoleId) -> Result<()> {
    if policy::reach(caller, Action::GrantWrite) == Reach::Cloud {
        return Ok(());
    }
    let role = govern::role(state, role_id)?;
    if state.is_admin_role(&role) {
        let on_domain = matches!(place.target, Target::Domain(_)) && !place.inherited;
        if on_domain && caller.level == RoleLevel::Admin {
            return Ok(());
        }
        return Err(Error::forbidden(
            "The role admin on a project administers the whole cloud. Only an administrator of the cloud gives or takes it.",
        ));
    }
    if caller.level < RoleLevel::Admin && role.level() == RoleLevel::None {
        return Err(Error::forbidden(
            "A domain's manager gives and takes the roles manager, member and reader. Ask an administrator of the domain.",
        ));
    }
    Ok(())
}

/// Refuses a role of one domain on a target outside of that domain.
fn check_domain_of_role(state: &State, place: &Place, role_id: RoleId) -> Result<()> {
    let role = govern::role(state, role_id)?;
    if role.domain_id.is_none() || role.domain_id == state.domain_of(&place.target) {
        return Ok(());
    }
    Err(Error::forbidden(format!(
        "The role {role_id} belongs to a domain. It can be assigned on that domain and its projects only."
    )))
}

/// Grants a role; granting it again changes nothing.
pub fn grant(txn: &mut Txn<'_>, caller: &Caller, place: Place, role_id: RoleId) -> Result<()> {
    check(txn, caller, Action::GrantWrite, &place, Some(role_id))?;
    check_role_within(txn, caller, &place, role_id)?;
    check_domain_of_role(txn, &place, role_id)?;
    put(txn, place, role_id);
    Ok(())
}

/// Writes a grant unless it exists.
pub(crate) fn put(txn: &mut Txn<'_>, place: Place, role_id: RoleId) {
    let Place { actor, target, inherited } = place;
    if txn.role_assignment(actor, &target, inherited, role_id).is_some() {
        return;
    }
    let id = AssignmentId::from_random(txn.random());
    let (created_at, unknown) = (txn.now, Default::default());
    txn.put(RoleAssignment { id, created_at, updated_at: None, actor, role_id, target, inherited, unknown });
}

/// Revokes a role. Application credentials that rest on it end.
pub fn revoke(txn: &mut Txn<'_>, caller: &Caller, place: &Place, role_id: RoleId) -> Result<()> {
    check(txn, caller, Action::GrantWrite, place, Some(role_id))?;
    check_role_within(txn, caller, place, role_id)?;
    let held = txn.role_assignment(place.actor, &place.target, place.inherited, role_id).map(|held| held.id);
    let id = held.ok_or_else(|| govern::missing("role assignment with role", role_id))?;
    txn.delete::<RoleAssignment>(&id);
    let users: Vec<UserId> = match place.actor {
        Actor::User(user) => vec![user],
        Actor::Group(group) => txn.users_of_group(group).map(|user| user.id).collect(),
    };
    for user in users {
        cascade::end_credentials(txn, user);
    }
    Ok(())
}
