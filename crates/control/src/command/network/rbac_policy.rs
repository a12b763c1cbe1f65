//! RBAC policies: what a project lets others use.

use crate::quota;
use lenticular_model::{
    error::{Error, Result},
    network::{
        address_scope::AddressScope,
        network::Network,
        qos_policy::QosPolicy,
        rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
        subnet_pool::SubnetPool,
    },
    policy::{self, Action, Caller},
    NetworkId, ProjectId, RbacPolicyId, State, Txn,
};

/// Refuses if somebody who uses the object may not do so, as the policies now are.
fn check_users(state: &State, object: RbacObject, action: RbacAction) -> Result<()> {
    let Some(owner) = state.owner_of_object(object) else { return Ok(()) };
    let allowed = |user: ProjectId| {
        user == owner
            || user == ProjectId::CLOUD
            || state.rbac_allows_everyone(object, action)
            || state.rbac_allows_project(user, object, action)
    };
    if state.projects_using(object, action).into_iter().all(allowed) {
        return Ok(());
    }
    if let (RbacObject::Network(id), RbacAction::AccessAsShared) = (object, action) {
        let why = format!(
            "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."
        );
        return Err(Error::conflict(why).coded("InvalidSharedSetting"));
    }
    let why = format!(
        "RBAC policy on object {} cannot be removed because other objects depend on it. Remove what other projects \
         have made with it first.",
        object_id(object)
    );
    Err(Error::conflict(why).coded("RbacPolicyInUse"))
}

/// That the default external network is everyone's.
pub(crate) fn must_be_open(id: NetworkId) -> Error {
    let why = format!(
        "RBAC policy on object {id} cannot be removed because other objects depend on it. Details: Default external \
         networks must be shared to everyone."
    );
    Error::conflict(why).coded("RbacPolicyInUse")
}

/// Refuses to close the default external network to anybody.
fn check_default(state: &State, policy: &RbacPolicy) -> Result<()> {
    let (RbacObject::Network(id), RbacAction::AccessAsExternal, RbacTarget::Everyone) =
        (policy.object, policy.action, policy.target)
    else {
        return Ok(());
    };
    match state.networks.get(&id).is_some_and(|n| n.is_default) {
        true => Err(must_be_open(id)),
        false => Ok(()),
    }
}

/// A network that nobody may use as a way out any more is none.
fn close_unused(txn: &mut Txn<'_>, object: RbacObject) -> Result<()> {
    let RbacObject::Network(id) = object else { return Ok(()) };
    if txn.rbac_policies_of(object).any(|p| p.action == RbacAction::AccessAsExternal) {
        return Ok(());
    }
    crate::command::network::network::check_no_way_out(txn, id)?;
    txn.update::<Network>(&id, |n| {
        n.external = false;
        n.external_restricted = false;
    });
    Ok(())
}

/// The policies about a network are part of it.
fn revise(txn: &mut Txn<'_>, object: RbacObject) {
    if let RbacObject::Network(id) = object {
        txn.update::<Network>(&id, |n| n.revision += 1);
    }
}

/// The id of an object, whatever it is, as text.
pub fn object_id(object: RbacObject) -> String {
    match object {
        RbacObject::Network(id) => id.to_string(),
        RbacObject::QosPolicy(id) => id.to_string(),
        RbacObject::SecurityGroup(id) => id.to_string(),
        RbacObject::AddressScope(id) => id.to_string(),
        RbacObject::SubnetPool(id) => id.to_string(),
        RbacObject::AddressGroup(id) => id.to_string(),
    }
}

/// Lets everyone use an object of a project, or no longer.
///
/// # Errors
/// Somebody uses it who then may not.
pub fn set_everyone(
    txn: &mut Txn<'_>,
    project_id: ProjectId,
    object: RbacObject,
    action: RbacAction,
    wanted: bool,
) -> Result<()> {
    let key = (object, action, RbacTarget::Everyone);
    match (txn.rbac_policy(key.0, key.1, key.2).map(|policy| policy.id), wanted) {
        (None, true) => drop(put(txn, project_id, object, action, RbacTarget::Everyone)),
        (Some(id), false) => {
            txn.delete::<RbacPolicy>(&id);
            check_users(txn, object, action)?;
        }
        _ => {}
    }
    mark(txn, object, action, wanted);
    Ok(())
}

