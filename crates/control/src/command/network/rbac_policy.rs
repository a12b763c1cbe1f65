//! RBAC policies: their creation, change and removal.

use crate::{command::network::check, lifecycle::network::sharing, quota};
use lenticular_model::{
    ProjectId, RbacPolicyId, State, Txn,
    error::{Error, Result},
    network::{
        network::Network,
        rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
    },
    policy::{self, Action, Caller},
};

/// Refuses to restrict the default external network.
fn check_default(state: &State, policy: &RbacPolicy) -> Result<()> {
    let (RbacObject::Network(id), RbacAction::AccessAsExternal, RbacTarget::Everyone) =
        (policy.object, policy.action, policy.target)
    else {
        return Ok(());
    };
    match state.networks.get(&id).is_some_and(|n| n.is_default) {
        true => Err(sharing::must_be_open(id)),
        false => Ok(()),
    }
}

/// Makes a network internal if no project may use it as an external network any more.
fn close_unused(txn: &mut Txn<'_>, object: RbacObject) -> Result<()> {
    let RbacObject::Network(id) = object else { return Ok(()) };
    if txn.rbac_policies_of(object).any(|p| p.action == RbacAction::AccessAsExternal) {
        return Ok(());
    }
    check::check_no_way_out(txn, id)?;
    txn.update::<Network>(&id, |n| {
        n.external = false;
        n.external_restricted = false;
    });
    Ok(())
}

/// The content of a new policy.
#[derive(Debug, Clone, Copy)]
pub struct NewRbacPolicy {
    /// Its project.
    pub project_id: ProjectId,
    /// The object that others may use.
    pub object: RbacObject,
    /// The way in which they may use it.
    pub action: RbacAction,
    /// The projects that may.
    pub target: RbacTarget,
}

fn check_target(caller: &Caller, target: RbacTarget) -> Result<()> {
    match target {
        RbacTarget::Everyone => policy::check(caller, Action::RbacEveryone, None),
        RbacTarget::Project(_) => Ok(()),
    }
}

/// Creates a policy about an object that the caller owns.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewRbacPolicy) -> Result<RbacPolicyId> {
    policy::check(caller, Action::RbacWrite, Some(new.project_id))?;
    check_target(caller, new.target)?;
    let gone = || {
        let why = format!("Object {} could not be found.", sharing::object_id(new.object));
        Error::not_found_text(why).coded("RbacObjectNotFound")
    };
    let owner = txn.owner_of_object(new.object).filter(|owner| caller.sees(*owner)).ok_or_else(gone)?;
    if new.action == RbacAction::AccessAsExternal {
        let RbacObject::Network(id) = new.object else {
            let why = "Invalid action 'access_as_external': only networks can be accessed as external.";
            return Err(Error::invalid(why).coded("InvalidActionForType"));
        };
        policy::check(caller, Action::NetworkWriteShared, None)?;
        let restricted = new.target != RbacTarget::Everyone;
        txn.update::<Network>(&id, |n| {
            n.external_restricted = restricted && (n.external_restricted || !n.external);
            n.external = true;
        });
    }
    if txn.rbac_policy(new.object, new.action, new.target).is_some() {
        let why = "An RBAC policy already exists with those values.";
        return Err(Error::conflict(why).coded("DuplicateRbacPolicy"));
    }
    quota::need_network(txn, new.project_id, "rbac_policy")?;
    let id = sharing::put(txn, owner, new.object, new.action, new.target);
    if new.target == RbacTarget::Everyone {
        sharing::mark(txn, new.object, new.action, true);
    }
    sharing::revise_object(txn, new.object);
    Ok(id)
}

/// Gives a policy another target.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: RbacPolicyId, target: RbacTarget) -> Result<()> {
    let old = txn.changeable::<RbacPolicy>(caller, &id)?;
    check_target(caller, target)?;
    if target == old.target {
        return Ok(());
    }
    if txn.rbac_policy(old.object, old.action, target).is_some() {
        let why = "An RBAC policy already exists with those values.";
        return Err(Error::conflict(why).coded("DuplicateRbacPolicy"));
    }
    check_default(txn, &old)?;
    txn.update::<RbacPolicy>(&id, |p| p.target = target);
    sharing::revise_object(txn, old.object);
    if [old.target, target].contains(&RbacTarget::Everyone) {
        sharing::mark(txn, old.object, old.action, target == RbacTarget::Everyone);
    }
    sharing::check_users(txn, old.object, old.action)
}

/// Removes a policy that no project depends on.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: RbacPolicyId) -> Result<()> {
    let old = txn.changeable::<RbacPolicy>(caller, &id)?;
    check_default(txn, &old)?;
    txn.delete::<RbacPolicy>(&id);
    sharing::revise_object(txn, old.object);
    if old.target == RbacTarget::Everyone {
        sharing::mark(txn, old.object, old.action, false);
    }
    sharing::check_users(txn, old.object, old.action)?;
    match old.action {
        RbacAction::AccessAsExternal => close_unused(txn, old.object),
        RbacAction::AccessAsShared => Ok(()),
    }
}
