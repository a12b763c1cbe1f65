//! Host aggregates: their creation, change and removal, their hosts, and the zone of those hosts.

use lenticular_model::{
    AggregateId, HostId, State, Txn,
    compute::aggregate::{Aggregate, ZONE_KEY},
    error::{Error, Result},
    host::{
        host::Host,
        rule::{HostRule, Scope},
    },
    policy::{self, Action, Caller},
};
use std::{collections::BTreeMap, sync::Arc};

/// The aggregate with this number in the API.
///
/// # Errors
/// The aggregate does not exist.
pub fn by_number(state: &State, number: u64) -> Result<Arc<Aggregate>> {
    let found = state.aggregate_numbered(number);
    found.cloned().ok_or_else(|| Error::not_found("Aggregate", number))
}

/// Nova's text for this refusal.
fn refused(what: &str, aggregate: u64, why: &str) -> String {
    format!("Cannot perform action '{what}' on aggregate {aggregate}. Reason: {why}.")
}

fn check_name(txn: &Txn<'_>, name: &str, but: Option<AggregateId>) -> Result<()> {
    match txn.aggregate_named(name) {
        Some(other) if Some(other.id) != but => {
            Err(Error::conflict(format!("Aggregate {name} already exists.")))
        }
        _ => Ok(()),
    }
}

/// Creates an aggregate without hosts.
///
/// # Errors
/// Another aggregate has the name.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    name: String,
    zone: Option<String>,
) -> Result<Arc<Aggregate>> {
    policy::check(caller, Action::AggregateWrite, None)?;
    check_name(txn, &name, None)?;
    let id = AggregateId::from_random(txn.random());
    txn.put(Aggregate {
        id,
        created_at: txn.now,
        updated_at: None,
        // The commit number is never reused, unlike a count of the existing aggregates.
        number: txn.seq,
        name,
        hosts: Vec::new(),
        metadata: zone.into_iter().map(|zone| (ZONE_KEY.to_owned(), zone)).collect(),
        unknown: Default::default(),
    });
    by_id(txn, id)
}

fn by_id(txn: &Txn<'_>, id: AggregateId) -> Result<Arc<Aggregate>> {
    txn.need::<Aggregate>(&id, || Error::internal("an aggregate is gone from the transaction that holds it"))
}

/// Changes an aggregate's name, or its zone and with it the zone of its hosts.
///
/// # Errors
/// Another aggregate has the name, or the hosts cannot change their zone.
pub fn update(
    txn: &mut Txn<'_>,
    caller: &Caller,
    number: u64,
    name: Option<String>,
    zone: Option<Option<String>>,
) -> Result<Arc<Aggregate>> {
    policy::check(caller, Action::AggregateWrite, None)?;
    let aggregate = by_number(txn, number)?;
    if let Some(name) = &name {
        check_name(txn, name, Some(aggregate.id))?;
    }
    if let Some(zone) = &zone {
        check_zone(txn, &aggregate, zone.as_deref(), "update aggregate")?;
    }
    txn.update::<Aggregate>(&aggregate.id, |a| {
        a.name = name.unwrap_or_else(|| a.name.clone());
        if let Some(zone) = zone.flatten() {
            a.metadata.insert(ZONE_KEY.to_owned(), zone);
        }
    });
    settle_zones(txn, &aggregate.hosts);
    by_id(txn, aggregate.id)
}

/// Sets entries of an aggregate's metadata; an entry without a value is removed.
///
/// # Errors
/// The hosts cannot change their zone.
pub fn set_metadata(
    txn: &mut Txn<'_>,
    caller: &Caller,
    number: u64,
    metadata: BTreeMap<String, Option<String>>,
) -> Result<Arc<Aggregate>> {
    policy::check(caller, Action::AggregateWrite, None)?;
    let aggregate = by_number(txn, number)?;
    if let Some(zone) = metadata.get(ZONE_KEY) {
        check_zone(txn, &aggregate, zone.as_deref(), "update aggregate metadata")?;
    }
    txn.update::<Aggregate>(&aggregate.id, |a| {
        for (key, value) in metadata {
            match value {
                Some(value) => drop(a.metadata.insert(key, value)),
                None => drop(a.metadata.remove(&key)),
            }
        }
    });
    settle_zones(txn, &aggregate.hosts);
    by_id(txn, aggregate.id)
}

/// Refuses a zone that an aggregate's hosts cannot be in.
fn check_zone(txn: &Txn<'_>, aggregate: &Aggregate, zone: Option<&str>, what: &str) -> Result<()> {
    let no = |why: String| Err(Error::invalid(refused(what, aggregate.number, &why)));
    // A zone that servers were requested in by name must not vanish.
    let Some(zone) = zone.filter(|zone| !zone.is_empty()) else {
        return no(format!("Aggregate {} does not support empty named availability zone", aggregate.name));
    };
    for host in aggregate.hosts.iter().filter_map(|id| txn.hosts.get(id)) {
        if let Some(other) = other_zone(txn, host.id, aggregate.id).filter(|other| other != zone) {
            return no(format!("Host {} is already in availability zone {other}", host.name));
        }
        if host.zone != zone && has_servers(txn, host.id) {
            return no(format!("Host {} has servers, and those would change their zone", host.name));
        }
    }
    Ok(())
}

