//! Address scopes: their creation, change and removal.

use crate::lifecycle::network::{cascade, sharing};
use lenticular_model::{
    AddressScopeId, ProjectId, Txn,
    error::{Error, Result},
    network::{
        address_scope::AddressScope,
        rbac_policy::{RbacAction, RbacObject},
    },
    policy::{self, Action, Caller},
};

/// The settings of a new scope.
#[derive(Debug, Clone)]
pub struct NewAddressScope {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// 4 or 6.
    pub ip_version: u8,
    /// True shows it to every project.
    pub shared: bool,
}

/// Creates a scope.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewAddressScope) -> Result<AddressScopeId> {
    policy::check(caller, Action::AddressScopeWrite, Some(new.project_id))?;
    if new.shared {
        policy::check(caller, Action::AddressScopeShared, None)?;
    }
    let id = AddressScopeId::from_random(txn.random());
    txn.put(AddressScope {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        ip_version: new.ip_version,
        shared: new.shared,
        revision: 1,
        unknown: Default::default(),
    });
    let object = RbacObject::AddressScope(id);
    sharing::set_everyone(txn, new.project_id, object, RbacAction::AccessAsShared, new.shared)?;
    Ok(id)
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct AddressScopeChange {
    /// The name.
    pub name: Option<String>,
    /// Whether every project sees it.
    pub shared: Option<bool>,
}

/// Changes a scope.
pub fn update(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: AddressScopeId,
    change: AddressScopeChange,
) -> Result<()> {
    let scope = txn.changeable::<AddressScope>(caller, &id)?;
    if change.shared.is_some() {
        policy::check(caller, Action::AddressScopeShared, None)?;
    }
    if scope.shared && change.shared == Some(false) {
        let why = format!("Unable to update address scope {id} : Shared address scope can't be unshared.");
        return Err(Error::invalid(why).coded("AddressScopeUpdateError"));
    }
    txn.update::<AddressScope>(&id, |s| {
        s.name = change.name.unwrap_or(std::mem::take(&mut s.name));
        s.revision += 1;
    });
    let shared = change.shared.unwrap_or(scope.shared);
    sharing::set_everyone(
        txn,
        scope.project_id,
        RbacObject::AddressScope(id),
        RbacAction::AccessAsShared,
        shared,
    )
}

/// Removes a scope that no subnet pool is in.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: AddressScopeId) -> Result<()> {
    txn.changeable::<AddressScope>(caller, &id)?;
    if txn.pools_of_scope(id).next().is_some() {
        let why = format!(
            "Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the address scope."
        );
        return Err(Error::conflict(why).coded("AddressScopeInUse"));
    }
    cascade::on_object_deleted(txn, RbacObject::AddressScope(id));
    txn.delete::<AddressScope>(&id);
    Ok(())
}
