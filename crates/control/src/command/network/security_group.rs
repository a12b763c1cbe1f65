//! Security groups and rules: their creation, change and removal.

use crate::{
    lifecycle::network::{cascade, group_build, rule},
    quota,
};
use lenticular_model::{
    ProjectId, SecurityGroupId, SecurityGroupRuleId, Txn,
    error::{Error, Result},
    network::security_group::{SecurityGroup, SecurityGroupRule},
    policy::{self, Action, Caller},
};
use std::sync::Arc;

pub use crate::lifecycle::network::rule::NewRule;

/// Creates a group.
pub fn create(
    txn: &mut Txn<'_>,
    caller: &Caller,
    project: ProjectId,
    name: String,
    description: String,
    stateful: bool,
) -> Result<SecurityGroupId> {
    policy::check(caller, Action::SecurityGroupWrite, Some(project))?;
    group_build::ensure_default(txn, project);
    if name == group_build::DEFAULT {
        return Err(Error::conflict("Default security group already exists.")
            .coded("SecurityGroupDefaultAlreadyExists"));
    }
    quota::need_network(txn, project, "security_group")?;
    Ok(group_build::put(txn, project, name, description, stateful))
}

/// Changes a group's name or description.
pub fn update(
    txn: &mut Txn<'_>,
    caller: &Caller,
    id: SecurityGroupId,
    name: Option<String>,
    description: Option<String>,
    stateful: Option<bool>,
) -> Result<()> {
    let group = txn.changeable::<SecurityGroup>(caller, &id)?;
    if group.name == group_build::DEFAULT && name.as_ref().is_some_and(|n| n != group_build::DEFAULT) {
        return Err(Error::conflict("Updating default security group not allowed.")
            .coded("SecurityGroupCannotUpdateDefault"));
    }
    if group.name != group_build::DEFAULT && name.as_deref() == Some(group_build::DEFAULT) {
        return Err(Error::conflict("Default security group already exists.")
            .coded("SecurityGroupDefaultAlreadyExists"));
    }
    if stateful.is_some_and(|s| s != group.stateful) && txn.has_ports(id) {
        return Err(Error::conflict(format!("Security Group {id} is in use.")).coded("SecurityGroupInUse"));
    }
    txn.update::<SecurityGroup>(&id, |g| {
        g.name = name.unwrap_or(std::mem::take(&mut g.name));
        g.description = description.unwrap_or(std::mem::take(&mut g.description));
        g.stateful = stateful.unwrap_or(g.stateful);
        g.revision += 1;
    });
    Ok(())
}

/// Removes a group that no port is in.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupId) -> Result<()> {
    let group = txn.changeable::<SecurityGroup>(caller, &id)?;
    if group.name == group_build::DEFAULT && !caller.is_admin() {
        let why = "Insufficient rights for removing default security group.";
        return Err(Error::conflict(why).coded("SecurityGroupCannotRemoveDefault"));
    }
    if txn.has_ports(id) {
        return Err(Error::conflict(format!("Security Group {id} in use.")).coded("SecurityGroupInUse"));
    }
    cascade::delete_security_group(txn, id);
    Ok(())
}

/// Adds a rule to a group.
pub fn create_rule(txn: &mut Txn<'_>, caller: &Caller, new: NewRule) -> Result<SecurityGroupRuleId> {
    txn.changeable::<SecurityGroup>(caller, &new.security_group_id)?;
    rule::check_rule(txn, caller, &new)?;
    let same = |r: &&Arc<SecurityGroupRule>| {
        let said = rule::traffic(r.ip_version, r.protocol.as_deref(), (r.port_range_min, r.port_range_max));
        let now =
            rule::traffic(new.ip_version, new.protocol.as_deref(), (new.port_range_min, new.port_range_max));
        r.direction == new.direction
            && said == now
            && rule::normalize_remote(&r.remote) == rule::normalize_remote(&new.remote)
    };
    if let Some(rule) = txn.rules_of_security_group(new.security_group_id).find(same) {
        let why = format!("Security group rule already exists. Rule id is {}.", rule.id);
        return Err(Error::conflict(why).coded("SecurityGroupRuleExists"));
    }
    quota::need_network(txn, new.project_id, "security_group_rule")?;
    revise(txn, new.security_group_id);
    Ok(group_build::put_rule(txn, new))
}

/// Removes a rule.
pub fn delete_rule(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupRuleId) -> Result<()> {
    txn.changeable::<SecurityGroupRule>(caller, &id)?;
    cascade::delete_security_group_rule(txn, id);
    Ok(())
}

/// Renews the revision of a group: its rules are part of it.
fn revise(txn: &mut Txn<'_>, id: SecurityGroupId) {
    txn.update::<SecurityGroup>(&id, |g| g.revision += 1);
}
