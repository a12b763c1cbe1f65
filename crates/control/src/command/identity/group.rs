//! Groups: their creation, change and removal, and their users.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    GroupId, MembershipId, State, Txn, UserId,
    error::Result,
    identity::{Actor, Group, Membership},
    policy::{self, Action, Caller},
};

/// Writes a group, new or changed.
pub fn put(txn: &mut Txn<'_>, caller: &Caller, group: Group) -> Result<()> {
    policy::check_in_domain(caller, Action::GroupWrite, Some(&group.domain_id))?;
    govern::check_not_above(txn, caller, Actor::Group(group.id))?;
    govern::domain(txn, &group.domain_id)?;
    if txn.group_named(&group.domain_id, &group.name).is_some_and(|other| other.id != group.id) {
        return Err(govern::duplicate("group", &group.name));
    }
    txn.put(group);
    Ok(())
}

/// Removes a group with its grants.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: GroupId) -> Result<()> {
    govern::governed_group(txn, caller, Action::GroupWrite, id)?;
    govern::check_not_above(txn, caller, Actor::Group(id))?;
    cascade::delete_group(txn, id);
    Ok(())
}

/// Refuses unless the caller may read, or change, whether a user is in a group.
///
/// # Errors
/// The caller may not; or the group or the user does not exist.
pub fn check(state: &State, caller: &Caller, action: Action, group: GroupId, user: UserId) -> Result<()> {
    govern::governed_group(state, caller, action, group)?;
    govern::governed_user(state, caller, action, user).map(drop)
}

/// Puts a user into a group; again changes nothing. The user gets the group's roles.
pub fn add_user(txn: &mut Txn<'_>, caller: &Caller, group: GroupId, user: UserId) -> Result<()> {
    check(txn, caller, Action::MembershipWrite, group, user)?;
    govern::check_not_above(txn, caller, Actor::Group(group))?;
    let id = MembershipId::of(group, user);
    if !txn.memberships.contains_key(&id) {
        let (created_at, unknown) = (txn.now, Default::default());
        txn.put(Membership { id, created_at, updated_at: None, group_id: group, user_id: user, unknown });
    }
    Ok(())
}

/// Takes a user out of a group. Application credentials that rest on the group's roles end.
pub fn remove_user(txn: &mut Txn<'_>, caller: &Caller, group: GroupId, user: UserId) -> Result<()> {
    check(txn, caller, Action::MembershipWrite, group, user)?;
    govern::check_not_above(txn, caller, Actor::Group(group))?;
    txn.delete::<Membership>(&MembershipId::of(group, user))
        .ok_or_else(|| govern::missing(&format!("user in group {group}"), user))?;
    cascade::end_credentials(txn, user);
    Ok(())
}
