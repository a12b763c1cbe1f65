//! Users: their creation, change and removal.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    Txn, UserId,
    error::{Error, Result},
    identity::{Actor, User},
    policy::{self, Action, Caller},
};

/// Writes a user, new or changed. The application credentials of a disabled user end.
pub fn put(txn: &mut Txn<'_>, caller: &Caller, user: User) -> Result<()> {
    policy::check_in_domain(caller, Action::UserWrite, Some(&user.domain_id))?;
    govern::check_not_above(txn, caller, Actor::User(user.id))?;
    govern::domain(txn, &user.domain_id)?;
    if txn.user_named(&user.domain_id, &user.name).is_some_and(|other| other.id != user.id) {
        return Err(govern::duplicate("user", &user.name));
    }
    let mut user = user;
    if !user.enabled {
        // A user who is enabled again must log in again.
        user.password_changed_at = txn.now;
        cascade::delete_credentials_of_user(txn, user.id);
    }
    txn.put(user);
    Ok(())
}

/// Sets a user's password for somebody who proved that `known` is the hash of the present one.
///
/// # Errors
/// The password is another meanwhile, or the user or its domain is disabled.
pub fn change_password(
    txn: &mut Txn<'_>,
    id: UserId,
    known: &str,
    hash: String,
    unique: usize,
) -> Result<()> {
    let is_enabled =
        |user: &User| user.enabled && txn.domains.get(&user.domain_id).is_some_and(|domain| domain.enabled);
    let holds = |user: &User| is_enabled(user) && user.password_hash.as_deref() == Some(known);
    if !txn.users.get(&id).is_some_and(|user| holds(user)) {
        return Err(Error::unauthorized("The request you have made requires authentication."));
    }
    set_password(txn, id, hash, unique)
}

/// Sets a user's password; the API layer has made its hash. Tokens issued before are void. `unique` is how many
/// of the last passwords the next one must differ from.
pub fn set_password(txn: &mut Txn<'_>, id: UserId, hash: String, unique: usize) -> Result<()> {
    let now = txn.now;
    let set = txn.update::<User>(&id, |user| user.set_password(hash, now, unique));
    set.then_some(()).ok_or_else(|| govern::missing("user", id))
}

/// Removes a user with its keypairs, grants and application credentials.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: UserId) -> Result<()> {
    govern::governed_user(txn, caller, Action::UserWrite, id)?;
    govern::check_not_above(txn, caller, Actor::User(id))?;
    cascade::delete_user(txn, id);
    Ok(())
}
