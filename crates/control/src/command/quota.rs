//! Changes of a project's limits, and their return to the defaults.

use crate::quota::{self, NETWORK_NAMES, Service};
use lenticular_model::{
    ProjectId, Txn, UserId,
    error::{Error, Result},
    policy::{self, Action, Caller},
    quota::{COMPUTE_DEFAULTS, Limits, NETWORK_DEFAULTS, Quota},
};

/// Whose limits a request changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// A project's.
    Project(ProjectId),
    /// A user's, in a project.
    User(ProjectId, UserId),
    /// The class `default`: those of all projects without own limits.
    Default,
}

impl Whose {
    /// The project whose record has the limits.
    fn record(self) -> ProjectId {
        match self {
            Self::Project(id) | Self::User(id, _) => id,
            Self::Default => ProjectId::CLOUD,
        }
    }
}

fn action(service: Service, whose: Whose) -> Action {
    match (service, whose) {
        (Service::Compute, Whose::Default) => Action::QuotaClassWrite,
        (Service::Compute, _) => Action::QuotaWrite,
        (Service::Network, _) => Action::NetworkQuotaWrite,
    }
}

/// Sets limits; other limits stay. With `force`, a limit may be below what is used.
///
/// # Errors
/// There is no such limit, a user's limit is above the project's, or a limit is below what is used.
pub fn set(
    txn: &mut Txn<'_>,
    caller: &Caller,
    service: Service,
    whose: Whose,
    new: Limits,
    force: bool,
) -> Result<()> {
    policy::check(caller, action(service, whose), None)?;
    let defaults = if service == Service::Compute { COMPUTE_DEFAULTS } else { NETWORK_DEFAULTS };
    for (name, value) in &new {
        let is_kept = whose == Whose::Default && NETWORK_NAMES.contains(&name.as_str());
        if !is_kept && !defaults.iter().any(|(known, _)| known == name) {
            return Err(Error::invalid(format!("There is no quota called '{name}'.")));
        }
        if *value < -1 {
            return Err(Error::invalid(format!(
                "Quota limit {value} for {name} must be -1 (no limit) or more."
            )));
        }
    }
    if service == Service::Compute {
        check_bounds(txn, whose, &new, force)?;
    }
    let id = whose.record();
    let mut quota = match txn.quotas.get(&id) {
        Some(quota) => Quota::clone(quota),
        None => Quota {
            id,
            created_at: txn.now,
            updated_at: None,
            compute: Limits::new(),
            network: Limits::new(),
            users: Default::default(),
            unknown: Default::default(),
        },
    };
    match (service, whose) {
        (Service::Compute, Whose::User(_, user)) => quota.users.entry(user).or_default().extend(new),
        (Service::Compute, _) => quota.compute.extend(new),
        (Service::Network, _) => quota.network.extend(new),
    }
    quota.updated_at = Some(txn.now);
    txn.put(quota);
    Ok(())
}

/// Refuses limits below what is used, and a user's limits above the project's.
fn check_bounds(txn: &Txn<'_>, whose: Whose, new: &Limits, force: bool) -> Result<()> {
    let used = match whose {
        Whose::Project(id) => txn.usage_of_project(id),
        Whose::User(id, user) => quota::user_usage(txn, id, user),
        Whose::Default => return Ok(()),
    };
    for (name, value) in new {
        let in_use = match name.as_str() {
            "instances" => used.instances,
            "cores" => used.cores,
            "ram" => used.ram,
            _ => 0,
        };
        if !force && *value >= 0 && *value < in_use {
            return Err(Error::invalid(format!(
                "Quota limit {value} for {name} must be greater than or equal to already used and reserved {in_use}."
            )));
        }
        let most = quota::own_limit(txn, whose.record(), name);
        let is_above = most >= 0 && (*value > most || *value < 0);
        if is_above && matches!(whose, Whose::User(..)) {
            return Err(Error::invalid(format!(
                "Quota limit {value} for {name} must be less than or equal to {most}, the project's."
            )));
        }
    }
    Ok(())
}

/// Clears a project's own limits, so that the defaults apply again. For a project without own limits this is an
/// error in Neutron, but not in Nova.
pub fn reset(txn: &mut Txn<'_>, caller: &Caller, service: Service, whose: Whose) -> Result<()> {
    policy::check(caller, action(service, whose), None)?;
    let id = whose.record();
    let has_own = txn.quotas.get(&id).is_some_and(|quota| !quota.network.is_empty());
    if service == Service::Network && !has_own {
        let why = format!("Quota for tenant {id} could not be found.");
        return Err(Error::not_found_text(why).coded("TenantQuotaNotFound"));
    }
    txn.update::<Quota>(&id, |quota| match (service, whose) {
        (Service::Compute, Whose::User(_, user)) => drop(quota.users.remove(&user)),
        (Service::Compute, _) => {
            quota.compute.clear();
            quota.users.clear();
        }
        (Service::Network, _) => quota.network.clear(),
    });
    Ok(())
}