/// The zone that a host has by aggregates other than this one.
fn other_zone(state: &State, host: HostId, but: AggregateId) -> Option<String> {
    state.aggregates_of_host(host).filter(|a| a.id != but).find_map(|a| a.zone().map(str::to_owned))
}

fn has_servers(state: &State, host: HostId) -> bool {
    state.taken_of_host(host).servers > 0
}

/// Gives hosts the zone of their aggregates, or their own zone.
fn settle_zones(txn: &mut Txn<'_>, hosts: &[HostId]) {
    for id in hosts {
        let Some(host) = txn.hosts.get(id).cloned() else { continue };
        let own = host.own_zone.clone().unwrap_or_else(|| host.zone.clone());
        let given = txn.aggregates_of_host(*id).find_map(|a| a.zone().map(str::to_owned));
        let (zone, own_zone) = match given {
            Some(zone) => (zone, Some(own)),
            None => (own, None),
        };
        if (&zone, &own_zone) != (&host.zone, &host.own_zone) {
            txn.update::<Host>(id, |h| (h.zone, h.own_zone) = (zone, own_zone));
        }
    }
}

fn host_named(txn: &Txn<'_>, name: &str) -> Result<Arc<Host>> {
    let host = txn.host_named(name);
    host.cloned().ok_or_else(|| Error::not_found_text(format!("Compute host {name} could not be found.")))
}

/// Adds a host to an aggregate, and so to its zone.
///
/// # Errors
/// The host is in the aggregate already, or cannot change its zone.
pub fn add_host(txn: &mut Txn<'_>, caller: &Caller, number: u64, name: &str) -> Result<Arc<Aggregate>> {
    policy::check(caller, Action::AggregateWrite, None)?;
    let aggregate = by_number(txn, number)?;
    let host = host_named(txn, name)?;
    if aggregate.hosts.contains(&host.id) {
        return Err(Error::conflict(format!("Aggregate {number} already has host {name}.")));
    }
    if let Some(zone) = aggregate.zone() {
        let no = |why: String| Err(Error::conflict(refused("add_host_to_aggregate", number, &why)));
        if let Some(other) = other_zone(txn, host.id, aggregate.id).filter(|other| other != zone) {
            return no(format!("Host(s) already in availability zone(s) {other}"));
        }
        if host.zone != zone && has_servers(txn, host.id) {
            return no(format!("Host {name} has servers, and those would change their zone"));
        }
    }
    txn.update::<Aggregate>(&aggregate.id, |a| a.hosts.push(host.id));
    settle_zones(txn, &[host.id]);
    by_id(txn, aggregate.id)
}

/// Removes a host from an aggregate.
///
/// # Errors
/// The host is not in the aggregate, or cannot change its zone.
pub fn remove_host(txn: &mut Txn<'_>, caller: &Caller, number: u64, name: &str) -> Result<Arc<Aggregate>> {
    policy::check(caller, Action::AggregateWrite, None)?;
    let aggregate = by_number(txn, number)?;
    let host = host_named(txn, name)?;
    if !aggregate.hosts.contains(&host.id) {
        let why = format!("Cannot remove host {name} in aggregate {number}: host not found.");
        return Err(Error::not_found_text(why));
    }
    let then = other_zone(txn, host.id, aggregate.id).or(host.own_zone.clone());
    if then.is_some_and(|zone| zone != host.zone) && has_servers(txn, host.id) {
        let why = format!("Host {name} has servers, and those would change their zone");
        return Err(Error::conflict(refused("remove_host_from_aggregate", number, &why)));
    }
    txn.update::<Aggregate>(&aggregate.id, |a| a.hosts.retain(|id| *id != host.id));
    settle_zones(txn, &[host.id]);
    by_id(txn, aggregate.id)
}

/// Removes an aggregate.
///
/// # Errors
/// It has hosts.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, number: u64) -> Result<()> {
    policy::check(caller, Action::AggregateWrite, None)?;
    let aggregate = by_number(txn, number)?;
    if !aggregate.hosts.is_empty() {
        return Err(Error::invalid(refused("delete", number, "Host aggregate is not empty")));
    }
    let about = |rule: &&std::sync::Arc<HostRule>| rule.scope == Scope::Aggregate(aggregate.id);
    if let Some(rule) = txn.host_rules.values().find(about) {
        let why = format!("The rule {} is about it: lenticular rule remove {}", rule.id, rule.id);
        return Err(Error::conflict(refused("delete", number, &why)));
    }
    txn.delete::<Aggregate>(&aggregate.id);
    Ok(())
}
