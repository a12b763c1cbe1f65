//! Security groups and their rules as Neutron shows them.

use super::{shared, stamp};
use lenticular_model::{
    State,
    network::{
        rbac_policy::RbacObject,
        security_group::{Remote, SecurityGroup, SecurityGroupRule},
    },
    policy::Caller,
};
use serde_json::{Value, json};

/// Neutron's name for an IP family.
pub(super) fn ethertype(ip_version: u8) -> &'static str {
    match ip_version {
        4 => "IPv4",
        _ => "IPv6",
    }
}

/// A rule.
pub fn rule(state: &State, _: &Caller, rule: &SecurityGroupRule) -> Value {
    let (prefix, group, addresses) = match &rule.remote {
        Remote::Any => (None, None, None),
        Remote::Range(range) => (Some(range), None, None),
        Remote::Group(id) => (None, Some(id), None),
        Remote::AddressGroup(id) => (None, None, Some(id)),
    };
    let default = state.security_groups.get(&rule.security_group_id).is_some_and(|g| g.name == "default");
    let mut view = json!({
        "id": rule.id,
        "security_group_id": rule.security_group_id,
        "tenant_id": rule.project_id,
        "project_id": rule.project_id,
        "direction": rule.direction,
        "ethertype": ethertype(rule.ip_version),
        "protocol": rule.protocol,
        "port_range_min": rule.port_range_min,
        "port_range_max": rule.port_range_max,
        "remote_ip_prefix": prefix,
        "normalized_cidr": prefix.map(|range| range.trunc()),
        "remote_group_id": group,
        "remote_address_group_id": addresses,
        "belongs_to_default_sg": default,
    });
    stamp(&mut view, rule.created_at, rule.updated_at, rule.revision, &rule.description);
    view
}

/// A security group with its rules.
pub fn view(state: &State, caller: &Caller, group: &SecurityGroup) -> Value {
    let rules = state.rules_of_security_group(group.id);
    let rules: Vec<Value> = rules.map(|r| rule(state, caller, r)).collect();
    let mut view = json!({
        "id": group.id,
        "name": group.name,
        "tenant_id": group.project_id,
        "project_id": group.project_id,
        "stateful": group.stateful,
        "shared": shared(state, caller, RbacObject::SecurityGroup(group.id)),
        "security_group_rules": rules,
        "tags": group.tags,
    });
    stamp(&mut view, group.created_at, group.updated_at, group.revision, &group.description);
    view
}
