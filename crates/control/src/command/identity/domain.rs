//! Domains: their creation, change and removal.

use crate::command::identity::{cascade, govern};
use lenticular_model::{
    DomainId, GroupId, ProjectId, RoleId, Txn, UserId,
    error::{Error, Result},
    identity::{Domain, Target},
    policy::{self, Action, Caller},
};

/// The domain of a request that names none.
pub const DEFAULT_DOMAIN: &str = "default";

/// Writes a domain, new or changed.
///
/// The API layer has read the fields; this command checks them against the existing records.
pub fn put(txn: &mut Txn<'_>, caller: &Caller, domain: Domain) -> Result<()> {
    policy::check(caller, Action::DomainWrite, None)?;
    if txn.domain_named(&domain.name).is_some_and(|other| other.id != domain.id) {
        return Err(govern::duplicate("domain", &domain.name));
    }
    let mut domain = domain;
    if !domain.enabled {
        domain.tokens_void_before = txn.now;
    }
    txn.put(domain);
    Ok(())
}

/// Removes a disabled domain, with all its records.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: &DomainId) -> Result<()> {
    policy::check(caller, Action::DomainWrite, None)?;
    if govern::domain(txn, id)?.enabled {
        return Err(Error::forbidden("Cannot delete a domain that is enabled, please disable it first."));
    }
    let users: Vec<UserId> = txn.users.values().filter(|u| u.domain_id == *id).map(|u| u.id).collect();
    let projects: Vec<ProjectId> =
        txn.projects.values().filter(|p| p.domain_id == *id).map(|p| p.id).collect();
    for project in projects {
        cascade::delete_project(txn, project)?;
    }
    for user in users {
        cascade::delete_user(txn, user);
    }
    let groups: Vec<GroupId> = txn.groups.values().filter(|g| g.domain_id == *id).map(|g| g.id).collect();
    for group in groups {
        cascade::delete_group(txn, group);
    }
    let roles = txn.roles.values().filter(|role| role.domain_id.as_ref() == Some(id));
    let roles: Vec<RoleId> = roles.map(|role| role.id).collect();
    for role in roles {
        cascade::delete_role(txn, role);
    }
    cascade::delete_grants(txn, |a| a.target == Target::Domain(id.clone()));
    txn.delete::<Domain>(id);
    Ok(())
}
