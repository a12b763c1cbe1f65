//! Application credentials: their creation with their access rules, and their removal. They end by themselves with what they rest on: see
//! `cascade.rs`.

use crate::command::identity::{
    delegation::{AskedRole, check_unrestricted, pick},
    govern::{self, check_owner},
};
use lenticular_model::{
    AccessRuleId, ApplicationCredentialId, State, Timestamp, Txn, UserId,
    error::{Error, Result},
    identity::{AccessRule, ApplicationCredential, Proof, Target},
    policy::{Action, Caller},
};
use std::sync::Arc;

/// The most application credentials of a user.
const OF_USER_MAX: usize = 500;

/// The most access rules of a user.
const RULES_MAX: usize = 1_000;

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

/// A new application credential.
#[derive(Debug, Clone)]
pub struct NewCredential {
    /// Unique for the user.
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The hash of its secret; the API layer has made it.
    pub secret_hash: String,
    /// The roles of its tokens; `None` all roles of the caller's token.
    pub roles: Option<Vec<AskedRole>>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether its tokens may manage application credentials.
    pub unrestricted: bool,
    /// What its tokens allow; empty is everything.
    pub access_rules: Vec<AskedRule>,
}

/// Refuses unless the caller may make application credentials for this user: nobody makes them for another.
pub fn check_create(state: &State, caller: &Caller, proof: Proof, user: UserId) -> Result<()> {
    if caller.user_id != user {
        return Err(Error::forbidden(
            "You are not authorized to perform the requested action: Cannot create an application credential for \
             another user.",
        ));
    }
    caller.need_project()?;
    check_unrestricted(state, proof)
}

/// Creates an application credential for the caller, in the project of the caller's token.
///
/// # Errors
/// The caller may not; the name is taken; or a role is not one of the token's.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    proof: Proof,
    user: UserId,
    new: NewCredential,
) -> Result<Arc<ApplicationCredential>> {
    check_create(txn, caller, proof, user)?;
    let project = caller.need_project()?;
    if new.expires_at.is_some_and(|end| end <= txn.now) {
        return Err(Error::invalid("The 'expires_at' must not be before now. Give a time in the future."));
    }
    if txn.application_credentials_of_user(user).count() >= OF_USER_MAX {
        return Err(Error::forbidden(format!(
            "Unable to create additional application credentials, maximum of {OF_USER_MAX} already exceeded for user."
        )));
    }
    if txn.application_credential_named(user, &new.name).is_some() {
        return Err(govern::duplicate("application_credential", &new.name));
    }
    let own = txn.roles_by(user, &Target::Project(project), proof);
    let role_ids = match new.roles {
        Some(asked) => pick(txn, &own, asked)?,
        None => own.iter().map(|role| role.id).collect(),
    };
    let mut access_rule_ids = Vec::new();
    for rule in new.access_rules {
        let id = ensure_rule(txn, user, rule)?;
        if !access_rule_ids.contains(&id) {
            access_rule_ids.push(id);
        }
    }
    check_bounds(txn, proof, &access_rule_ids, new.expires_at)?;
    let id = ApplicationCredentialId::from_random(txn.random());
    txn.put(ApplicationCredential {
        id,
        created_at: txn.now,
        updated_at: None,
        user_id: user,
        project_id: project,
        name: new.name,
        description: new.description,
        secret_hash: new.secret_hash,
        role_ids,
        expires_at: new.expires_at,
        unrestricted: new.unrestricted,
        access_rule_ids,
        unknown: Default::default(),
    });
    txn.need::<ApplicationCredential>(&id, || govern::missing("application credential", id))
}

/// Refuses what would reach further than the unrestricted application credential that the caller's token is of.
fn check_bounds(
    state: &State,
    proof: Proof,
    rules: &[AccessRuleId],
    expires_at: Option<Timestamp>,
) -> Result<()> {
    let Proof::ApplicationCredential(id) = proof else { return Ok(()) };
    let Some(by) = state.application_credentials.get(&id) else { return Ok(()) };
    let more_rules = !by.access_rule_ids.is_empty()
        && (rules.is_empty() || rules.iter().any(|rule| !by.access_rule_ids.contains(rule)));
    let longer = by.expires_at.is_some_and(|end| expires_at.is_none_or(|wanted| wanted > end));
    if more_rules || longer {
        return Err(Error::forbidden(
            "An application credential that another one makes has no other access rules and ends no later than that one.",
        ));
    }
    Ok(())
}

/// The user's rule that is asked for: one that exists, or a new one.
fn ensure_rule(txn: &mut Txn<'_>, user: UserId, asked: AskedRule) -> Result<AccessRuleId> {
    let (service, method, path) = match asked {
        AskedRule::Known(id) => {
            let own = txn.access_rules.get(&id).is_some_and(|rule| rule.user_id == user);
            return own.then_some(id).ok_or_else(|| govern::missing("access rule", id));
        }
        AskedRule::New { service, method, path } => (service, method, path),
    };
    let same =
        |rule: &&Arc<AccessRule>| (&rule.service, &rule.method, &rule.path) == (&service, &method, &path);
    if let Some(known) = txn.access_rules_of_user(user).find(same) {
        return Ok(known.id);
    }
    if txn.access_rules_of_user(user).count() >= RULES_MAX {
        return Err(Error::forbidden(format!(
            "A user has at most {RULES_MAX} access rules. Delete those that no application credential uses."
        )));
    }
    let id = AccessRuleId::from_random(txn.random());
    let (created_at, unknown) = (txn.now, Default::default());
    txn.put(AccessRule { id, created_at, updated_at: None, user_id: user, service, method, path, unknown });
    Ok(id)
}

/// The application credential of a user, if the caller may see it.
///
/// # Errors
/// The caller is not the user and may not read those of others, or there is no such application credential.
pub fn visible(
    state: &State,
    caller: &Caller,
    user: UserId,
    id: ApplicationCredentialId,
) -> Result<Arc<ApplicationCredential>> {
    check_owner(caller, Action::ApplicationCredentialRead, user)?;
    let found = state.application_credentials.get(&id).filter(|credential| credential.user_id == user);
    found.cloned().ok_or_else(|| govern::missing("application credential", id))
}

/// Removes an application credential. Its tokens are void at once. Its access rules stay.
pub fn delete(
    txn: &mut Txn<'_>,
    caller: &Caller,
    proof: Proof,
    user: UserId,
    id: ApplicationCredentialId,
) -> Result<()> {
    check_owner(caller, Action::ApplicationCredentialDelete, user)?;
    check_unrestricted(txn, proof)?;
    let found = txn.application_credentials.get(&id).filter(|credential| credential.user_id == user);
    found.ok_or_else(|| govern::missing("application credential", id))?;
    txn.delete::<ApplicationCredential>(&id);
    Ok(())
}
