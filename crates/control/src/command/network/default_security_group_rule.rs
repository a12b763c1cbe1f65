//! Rules that new security groups begin with: their making and removal.

use crate::command::network::security_group::{self, traffic, whom, NewRule};
use lenticular_model::{
    error::{Error, Result},
    network::{
        default_security_group_rule::{all, is_built_in, DefaultRemote, DefaultSecurityGroupRule},
        security_group::Remote,
    },
    policy::{self, Action, Caller},
    DefaultSecurityGroupRuleId, ProjectId, SecurityGroupId, State, Txn,
};
use std::sync::Arc;

/// What a new rule is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDefaultRule {
    /// What it says. Its group and project are nobody's.
    pub rule: NewRule,
    /// Whether it is about the group that it will be a rule of, in place of what the rule says.
    pub parent: bool,
    /// Whether projects' default groups begin with it.
    pub used_in_default_sg: bool,
    /// Whether all other groups do.
    pub used_in_non_default_sg: bool,
}

/// That there is no such rule.
pub fn missing(id: impl std::fmt::Display) -> Error {
    Error::not_found_text(format!("Default Security Group rule {id} does not exist"))
        .coded("DefaultSecurityGroupRuleNotFound")
}

/// The rule; they are everybody's to see.
pub fn find(state: &State, id: DefaultSecurityGroupRuleId) -> Result<Arc<DefaultSecurityGroupRule>> {
    all(state).into_iter().find(|rule| rule.id == id).ok_or_else(|| missing(id))
}

/// Creates a rule. Groups that are there stay as they are.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewDefaultRule) -> Result<DefaultSecurityGroupRuleId> {
    policy::check(caller, Action::DefaultSecurityGroupRuleWrite, None)?;
    let NewDefaultRule { rule, parent, used_in_default_sg, used_in_non_default_sg } = new;
    security_group::check_rule(txn, caller, &rule)?;
    let made = DefaultSecurityGroupRule {
        id: DefaultSecurityGroupRuleId::from_random(txn.random()),
        created_at: txn.now,
        updated_at: None,
        direction: rule.direction,
        ip_version: rule.ip_version,
        protocol: rule.protocol,
        port_range_min: rule.port_range_min,
        port_range_max: rule.port_range_max,
        remote: if parent { DefaultRemote::Parent } else { DefaultRemote::Is(rule.remote) },
        description: rule.description,
        used_in_default_sg,
        used_in_non_default_sg,
        removed: false,
        unknown: Default::default(),
    };
    if let Some(old) = all(txn).into_iter().find(|old| says_the_same(old, &made)) {
        let why = format!("Default Security group rule already exists. Rule id is {}.", old.id);
        return Err(Error::conflict(why).coded("DefaultSecurityGroupRuleExists"));
    }
    let id = made.id;
    txn.put(made);
    Ok(id)
}

/// Whether some group would begin with both, and one of them would be too many.
fn says_the_same(a: &DefaultSecurityGroupRule, b: &DefaultSecurityGroupRule) -> bool {
    let remote = |rule: &DefaultSecurityGroupRule| match &rule.remote {
        DefaultRemote::Parent => None,
        DefaultRemote::Is(remote) => Some(whom(remote)),
    };
    let said = |rule: &DefaultSecurityGroupRule| {
        let ports = (rule.port_range_min, rule.port_range_max);
        (rule.direction, traffic(rule.ip_version, rule.protocol.as_deref(), ports), remote(rule))
    };
    let together = (a.used_in_default_sg && b.used_in_default_sg)
        || (a.used_in_non_default_sg && b.used_in_non_default_sg);
    together && said(a) == said(b)
}

/// Removes a rule. Groups that began with it keep it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: DefaultSecurityGroupRuleId) -> Result<()> {
    policy::check(caller, Action::DefaultSecurityGroupRuleWrite, None)?;
    let found = find(txn, id)?;
    match is_built_in(id) {
        true => {
            txn.put(DefaultSecurityGroupRule { removed: true, ..DefaultSecurityGroupRule::clone(&found) })
        }
        false => drop(txn.delete::<DefaultSecurityGroupRule>(&id)),
    }
    Ok(())
}

/// The rules that a new group begins with. One about what is gone would let nobody through, and is left out.
pub(crate) fn of_new_group(
    state: &State,
    id: SecurityGroupId,
    project: ProjectId,
    default: bool,
) -> Vec<NewRule> {
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
