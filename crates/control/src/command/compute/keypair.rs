//! Keypairs: their import and removal. The API layer generates keys, because it has the randomness.

use crate::quota;
use lenticular_model::{
    KeypairId, State, Txn, UserId,
    compute::keypair::Keypair,
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// Refuses a caller without the role admin who names another user.
pub fn check_user(caller: &Caller, user: UserId) -> Result<()> {
    let action = if user == caller.user_id { Action::KeypairUse } else { Action::KeypairOthers };
    policy::check(caller, action, None)
}

/// Refuses a keypair that could not be created.
///
/// # Errors
/// The caller may not, there is no such user, the name is taken, or the user has as many keypairs as it may.
pub fn check_new(state: &State, caller: &Caller, user: UserId, name: &str) -> Result<()> {
    check_user(caller, user)?;
    if !state.users.contains_key(&user) {
        return Err(Error::invalid(format!("There is no user {user}.")));
    }
    if state.keypairs.contains_key(&KeypairId::of(user, name)) {
        return Err(Error::conflict(format!("Key pair '{name}' already exists.")));
    }
    // Keypairs belong to no project. For a token without a project the default limits apply.
    let project = caller.project_id().unwrap_or_default();
    let limit = quota::own_limit(state, project, "key_pairs");
    match limit >= 0 && state.keypairs_of_user(user).count() as i64 >= limit {
        true => Err(Error::over_quota("Quota exceeded, too many key pairs.")),
        false => Ok(()),
    }
}

/// Creates a keypair from a public key; the API layer has made its fingerprint.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    user: UserId,
    name: String,
    key_type: String,
    public_key: String,
    fingerprint: String,
) -> Result<KeypairId> {
    check_new(txn, caller, user, &name)?;
    let id = KeypairId::of(user, &name);
    let number = txn.keypairs_of_user(user).map(|k| k.number).max().unwrap_or(0) + 1;
    txn.put(Keypair {
        id: id.clone(),
        created_at: txn.now,
        updated_at: None,
        user_id: user,
        name,
        key_type,
        public_key,
        fingerprint,
        number,
        unknown: Default::default(),
    });
    Ok(id)
}

/// The keypair of this name.
pub fn find(state: &State, caller: &Caller, user: UserId, name: &str) -> Result<Arc<Keypair>> {
    check_user(caller, user)?;
    let keypair = state.keypairs.get(&KeypairId::of(user, name)).cloned();
    keypair.ok_or_else(|| Error::not_found_text(format!("Keypair {name} not found for user {user}")))
}

/// Removes a keypair; servers that got it keep it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, user: UserId, name: &str) -> Result<()> {
    let keypair = find(txn, caller, user, name)?;
    txn.delete::<Keypair>(&keypair.id);
    Ok(())
}
