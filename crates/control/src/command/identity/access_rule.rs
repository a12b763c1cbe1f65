//! Access rules: who sees them, and their removal. The command that makes application credentials makes them.

use crate::command::identity::{
    delegation::check_unrestricted,
    govern::{self, check_owner},
};
use lenticular_model::{
    AccessRuleId, State, Txn, UserId,
    error::{Error, Result},
    identity::{AccessRule, Proof},
    policy::{Action, Caller},
};
use std::sync::Arc;

/// The access rule of a user, if the caller may see it.
///
/// # Errors
/// The caller is not the user and may not read those of others, or there is no such rule.
pub fn visible(state: &State, caller: &Caller, user: UserId, id: AccessRuleId) -> Result<Arc<AccessRule>> {
    check_owner(caller, Action::AccessRuleRead, user)?;
    let found = state.access_rules.get(&id).filter(|rule| rule.user_id == user);
    found.cloned().ok_or_else(|| govern::missing("access rule", id))
}

/// Removes an access rule that no application credential uses.
pub fn delete(
    txn: &mut Txn<'_>,
    caller: &Caller,
    proof: Proof,
    user: UserId,
    id: AccessRuleId,
) -> Result<()> {
    check_owner(caller, Action::AccessRuleDelete, user)?;
    check_unrestricted(txn, proof)?;
    let found = txn.access_rules.get(&id).filter(|rule| rule.user_id == user);
    found.ok_or_else(|| govern::missing("access rule", id))?;
    let mut credentials = txn.application_credentials_of_user(user);
    if let Some(using) = credentials.find(|credential| credential.access_rule_ids.contains(&id)) {
        return Err(Error::forbidden(format!(
            "The access rule {id} is in use by the application credential {}. Delete that first.",
            using.id
        )));
    }
    drop(credentials);
    txn.delete::<AccessRule>(&id);
    Ok(())
}
