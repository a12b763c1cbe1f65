//! Trusts: their creation and removal. They end by themselves with their users and their project.

use crate::command::identity::{
    delegation::{AskedRole, check_unrestricted, pick},
    govern,
};
use lenticular_model::{
    ProjectId, State, Timestamp, TrustId, Txn, UserId,
    error::{Error, Result},
    identity::{ApplicationCredential, Proof, Target, Trust},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// The most trusts of a trustor.
const OF_USER_MAX: usize = 500;

/// A new trust.
#[derive(Debug, Clone)]
pub struct NewTrust {
    /// The user whose roles they are.
    pub trustor: UserId,
    /// The user who may use them.
    pub trustee: UserId,
    /// The project.
    pub project: ProjectId,
    /// The roles.
    pub roles: Vec<AskedRole>,
    /// Whether its tokens are the trustor's.
    pub impersonation: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
}

/// Creates a trust. Only the trustor itself does, with roles that it has.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, proof: Proof, new: NewTrust) -> Result<Arc<Trust>> {
    if caller.user_id != new.trustor {
        return Err(Error::forbidden(
            "You are not authorized to perform the requested action: The authenticated user should match the trustor.",
        ));
    }
    check_unrestricted(txn, proof)?;
    if let Proof::ApplicationCredential(id) = proof
        && txn.application_credentials.get(&id).is_none_or(|by| reaches_further(&new, by))
    {
        return Err(Error::forbidden(
            "The application credential is for another project, ends sooner, or has access rules: it cannot make this trust.",
        ));
    }
    govern::user(txn, new.trustee)?;
    govern::project(txn, new.project)?;
    if new.expires_at.is_some_and(|end| end <= txn.now) {
        return Err(Error::invalid("The 'expires_at' must not be before now. Give a time in the future."));
    }
    let over = |trust: &&Arc<Trust>| trust.expires_at.is_some_and(|end| end <= txn.now);
    let over: Vec<TrustId> = txn.trusts_of_trustor(new.trustor).filter(over).map(|trust| trust.id).collect();
    for id in over {
        txn.delete::<Trust>(&id);
    }
    if txn.trusts_of_trustor(new.trustor).count() >= OF_USER_MAX {
        return Err(Error::forbidden(format!(
            "A user makes at most {OF_USER_MAX} trusts. Delete one first."
        )));
    }
    let own = txn.roles_by(new.trustor, &Target::Project(new.project), proof);
    let role_ids = pick(txn, &own, new.roles)?;
    if role_ids.is_empty() {
        return Err(Error::forbidden("At least one role should be specified"));
    }
    let id = TrustId::from_random(txn.random());
    txn.put(Trust {
        id,
        created_at: txn.now,
        updated_at: None,
        trustor_user_id: new.trustor,
        trustee_user_id: new.trustee,
        project_id: new.project,
        role_ids,
        impersonation: new.impersonation,
        expires_at: new.expires_at,
        unknown: Default::default(),
    });
    txn.need::<Trust>(&id, || govern::missing("trust", id))
}

/// Whether a trust would reach further than the application credential that asks for it.
fn reaches_further(new: &NewTrust, by: &ApplicationCredential) -> bool {
    let longer = by.expires_at.is_some_and(|end| new.expires_at.is_none_or(|wanted| wanted > end));
    by.project_id != new.project || !by.access_rule_ids.is_empty() || longer
}

/// The trust, if the caller is one of its users, or may read all of them.
///
/// # Errors
/// There is no such trust for the caller.
pub fn visible(state: &State, caller: &Caller, id: TrustId) -> Result<Arc<Trust>> {
    let found = state.trusts.get(&id).filter(|trust| {
        [trust.trustor_user_id, trust.trustee_user_id].contains(&caller.user_id)
            || policy::check(caller, Action::TrustRead, None).is_ok()
    });
    found.cloned().ok_or_else(|| govern::missing("trust", id))
}

/// Removes a trust. Its tokens are void at once.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, proof: Proof, id: TrustId) -> Result<()> {
    let trust = visible(txn, caller, id)?;
    if caller.user_id != trust.trustor_user_id {
        policy::check(caller, Action::TrustDelete, None)?;
    }
    // A trust's own token may end it.
    if proof != Proof::Trust(id) {
        check_unrestricted(txn, proof)?;
    }
    txn.delete::<Trust>(&id);
    Ok(())
}
