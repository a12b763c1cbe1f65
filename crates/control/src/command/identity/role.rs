//! Roles: their creation, change and removal.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    RoleId, Txn,
    error::{Error, Result},
    identity::Role,
    policy::{self, Action, Caller},
};

/// Refuses changes of the roles that the policy names: without them no user could administer the cloud.
fn check_mutable(role: &Role) -> Result<()> {
    match policy::RoleLevel::of(&role.name) {
        policy::RoleLevel::None => Ok(()),
        _ => {
            Err(Error::forbidden(format!("The role {} is the cloud's own and cannot be changed.", role.name)))
        }
    }
}

/// Writes a role, new or changed.
pub fn put(txn: &mut Txn<'_>, caller: &Caller, role: Role) -> Result<()> {
    policy::check(caller, Action::RoleWrite, None)?;
    if let Some(old) = txn.roles.get(&role.id) {
        check_mutable(old)?;
    }
    if txn.role_named(&role.name).is_some_and(|other| other.id != role.id) {
        return Err(govern::duplicate("role", &role.name));
    }
    txn.put(role);
    Ok(())
}

/// Removes a role and all grants of it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: RoleId) -> Result<()> {
    policy::check(caller, Action::RoleWrite, None)?;
    check_mutable(&*govern::role(txn, id)?)?;
    cascade::delete_grants(txn, |a| a.role_id == id);
    txn.delete::<Role>(&id);
    Ok(())
}
