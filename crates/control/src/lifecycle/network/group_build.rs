//! The creation of security groups: a project's default group, and the rules that new groups begin with.

use crate::lifecycle::network::rule::NewRule;
use lenticular_model::{
    ProjectId, SecurityGroupId, SecurityGroupRuleId, State, Txn,
    error::{Error, Result},
    network::{
        default_security_group_rule::{DefaultRemote, DefaultSecurityGroupRule, all},
        security_group::{Remote, SecurityGroup, SecurityGroupRule},
    },
};

/// The name of the group that every project has.
pub const DEFAULT: &str = "default";

/// The project's default group, made if it does not exist.
pub fn ensure_default(txn: &mut Txn<'_>, project: ProjectId) -> SecurityGroupId {
    if let Some(group) = txn.security_groups_of_project(project).find(|g| g.name == DEFAULT) {
        return group.id;
    }
    put(txn, project, DEFAULT.to_owned(), "Default security group".to_owned(), true)
}

/// Makes a group and the rules that every new group begins with.
pub(crate) fn put(
    txn: &mut Txn<'_>,
    project: ProjectId,
    name: String,
    description: String,
    stateful: bool,
) -> SecurityGroupId {
    let id = SecurityGroupId::from_random(txn.random());
    let rules = of_new_group(txn, id, project, name == DEFAULT);
    txn.put(SecurityGroup {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: project,
        name,
        description,
        stateful,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    for rule in rules {
        put_rule(txn, rule);
    }
    id
}

/// The rules that a new group begins with. A rule about a deleted group would match no traffic, and is left out.
fn of_new_group(state: &State, id: SecurityGroupId, project: ProjectId, default: bool) -> Vec<NewRule> {
    let used =
        |r: &DefaultSecurityGroupRule| if default { r.used_in_default_sg } else { r.used_in_non_default_sg };
    let there = |remote: &Remote| match remote {
        Remote::Any | Remote::Range(_) => true,
        Remote::Group(group) => state.security_groups.contains_key(group),
        Remote::AddressGroup(group) => state.address_groups.contains_key(group),
    };
    let rules = all(state).into_iter().filter(|rule| used(rule)).map(|rule| NewRule {
        security_group_id: id,
        project_id: project,
        direction: rule.direction,
        ip_version: rule.ip_version,
        protocol: rule.protocol.clone(),
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        remote: match &rule.remote {
            DefaultRemote::Parent => Remote::Group(id),
            DefaultRemote::Is(remote) => remote.clone(),
        },
        description: rule.description.clone(),
    });
    rules.filter(|rule| rule.remote == Remote::Group(id) || there(&rule.remote)).collect()
}

/// Writes a rule.
pub(crate) fn put_rule(txn: &mut Txn<'_>, new: NewRule) -> SecurityGroupRuleId {
    let id = SecurityGroupRuleId::from_random(txn.random());
    // The range of all ports counts as no range, as in Neutron.
    let ports = (new.port_range_min, new.port_range_max);
    let (port_range_min, port_range_max) =
        if ports == (Some(1), Some(65_535)) { (None, None) } else { ports };
    txn.put(SecurityGroupRule {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        security_group_id: new.security_group_id,
        project_id: new.project_id,
        direction: new.direction,
        ip_version: new.ip_version,
        protocol: new.protocol,
        port_range_min,
        port_range_max,
        remote: new.remote,
        description: new.description,
        revision: 1,
        unknown: Default::default(),
    });
    id
}

/// The one group of the project with this name.
pub(crate) fn by_name(state: &State, project: ProjectId, name: &str) -> Result<SecurityGroupId> {
    let mut named = state.security_groups_of_project(project).filter(|g| g.name == name);
    match (named.next(), named.next()) {
        (Some(group), None) => Ok(group.id),
        (Some(_), Some(_)) => Err(Error::conflict(format!(
            "Multiple security groups found matching '{name}'. Use an ID to be more specific."
        ))),
        (None, _) => Err(Error::invalid(format!("Security group {name} not found for project {project}."))),
    }
}

/// The security groups of a project with these names or ids; the default group if none are given.
pub(crate) fn resolve(
    txn: &mut Txn<'_>,
    project: ProjectId,
    names: &[String],
) -> Result<Vec<SecurityGroupId>> {
    if names.is_empty() {
        return Ok(vec![ensure_default(txn, project)]);
    }
    let mut found = Vec::new();
    for name in names {
        let by_id = name.parse().ok().filter(|id| txn.may_use_security_group(project, *id));
        let id = match by_id {
            Some(id) => id,
            None if name == DEFAULT => ensure_default(txn, project),
            None => by_name(txn, project, name)?,
        };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}