/// Removes all policies about an object that goes.
pub fn forget(txn: &mut Txn<'_>, object: RbacObject) {
    let all: Vec<RbacPolicyId> = txn.rbac_policies_of(object).map(|p| p.id).collect();
    all.iter().for_each(|id| drop(txn.delete::<RbacPolicy>(id)));
}

/// Removes all policies for a project that goes, and so uses nothing any more.
pub(crate) fn forget_project(txn: &mut Txn<'_>, project: ProjectId) {
    let to = RbacTarget::Project(project);
    let all: Vec<_> =
        txn.rbac_policies.values().filter(|p| p.target == to).map(|p| (p.id, p.object)).collect();
    for (id, object) in all {
        txn.delete::<RbacPolicy>(&id);
        revise(txn, object);
    }
}

/// Removes those policies about an object that are for one action.
pub(crate) fn forget_action(txn: &mut Txn<'_>, object: RbacObject, action: RbacAction) {
    let all: Vec<RbacPolicyId> =
        txn.rbac_policies_of(object).filter(|p| p.action == action).map(|p| p.id).collect();
    all.iter().for_each(|id| drop(txn.delete::<RbacPolicy>(id)));
}

/// What a policy for everyone says stands in the object as well.
fn mark(txn: &mut Txn<'_>, object: RbacObject, action: RbacAction, open: bool) {
    match (object, action) {
        (RbacObject::Network(id), RbacAction::AccessAsShared) => {
            txn.update::<Network>(&id, |n| n.shared = open);
        }
        (RbacObject::Network(id), RbacAction::AccessAsExternal) => {
            txn.update::<Network>(&id, |n| n.external_restricted = n.external && !open);
        }
        (RbacObject::QosPolicy(id), _) => {
            txn.update::<QosPolicy>(&id, |p| p.shared = open);
        }
        (RbacObject::AddressScope(id), _) => {
            txn.update::<AddressScope>(&id, |s| s.shared = open);
        }
        (RbacObject::SubnetPool(id), _) => {
            txn.update::<SubnetPool>(&id, |p| p.shared = open);
        }
        (RbacObject::SecurityGroup(_) | RbacObject::AddressGroup(_), _) => {}
    }
}

fn put(
    txn: &mut Txn<'_>,
    project_id: ProjectId,
    object: RbacObject,
    action: RbacAction,
    target: RbacTarget,
) -> RbacPolicyId {
    let id = RbacPolicyId::from_random(txn.random());
    txn.put(RbacPolicy {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id,
        object,
        action,
        target,
        unknown: Default::default(),
    });
    id
}

/// What a new policy is to say.
#[derive(Debug, Clone, Copy)]
pub struct NewRbacPolicy {
    /// Its project.
    pub project_id: ProjectId,
    /// What is let be used.
    pub object: RbacObject,
    /// As what.
    pub action: RbacAction,
    /// By whom.
    pub target: RbacTarget,
}

fn check_target(caller: &Caller, target: RbacTarget) -> Result<()> {
    match target {
        RbacTarget::Everyone => policy::check(caller, Action::RbacEveryone, None),
        RbacTarget::Project(_) => Ok(()),
    }
}

/// Creates a policy about an object of the caller's.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewRbacPolicy) -> Result<RbacPolicyId> {
    policy::check(caller, Action::RbacWrite, Some(new.project_id))?;
    check_target(caller, new.target)?;
    let gone = || {
        let why = format!("Object {} could not be found.", object_id(new.object));
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
    let id = put(txn, owner, new.object, new.action, new.target);
    if new.target == RbacTarget::Everyone {
        mark(txn, new.object, new.action, true);
    }
    revise(txn, new.object);
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
    revise(txn, old.object);
    if [old.target, target].contains(&RbacTarget::Everyone) {
        mark(txn, old.object, old.action, target == RbacTarget::Everyone);
    }
    check_users(txn, old.object, old.action)
}

/// Removes a policy that nobody depends on.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: RbacPolicyId) -> Result<()> {
    let old = txn.changeable::<RbacPolicy>(caller, &id)?;
    check_default(txn, &old)?;
    txn.delete::<RbacPolicy>(&id);
    revise(txn, old.object);
    if old.target == RbacTarget::Everyone {
        mark(txn, old.object, old.action, false);
    }
    check_users(txn, old.object, old.action)?;
    match old.action {
        RbacAction::AccessAsExternal => close_unused(txn, old.object),
        RbacAction::AccessAsShared => Ok(()),
    }
}
