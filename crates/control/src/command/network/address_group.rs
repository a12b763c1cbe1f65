//! Address groups: their creation, change and removal.

use crate::lifecycle::network::cascade;
use ipnet::IpNet;
use lenticular_model::{
    AddressGroupId, ProjectId, Txn,
    error::{Error, Result},
    network::{
        address_group::AddressGroup, default_security_group_rule::about, rbac_policy::RbacObject,
        security_group::Remote,
    },
    policy::{self, Action, Caller},
};

/// The most ranges in one group.
pub const ADDRESSES_MAX: usize = 1_000;

/// The settings of a new group.
#[derive(Debug, Clone)]
pub struct NewAddressGroup {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its ranges.
    pub addresses: Vec<IpNet>,
}

/// Creates a group.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewAddressGroup) -> Result<AddressGroupId> {
    policy::check(caller, Action::AddressGroupWrite, Some(new.project_id))?;
    let mut addresses: Vec<IpNet> = new.addresses.iter().map(IpNet::trunc).collect();
    addresses.sort();
    addresses.dedup();
    check_count(&addresses)?;
    let id = AddressGroupId::from_random(txn.random());
    txn.put(AddressGroup {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        addresses,
        revision: 1,
        unknown: Default::default(),
    });
    Ok(id)
}

fn check_count(addresses: &[IpNet]) -> Result<()> {
    if addresses.len() <= ADDRESSES_MAX {
        return Ok(());
    }
    let why = format!("An address group has at most {ADDRESSES_MAX} addresses; join some into ranges.");
    Err(Error::invalid(why).coded("HTTPBadRequest"))
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct AddressGroupChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
}

/// Changes a group's name or description.
pub fn update(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: AddressGroupId,
    change: AddressGroupChange,
) -> Result<()> {
    txn.changeable::<AddressGroup>(caller, &id)?;
    txn.update::<AddressGroup>(&id, |g| {
        g.name = change.name.unwrap_or(std::mem::take(&mut g.name));
        g.description = change.description.unwrap_or(std::mem::take(&mut g.description));
        g.revision += 1;
    });
    Ok(())
}

fn listed(addresses: &[IpNet]) -> String {
    addresses.iter().map(IpNet::to_string).collect::<Vec<_>>().join(", ")
}

/// Adds ranges to a group.
pub fn add(txn: &mut Txn<'_>, caller: &Caller, id: AddressGroupId, more: &[IpNet]) -> Result<()> {
    let group = txn.changeable::<AddressGroup>(caller, &id)?;
    let more: Vec<IpNet> = more.iter().map(IpNet::trunc).collect();
    let there: Vec<IpNet> = more.iter().filter(|a| group.addresses.contains(a)).copied().collect();
    if !there.is_empty() {
        let why = format!("Addresses {} already exist in the address group {id}.", listed(&there));
        return Err(Error::invalid(why).coded("AddressesAlreadyExist"));
    }
    let mut addresses: Vec<IpNet> = group.addresses.iter().copied().chain(more).collect();
    addresses.sort();
    addresses.dedup();
    check_count(&addresses)?;
    txn.update::<AddressGroup>(&id, |g| {
        g.addresses = addresses;
        g.revision += 1;
    });
    Ok(())
}

/// Removes ranges from a group.
pub fn remove(txn: &mut Txn<'_>, caller: &Caller, id: AddressGroupId, less: &[IpNet]) -> Result<()> {
    let group = txn.changeable::<AddressGroup>(caller, &id)?;
    let less: Vec<IpNet> = less.iter().map(IpNet::trunc).collect();
    let absent: Vec<IpNet> = less.iter().filter(|a| !group.addresses.contains(a)).copied().collect();
    if !absent.is_empty() {
        let why = format!("Addresses {} not found in the address group {id}.", listed(&absent));
        return Err(Error::not_found_text(why).coded("AddressesNotFound"));
    }
    txn.update::<AddressGroup>(&id, |g| {
        g.addresses.retain(|a| !less.contains(a));
        g.revision += 1;
    });
    Ok(())
}

/// Removes a group that no rule names.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: AddressGroupId) -> Result<()> {
    txn.changeable::<AddressGroup>(caller, &id)?;
    if txn.rules_about_address_group(id).next().is_some()
        || about(txn, &Remote::AddressGroup(id)).next().is_some()
    {
        let why = format!("Address group {id} is in use on one or more security group rules.");
        return Err(Error::conflict(why).coded("AddressGroupInUse"));
    }
    cascade::on_object_deleted(txn, RbacObject::AddressGroup(id));
    txn.delete::<AddressGroup>(&id);
    Ok(())
}
