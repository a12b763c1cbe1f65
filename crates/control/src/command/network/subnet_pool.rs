//! Subnet pools: their creation, change and removal.

use crate::{
    lifecycle::network::{cascade, sharing},
    quota,
};
use ipnet::IpNet;
use lenticular_model::{
    AddressScopeId, ProjectId, State, SubnetPoolId, Txn,
    error::{Error, Result},
    network::{
        address_scope::AddressScope,
        rbac_policy::{RbacAction, RbacObject},
        subnet::overlap,
        subnet_pool::SubnetPool,
    },
    policy::{self, Action, Caller},
};

/// The settings of a new pool.
#[derive(Debug, Clone)]
pub struct NewSubnetPool {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// Its ranges.
    pub prefixes: Vec<IpNet>,
    /// The shortest prefix; `None` for 8 or 64.
    pub min_prefixlen: Option<u8>,
    /// The longest prefix; `None` for 32 or 128.
    pub max_prefixlen: Option<u8>,
    /// The prefix of a subnet that asks for none; `None` for the shortest.
    pub default_prefixlen: Option<u8>,
    /// The quota of one project.
    pub default_quota: Option<u64>,
    /// The scope.
    pub address_scope_id: Option<AddressScopeId>,
    /// True shows it to every project.
    pub shared: bool,
    /// True for the default pool.
    pub is_default: bool,
}

fn bad(code: &'static str, why: impl Into<String>) -> Error {
    Error::invalid(why.into()).coded(code)
}

/// Ranges of one family, joined where they overlap or touch.
fn compact(prefixes: &[IpNet]) -> Result<Vec<IpNet>> {
    let Some(first) = prefixes.first() else {
        return Err(bad(
            "EmptySubnetPoolPrefixList",
            "Empty subnet pool prefix list: a subnet pool needs at least one range.",
        ));
    };
    if prefixes.iter().any(|p| p.addr().is_ipv4() != first.addr().is_ipv4()) {
        return Err(bad("PrefixVersionMismatch", "Cannot mix IPv4 and IPv6 prefixes in a subnet pool."));
    }
    let whole: Vec<IpNet> = prefixes.iter().map(IpNet::trunc).collect();
    Ok(IpNet::aggregate(&whole))
}

fn check_lengths(pool: &SubnetPool) -> Result<()> {
    let (min, max, default) = (pool.min_prefixlen, pool.max_prefixlen, pool.default_prefixlen);
    let width = if pool.ip_version() == 4 { 32 } else { 128 };
    let bounds = |why: String| bad("IllegalSubnetPoolPrefixBounds", why);
    let short = pool.ip_version() == 4 && min < 8 || min == 0;
    if short || max > width {
        return Err(bounds(format!(
            "Illegal prefix bounds: the prefix lengths {min} to {max} are out of range."
        )));
    }
    match (min, max, default) {
        _ if min > max => {
            Err(bounds(format!("Illegal prefix bounds: min_prefixlen={min}, max_prefixlen={max}.")))
        }
        _ if default < min => {
            Err(bounds(format!("Illegal prefix bounds: default_prefixlen={default}, min_prefixlen={min}.")))
        }
        _ if default > max => {
            Err(bounds(format!("Illegal prefix bounds: default_prefixlen={default}, max_prefixlen={max}.")))
        }
        _ => Ok(()),
    }
}

fn check_default(state: &State, pool: &SubnetPool) -> Result<()> {
    match state.default_subnet_pool(pool.ip_version()).filter(|p| pool.is_default && p.id != pool.id) {
        Some(_) => Err(bad(
            "InvalidInput",
            "Invalid input for operation: A default subnetpool for this IP family has already been set. Only one \
             default may exist per IP family.",
        )),
        None => Ok(()),
    }
}

/// Refuses ranges that another pool of the scope has: within a scope an address belongs to one pool.
fn check_scope(state: &State, caller: &Caller, pool: &SubnetPool) -> Result<()> {
    let Some(id) = pool.address_scope_id else { return Ok(()) };
    let scope = state.visible::<AddressScope>(caller, &id)?;
    let illegal = |why: String| bad("IllegalSubnetPoolAssociationToAddressScope", why);
    if pool.shared && !scope.shared {
        return Err(illegal(format!(
            "Illegal subnetpool association: subnetpool {} is shared and address scope {id} is not.",
            pool.id
        )));
    }
    if scope.ip_version != pool.ip_version() {
        return Err(bad(
            "IllegalSubnetPoolIpVersionAssociationToAddressScope",
            format!(
                "Illegal subnetpool association: subnetpool {} cannot be associated with address scope {id} because \
                 subnetpool ip_version is not {}.",
                pool.id, scope.ip_version
            ),
        ));
    }
    let mut peers = state.pools_of_scope(id).filter(|p| p.id != pool.id);
    let clash = peers.any(|peer| peer.prefixes.iter().any(|a| pool.prefixes.iter().any(|b| overlap(a, b))));
    if clash {
        let why = format!(
            "Failed to associate address scope: subnetpools within an address scope must have unique prefixes: {id}."
        );
        return Err(Error::conflict(why).coded("AddressScopePrefixConflict"));
    }
    Ok(())
}

