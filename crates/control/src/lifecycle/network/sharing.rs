//! The sharing of objects between projects: RBAC policies, and the equivalent flags in the objects.

use lenticular_model::{
    NetworkId, ProjectId, RbacPolicyId, State, Txn,
    error::{Error, Result},
    network::{
        address_scope::AddressScope,
        network::Network,
        qos_policy::QosPolicy,
        rbac_policy::{RbacAction, RbacObject, RbacPolicy, RbacTarget},
        subnet_pool::SubnetPool,
    },
};

/// Shares a project's object with everyone, or ends the sharing.
///
/// # Errors
/// A project uses the object and would lose the right.
pub(crate) fn set_everyone(
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

/// Refuses if a project uses the object without permission of the present policies.
pub(crate) fn check_users(state: &State, object: RbacObject, action: RbacAction) -> Result<()> {
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

/// Writes a policy for everyone into the object's flag.
pub(crate) fn mark(txn: &mut Txn<'_>, object: RbacObject, action: RbacAction, open: bool) {
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

/// Writes a policy.
pub(crate) fn put(
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

/// The error: the default external network must be open to everyone.
pub(crate) fn must_be_open(id: NetworkId) -> Error {
    let why = format!(
        "RBAC policy on object {id} cannot be removed because other objects depend on it. Details: Default external \
         networks must be shared to everyone."
    );
    Error::conflict(why).coded("RbacPolicyInUse")
}

/// Removes the policies about an object that allow one action.
pub(crate) fn clear_action(txn: &mut Txn<'_>, object: RbacObject, action: RbacAction) {
    let all: Vec<RbacPolicyId> =
        txn.rbac_policies_of(object).filter(|p| p.action == action).map(|p| p.id).collect();
    all.iter().for_each(|id| drop(txn.delete::<RbacPolicy>(id)));
}

/// Renews the revision of a network: its policies are part of it.
pub(crate) fn revise_object(txn: &mut Txn<'_>, object: RbacObject) {
    if let RbacObject::Network(id) = object {
        txn.update::<Network>(&id, |n| n.revision += 1);
    }
}

/// The id of an object of any kind, as text.
pub(crate) fn object_id(object: RbacObject) -> String {
    match object {
        RbacObject::Network(id) => id.to_string(),
        RbacObject::QosPolicy(id) => id.to_string(),
        RbacObject::SecurityGroup(id) => id.to_string(),
        RbacObject::AddressScope(id) => id.to_string(),
        RbacObject::SubnetPool(id) => id.to_string(),
        RbacObject::AddressGroup(id) => id.to_string(),
    }
}
