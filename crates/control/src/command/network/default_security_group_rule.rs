//! Rules that new security groups begin with: their creation and removal.

use crate::lifecycle::network::rule::{NewRule, check_rule, normalize_remote, traffic};
use lenticular_model::{
    DefaultSecurityGroupRuleId, State, Txn,
    error::{Error, Result},
    network::default_security_group_rule::{DefaultRemote, DefaultSecurityGroupRule, all, is_built_in},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// The settings of a new rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDefaultRule {
    /// The content of the rule. The group and project in it have no meaning.
    pub rule: NewRule,
    /// Whether the remote side is the group that gets the rule, instead of the remote side in `rule`.
    pub parent: bool,
    /// Whether projects' default groups begin with it.
    pub used_in_default_sg: bool,
    /// Whether all other groups begin with it.
    pub used_in_non_default_sg: bool,
}

/// The error: there is no such rule.
pub fn missing(id: impl std::fmt::Display) -> Error {
    Error::not_found_text(format!("Default Security Group rule {id} does not exist"))
        .coded("DefaultSecurityGroupRuleNotFound")
}

/// The rule; every caller may see it.
pub fn find(state: &State, id: DefaultSecurityGroupRuleId) -> Result<Arc<DefaultSecurityGroupRule>> {
    all(state).into_iter().find(|rule| rule.id == id).ok_or_else(|| missing(id))
}

/// Creates a rule. Existing groups do not change.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewDefaultRule) -> Result<DefaultSecurityGroupRuleId> {
    policy::check(caller, Action::DefaultSecurityGroupRuleWrite, None)?;
    let NewDefaultRule { rule, parent, used_in_default_sg, used_in_non_default_sg } = new;
    check_rule(txn, caller, &rule)?;
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

/// Whether the rules have the same content and some group would begin with both.
fn says_the_same(a: &DefaultSecurityGroupRule, b: &DefaultSecurityGroupRule) -> bool {
    let remote = |rule: &DefaultSecurityGroupRule| match &rule.remote {
        DefaultRemote::Parent => None,
        DefaultRemote::Is(remote) => Some(normalize_remote(remote)),
    };
    let said = |rule: &DefaultSecurityGroupRule| {
        let ports = (rule.port_range_min, rule.port_range_max);
        (rule.direction, traffic(rule.ip_version, rule.protocol.as_deref(), ports), remote(rule))
    };
    let together = (a.used_in_default_sg && b.used_in_default_sg)
        || (a.used_in_non_default_sg && b.used_in_non_default_sg);
    together && said(a) == said(b)
}

/// Removes a rule. Existing groups keep their copy.
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