/// Creates a pool.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewSubnetPool) -> Result<SubnetPoolId> {
    policy::check(caller, Action::SubnetPoolWrite, Some(new.project_id))?;
    if new.shared {
        policy::check(caller, Action::SubnetPoolShared, None)?;
    }
    if new.is_default {
        policy::check(caller, Action::SubnetPoolDefault, None)?;
    }
    quota::need_network(txn, new.project_id, "subnetpool")?;
    let prefixes = compact(&new.prefixes)?;
    let v4 = prefixes.first().is_some_and(|p| p.addr().is_ipv4());
    let min_prefixlen = new.min_prefixlen.unwrap_or(if v4 { 8 } else { 64 });
    let id = SubnetPoolId::from_random(txn.random());
    let pool = SubnetPool {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        prefixes,
        min_prefixlen,
        max_prefixlen: new.max_prefixlen.unwrap_or(if v4 { 32 } else { 128 }),
        default_prefixlen: new.default_prefixlen.unwrap_or(min_prefixlen),
        default_quota: new.default_quota,
        address_scope_id: new.address_scope_id,
        shared: new.shared,
        is_default: new.is_default,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    };
    check_lengths(&pool)?;
    check_default(txn, &pool)?;
    check_scope(txn, caller, &pool)?;
    txn.put(pool);
    let object = RbacObject::SubnetPool(id);
    sharing::set_everyone(txn, new.project_id, object, RbacAction::AccessAsShared, new.shared)?;
    Ok(id)
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct SubnetPoolChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Its ranges; they may only grow.
    pub prefixes: Option<Vec<IpNet>>,
    /// The shortest prefix.
    pub min_prefixlen: Option<u8>,
    /// The longest prefix.
    pub max_prefixlen: Option<u8>,
    /// The prefix of a subnet that asks for none.
    pub default_prefixlen: Option<u8>,
    /// The quota of one project; `Some(None)` for no limit.
    pub default_quota: Option<Option<u64>>,
    /// The scope; `Some(None)` removes it.
    pub address_scope_id: Option<Option<AddressScopeId>>,
    /// Whether it is the default.
    pub is_default: Option<bool>,
}

/// Changes a pool.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: SubnetPoolId, change: SubnetPoolChange) -> Result<()> {
    let mut pool = SubnetPool::clone(&*txn.changeable::<SubnetPool>(caller, &id)?);
    if change.is_default.is_some() {
        policy::check(caller, Action::SubnetPoolDefault, None)?;
    }
    if let Some(prefixes) = &change.prefixes {
        let new = compact(prefixes)?;
        let kept = pool.prefixes.iter().all(|old| new.iter().any(|n| n.contains(old)));
        if !kept {
            return Err(bad(
                "IllegalSubnetPoolPrefixUpdate",
                "Illegal update to prefixes: the existing prefixes must be a subset of the new prefixes.",
            ));
        }
        pool.prefixes = new;
    }
    pool.name = change.name.unwrap_or(pool.name);
    pool.description = change.description.unwrap_or(pool.description);
    pool.min_prefixlen = change.min_prefixlen.unwrap_or(pool.min_prefixlen);
    pool.max_prefixlen = change.max_prefixlen.unwrap_or(pool.max_prefixlen);
    pool.default_prefixlen = change.default_prefixlen.unwrap_or(pool.default_prefixlen);
    pool.default_quota = change.default_quota.unwrap_or(pool.default_quota);
    pool.address_scope_id = change.address_scope_id.unwrap_or(pool.address_scope_id);
    pool.is_default = change.is_default.unwrap_or(pool.is_default);
    finish(txn, caller, pool)
}

fn finish(txn: &mut Txn<'_>, caller: &Caller, mut pool: SubnetPool) -> Result<()> {
    check_lengths(&pool)?;
    check_default(txn, &pool)?;
    check_scope(txn, caller, &pool)?;
    pool.revision += 1;
    pool.updated_at = Some(txn.now);
    txn.put(pool);
    Ok(())
}

/// Adds ranges to a pool.
pub fn add_prefixes(txn: &mut Txn<'_>, caller: &Caller, id: SubnetPoolId, more: &[IpNet]) -> Result<()> {
    let mut pool = SubnetPool::clone(&*txn.changeable::<SubnetPool>(caller, &id)?);
    let all: Vec<IpNet> = pool.prefixes.iter().chain(more).copied().collect();
    pool.prefixes = compact(&all)?;
    finish(txn, caller, pool)
}

/// Removes ranges from a pool, if no subnet uses them.
pub fn remove_prefixes(txn: &mut Txn<'_>, caller: &Caller, id: SubnetPoolId, less: &[IpNet]) -> Result<()> {
    let mut pool = SubnetPool::clone(&*txn.changeable::<SubnetPool>(caller, &id)?);
    let less: Vec<IpNet> = less.iter().map(IpNet::trunc).collect();
    if let Some(strange) = less.iter().find(|l| !pool.prefixes.contains(l)) {
        let why = format!("Illegal update to prefixes: {strange} is not one of the pool's.");
        return Err(bad("IllegalSubnetPoolPrefixUpdate", why));
    }
    if let Some(used) = txn.subnets_of_pool(id).find(|s| less.iter().any(|l| overlap(l, &s.cidr))) {
        let why = format!("Unable to remove prefixes: subnet {} is allocated from them.", used.id);
        return Err(Error::conflict(why).coded("IllegalSubnetPoolPrefixUpdate"));
    }
    pool.prefixes.retain(|p| !less.contains(p));
    if pool.prefixes.is_empty() {
        let why = "Illegal update to prefixes: a subnet pool needs at least one range.";
        return Err(bad("IllegalSubnetPoolPrefixUpdate", why));
    }
    finish(txn, caller, pool)
}

/// Removes a pool that no subnet was taken from.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SubnetPoolId) -> Result<()> {
    txn.changeable::<SubnetPool>(caller, &id)?;
    if txn.subnets_of_pool(id).next().is_some() {
        let why = "Unable to delete subnet pool: Subnet pool has existing allocations.";
        return Err(bad("SubnetPoolDeleteError", why));
    }
    cascade::on_object_deleted(txn, RbacObject::SubnetPool(id));
    txn.delete::<SubnetPool>(&id);
    Ok(())
}
