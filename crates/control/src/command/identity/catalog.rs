//! The catalog: the creation, change and removal of regions, services and endpoints.

use crate::command::identity::govern;
use lenticular_model::{
    EndpointId, RegionId, ServiceId, Txn,
    error::{Error, Result},
    identity::{
        Endpoint, Interface, Region, Service,
        catalog::{OWN_SERVICES, PUBLIC_URL, REGION, own_id},
    },
    policy::{self, Action, Caller},
};

/// Writes the cloud's own services, for a cloud that has none.
pub(crate) fn put_own(txn: &mut Txn<'_>) {
    put_region_named(txn, REGION.into());
    for (kind, name, path) in OWN_SERVICES {
        let service_id = ServiceId(own_id(kind, ""));
        let now = txn.now;
        txn.put(Service {
            id: service_id,
            created_at: now,
            updated_at: None,
            kind: (*kind).to_owned(),
            name: Some((*name).to_owned()),
            description: None,
            enabled: true,
            extra: Default::default(),
            unknown: Default::default(),
        });
        for interface in Interface::ALL {
            txn.put(Endpoint {
                id: EndpointId(own_id(kind, interface.word())),
                created_at: now,
                updated_at: None,
                service_id,
                interface,
                region_id: Some(REGION.into()),
                url: format!("{PUBLIC_URL}{path}"),
                enabled: true,
                extra: Default::default(),
                unknown: Default::default(),
            });
        }
    }
}

fn put_region_named(txn: &mut Txn<'_>, id: RegionId) {
    txn.put(Region {
        id,
        created_at: txn.now,
        updated_at: None,
        description: String::new(),
        parent_region_id: None,
        extra: Default::default(),
        unknown: Default::default(),
    });
}

/// Writes a region, new or changed.
///
/// # Errors
/// The caller may not; or the parent does not exist, or is below the region.
pub fn put_region(txn: &mut Txn<'_>, caller: &Caller, region: Region) -> Result<()> {
    policy::check(caller, Action::RegionWrite, None)?;
    let mut above = region.parent_region_id.clone();
    while let Some(id) = above {
        if id == region.id {
            return Err(Error::invalid(format!("The region {id} cannot be below itself.")));
        }
        let parent = txn.regions.get(&id).ok_or_else(|| govern::missing("region", &id))?;
        above = parent.parent_region_id.clone();
    }
    txn.put(region);
    Ok(())
}

/// Refuses if a region has this id.
///
/// # Errors
/// A region has it.
pub fn check_new_region(txn: &Txn<'_>, id: &RegionId) -> Result<()> {
    match txn.regions.contains_key(id) {
        true => Err(Error::conflict(format!(
            "Conflict occurred attempting to store region - Duplicate ID, {id}."
        ))),
        false => Ok(()),
    }
}

/// Removes a region with those below it. None of them may have endpoints.
pub fn delete_region(txn: &mut Txn<'_>, caller: &Caller, id: &RegionId) -> Result<()> {
    policy::check(caller, Action::RegionWrite, None)?;
    if !txn.regions.contains_key(id) {
        return Err(govern::missing("region", id));
    }
    let mut all = vec![id.clone()];
    let mut at = 0;
    while let Some(parent) = all.get(at).cloned() {
        let below = txn.regions.values().filter(|region| region.parent_region_id.as_ref() == Some(&parent));
        all.extend(below.map(|region| region.id.clone()));
        at += 1;
    }
    if txn.endpoints.values().any(|e| e.region_id.as_ref().is_some_and(|region| all.contains(region))) {
        return Err(Error::forbidden(format!(
            "Unable to delete region {id} because it or its child regions have associated endpoints."
        )));
    }
    for region in all {
        txn.delete::<Region>(&region);
    }
    Ok(())
}

/// Writes a service, new or changed.
pub fn put_service(txn: &mut Txn<'_>, caller: &Caller, service: Service) -> Result<()> {
    policy::check(caller, Action::ServiceCatalogWrite, None)?;
    txn.put(service);
    Ok(())
}

/// Removes a service with its endpoints.
pub fn delete_service(txn: &mut Txn<'_>, caller: &Caller, id: ServiceId) -> Result<()> {
    policy::check(caller, Action::ServiceCatalogWrite, None)?;
    let endpoints: Vec<EndpointId> = txn.endpoints_of_service(id).map(|endpoint| endpoint.id).collect();
    txn.delete::<Service>(&id).ok_or_else(|| govern::missing("service", id))?;
    for endpoint in endpoints {
        txn.delete::<Endpoint>(&endpoint);
    }
    Ok(())
}

/// Writes an endpoint, new or changed. With `make_region` its region is made if it does not exist.
///
/// # Errors
/// The caller may not; or the service or the region does not exist.
pub fn put_endpoint(txn: &mut Txn<'_>, caller: &Caller, endpoint: Endpoint, make_region: bool) -> Result<()> {
    policy::check(caller, Action::EndpointWrite, None)?;
    if !txn.services.contains_key(&endpoint.service_id) {
        return Err(Error::invalid(format!("Could not find service: {}.", endpoint.service_id)));
    }
    if let Some(region) = endpoint.region_id.clone().filter(|region| !txn.regions.contains_key(region)) {
        if !make_region {
            return Err(Error::invalid(format!("Could not find region: {region}.")));
        }
        put_region_named(txn, region);
    }
    txn.put(endpoint);
    Ok(())
}

/// Removes an endpoint.
pub fn delete_endpoint(txn: &mut Txn<'_>, caller: &Caller, id: EndpointId) -> Result<()> {
    policy::check(caller, Action::EndpointWrite, None)?;
    txn.delete::<Endpoint>(&id).map(drop).ok_or_else(|| govern::missing("endpoint", id))
}
