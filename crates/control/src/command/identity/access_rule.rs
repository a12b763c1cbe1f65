//! Access rules: what makes them, and their removal.

use crate::command::identity::govern;
use lenticular_model::{
    AccessRuleId, State, Txn, UserId,
    error::{Error, Result},
    identity::AccessRule,
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// The most access rules of a user.
const OF_USER_MAX: usize = 1_000;

/// A rule in a request.
#[derive(Debug, Clone)]
pub enum AskedRule {
    /// One that the user has.
    Known(AccessRuleId),
    /// What it shall allow.
    New {
        /// The service's type.
        service: String,
        /// The request's method.
        method: String,
        /// The request's path, with wildcards.
        path: String,
    },
}

/// The access rule of a user, if the caller may see it.
///
/// # Errors
/// The caller is not the user and may not read those of others, or there is no such rule.
pub fn visible(state: &State, caller: &Caller, user: UserId, id: AccessRuleId) -> Result<Arc<AccessRule>> {
    check_owner(caller, Action::AccessRuleRead, user)?;
    let found = state.access_rules.get(&id).filter(|rule| rule.user_id == user);
    found.cloned().ok_or_else(|| govern::missing("access rule", id))
}

/// Refuses unless the caller is this user, or may do the action for every user.
pub fn check_owner(caller: &Caller, action: Action, user: UserId) -> Result<()> {
    if caller.user_id == user { Ok(()) } else { policy::check(caller, action, None) }
}

/// The user's rule that is asked for: one that exists, or a new one.
pub(super) fn ensure(txn: &mut Txn<'_>, user: UserId, asked: AskedRule) -> Result<AccessRuleId> {
    let (service, method, path) = match asked {
        AskedRule::Known(id) => {
            let own = txn.access_rules.get(&id).is_some_and(|rule| rule.user_id == user);
            return own.then_some(id).ok_or_else(|| govern::missing("access rule", id));
        }
        AskedRule::New { service, method, path } => (service, method, path),
    };
    let same = |rule: &&Arc<AccessRule>| (&rule.service, &rule.method, &rule.path) == (&service, &method, &path);
    if let Some(known) = txn.access_rules_of_user(user).find(same) {
        return Ok(known.id);
    }
    if txn.access_rules_of_user(user).count() >= OF_USER_MAX {
        return Err(Error::forbidden(format!(
            "A user has at most {OF_USER_MAX} access rules. Delete those that no application credential uses."
        )));
    }
    let id = AccessRuleId::from_random(txn.random());
    let (created_at, unknown) = (txn.now, Default::default());
    txn.put(AccessRule { id, created_at, updated_at: None, user_id: user, service, method, path, unknown });
    Ok(id)
}

/// Removes an access rule that no application credential uses.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, user: UserId, id: AccessRuleId) -> Result<()> {
    check_owner(caller, Action::AccessRuleDelete, user)?;
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
