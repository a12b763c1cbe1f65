//! Changes of a project's limits, and their return to the defaults.

use crate::quota::Service;
use lenticular_model::{
    ProjectId, Txn,
    error::{Error, Result},
    policy::{self, Action, Caller},
    quota::{COMPUTE_DEFAULTS, Limits, NETWORK_DEFAULTS, Quota},
};

/// Sets limits of a project; other limits stay.
pub fn set(
    txn: &mut Txn<'_>,
    caller: &Caller,
    service: Service,
    project: ProjectId,
    new: Limits,
) -> Result<()> {
    let (action, defaults) = match service {
        Service::Compute => (Action::QuotaWrite, COMPUTE_DEFAULTS),
        Service::Network => (Action::NetworkQuotaWrite, NETWORK_DEFAULTS),
    };
    policy::check(caller, action, None)?;
    for (name, value) in &new {
        if !defaults.iter().any(|(known, _)| known == name) {
            return Err(Error::invalid(format!("There is no quota called '{name}'.")));
        }
        if *value < -1 {
            return Err(Error::invalid(format!(
                "Quota limit {value} for {name} must be -1 (no limit) or more."
            )));
        }
    }
    let mut quota = match txn.quotas.get(&project) {
        Some(quota) => Quota::clone(quota),
        None => Quota {
            id: project,
            created_at: txn.now,
            updated_at: None,
            compute: Limits::new(),
            network: Limits::new(),
            unknown: Default::default(),
        },
    };
    match service {
        Service::Compute => quota.compute.extend(new),
        Service::Network => quota.network.extend(new),
    }
    quota.updated_at = Some(txn.now);
    txn.put(quota);
    Ok(())
}

/// Clears a project's own limits, so that the defaults apply again. For a project without own limits this is an
/// error in Neutron, but not in Nova.
pub fn reset(txn: &mut Txn<'_>, caller: &Caller, service: Service, project: ProjectId) -> Result<()> {
    let action = if service == Service::Compute { Action::QuotaWrite } else { Action::NetworkQuotaWrite };
    policy::check(caller, action, None)?;
    let has_own = txn.quotas.get(&project).is_some_and(|quota| !quota.network.is_empty());
    if service == Service::Network && !has_own {
        let why = format!("Quota for tenant {project} could not be found.");
        return Err(Error::not_found_text(why).coded("TenantQuotaNotFound"));
    }
    txn.update::<Quota>(&project, |quota| match service {
        Service::Compute => quota.compute.clear(),
        Service::Network => quota.network.clear(),
    });
    Ok(())
}
