//! Roles: their creation, change and removal, and the roles that they imply.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    RoleId, RoleInferenceId, Txn,
    error::{Error, Result},
    identity::{Role, RoleInference},
    policy::{self, Action, Caller, RoleLevel},
};

/// Refuses changes of the roles that the policy names: without them no user could administer the cloud.
fn check_mutable(role: &Role) -> Result<()> {
    match role.level() {
        RoleLevel::None => Ok(()),
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
    if let Some(domain) = &role.domain_id {
        govern::domain(txn, domain)?;
    }
    if txn.role_named(role.domain_id.as_ref(), &role.name).is_some_and(|other| other.id != role.id) {
        return Err(govern::duplicate("role", &role.name));
    }
    txn.put(role);
    Ok(())
}

/// Removes a role, all grants of it and all rules about it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: RoleId) -> Result<()> {
    policy::check(caller, Action::RoleWrite, None)?;
    check_mutable(&*govern::role(txn, id)?)?;
    cascade::delete_role(txn, id);
    Ok(())
}

/// Makes a role imply another; again changes nothing.
pub fn imply(txn: &mut Txn<'_>, caller: &Caller, prior: RoleId, implied: RoleId) -> Result<()> {
    policy::check(caller, Action::InferenceWrite, None)?;
    let (before, after) = (govern::role(txn, prior)?, govern::role(txn, implied)?);
    if before.domain_id.is_none() && after.domain_id.is_some() {
        return Err(Error::forbidden(format!(
            "The role {prior} of the whole cloud cannot imply the role {implied} of one domain."
        )));
    }
    if txn.is_admin_role(&after) {
        return Err(Error::forbidden(format!(
            "The role {implied} cannot be implied: a grant of {prior} would then be a grant of admin that nobody sees."
        )));
    }
    if txn.roles_implied_by(&before).any(|role| role.id == implied) {
        return Ok(());
    }
    txn.put(RoleInference {
        id: RoleInferenceId::of(prior, implied),
        created_at: txn.now,
        updated_at: None,
        prior_role_id: prior,
        implied_role_id: implied,
        unknown: Default::default(),
    });
    Ok(())
}

/// Ends that a role implies another. Application credentials that rest on it end.
pub fn imply_no_more(txn: &mut Txn<'_>, caller: &Caller, prior: RoleId, implied: RoleId) -> Result<()> {
    policy::check(caller, Action::InferenceWrite, None)?;
    let before = govern::role(txn, prior)?;
    if txn.delete::<RoleInference>(&RoleInferenceId::of(prior, implied)).is_none() {
        if txn.roles_implied_by(&before).any(|role| role.id == implied) {
            check_mutable(&before)?;
        }
        return Err(govern::missing(&format!("role {prior} implying"), implied));
    }
    cascade::end_all_credentials(txn);
    Ok(())
}
