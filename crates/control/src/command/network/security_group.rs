//! Security groups and rules: their making, change and removal.

use crate::{
    command::network::{default_security_group_rule, rbac_policy},
    quota,
};
use lenticular_model::{
    error::{Error, Result},
    network::{
        address_group::AddressGroup,
        default_security_group_rule::{about, DefaultSecurityGroupRule},
        rbac_policy::RbacObject,
        security_group::{protocol_number, Direction, Remote, SecurityGroup, SecurityGroupRule},
    },
    policy::{self, Action, Caller},
    ProjectId, Scoped, SecurityGroupId, SecurityGroupRuleId, State, Txn,
};
use std::sync::Arc;

/// The name of the group that every project has.
pub const DEFAULT: &str = "default";

/// TCP, UDP, DCCP, SCTP and UDP-Lite: the protocols that have ports.
const PORT_PROTOCOLS: &[u8] = &[6, 17, 33, 132, 136];

/// Encapsulation, routing, fragments, ICMP, no next header and options of IPv6.
const IPV6_PROTOCOLS: &[u8] = &[41, 43, 44, 58, 59, 60];

/// Refuses a group that a project's port may not be in. An administrator puts ports into any.
pub(crate) fn usable(state: &State, caller: &Caller, id: SecurityGroupId, project: ProjectId) -> Result<()> {
    state.visible::<SecurityGroup>(caller, &id)?;
    match caller.is_admin() || state.may_use_security_group(project, id) {
        true => Ok(()),
        false => Err(SecurityGroup::missing(id)),
    }
}

/// The one group of the project with this name.
pub fn by_name(state: &State, project: ProjectId, name: &str) -> Result<SecurityGroupId> {
    let mut named = state.security_groups_of_project(project).filter(|g| g.name == name);
    match (named.next(), named.next()) {
        (Some(group), None) => Ok(group.id),
        (Some(_), Some(_)) => Err(Error::conflict(format!(
            "Multiple security groups found matching '{name}'. Use an ID to be more specific."
        ))),
        (None, _) => Err(Error::invalid(format!("Security group {name} not found for project {project}."))),
    }
}

/// The project's default group, made if it is not there.
pub fn ensure_default(txn: &mut Txn<'_>, project: ProjectId) -> SecurityGroupId {
    if let Some(group) = txn.security_groups_of_project(project).find(|g| g.name == DEFAULT) {
        return group.id;
    }
    put_group(txn, project, DEFAULT.to_owned(), "Default security group".to_owned(), true)
}

/// Makes a group and the rules that every new group begins with.
fn put_group(
    txn: &mut Txn<'_>,
    project: ProjectId,
    name: String,
    description: String,
    stateful: bool,
) -> SecurityGroupId {
    let id = SecurityGroupId::from_random(txn.random());
    let rules = default_security_group_rule::of_new_group(txn, id, project, name == DEFAULT);
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
    ensure_default(txn, project);
    if name == DEFAULT {
        return Err(Error::conflict("Default security group already exists.")
            .coded("SecurityGroupDefaultAlreadyExists"));
    }
    quota::need_network(txn, project, "security_group")?;
    Ok(put_group(txn, project, name, description, stateful))
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
    if group.name == DEFAULT && name.as_ref().is_some_and(|n| n != DEFAULT) {
        return Err(Error::conflict("Updating default security group not allowed.")
            .coded("SecurityGroupCannotUpdateDefault"));
    }
    if group.name != DEFAULT && name.as_deref() == Some(DEFAULT) {
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
    if group.name == DEFAULT && !caller.is_admin() {
        let why = "Insufficient rights for removing default security group.";
        return Err(Error::conflict(why).coded("SecurityGroupCannotRemoveDefault"));
    }
    if txn.has_ports(id) {
        return Err(Error::conflict(format!("Security Group {id} in use.")).coded("SecurityGroupInUse"));
    }
    remove(txn, id);
    Ok(())
}

/// Removes a group with all that is about it.
pub(crate) fn remove(txn: &mut Txn<'_>, id: SecurityGroupId) {
    let own: Vec<_> = txn.rules_of_security_group(id).map(|r| r.id).collect();
    // Rules elsewhere that let this group in would let nobody in: they go too.
    let others: Vec<_> = txn.rules_about_security_group(id).map(|rule| rule.id).collect();
    for rule in own.into_iter().chain(others) {
        remove_rule(txn, rule);
    }
    let begun_with: Vec<_> = about(txn, &Remote::Group(id)).collect();
    for rule in begun_with {
        txn.delete::<DefaultSecurityGroupRule>(&rule);
    }
    rbac_policy::forget(txn, RbacObject::SecurityGroup(id));
    txn.delete::<SecurityGroup>(&id);
}

/// What a new rule is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// Its group.
    pub security_group_id: SecurityGroupId,
    /// Its project.
    pub project_id: ProjectId,
    /// Which way.
    pub direction: Direction,
    /// 4 or 6.
    pub ip_version: u8,
    /// What protocol.
    pub protocol: Option<String>,
    /// Lowest port or ICMP type.
    pub port_range_min: Option<u32>,
    /// Highest port or ICMP code.
    pub port_range_max: Option<u32>,
    /// Whom it is about.
    pub remote: Remote,
    /// For people.
    pub description: String,
}

impl NewRule {
    /// A rule that lets everything through, one way, for IPv4.
    pub fn open(group: SecurityGroupId, project: ProjectId, direction: Direction, remote: Remote) -> Self {
        Self {
            security_group_id: group,
            project_id: project,
            direction,
            ip_version: 4,
            protocol: None,
            port_range_min: None,
            port_range_max: None,
            remote,
            description: String::new(),
        }
    }
}

/// Adds a rule to a group.
pub fn create_rule(txn: &mut Txn<'_>, caller: &Caller, new: NewRule) -> Result<SecurityGroupRuleId> {
    txn.changeable::<SecurityGroup>(caller, &new.security_group_id)?;
    check_rule(txn, caller, &new)?;
    let same = |r: &&Arc<SecurityGroupRule>| {
        let said = traffic(r.ip_version, r.protocol.as_deref(), (r.port_range_min, r.port_range_max));
        let now = traffic(new.ip_version, new.protocol.as_deref(), (new.port_range_min, new.port_range_max));
        r.direction == new.direction && said == now && whom(&r.remote) == whom(&new.remote)
    };
    if let Some(rule) = txn.rules_of_security_group(new.security_group_id).find(same) {
        let why = format!("Security group rule already exists. Rule id is {}.", rule.id);
        return Err(Error::conflict(why).coded("SecurityGroupRuleExists"));
    }
    quota::need_network(txn, new.project_id, "security_group_rule")?;
    revise(txn, new.security_group_id);
    Ok(put_rule(txn, new))
}

/// Lowest and highest port, or ICMP's type and code.
type Ports = (Option<u32>, Option<u32>);

/// What traffic a rule is about, however protocol and ports were written.
pub(crate) fn traffic(ip_version: u8, protocol: Option<&str>, ports: Ports) -> (u8, Option<u8>, Ports) {
    let number = match protocol.and_then(protocol_number) {
        Some(1) if ip_version == 6 => Some(58),
        number => number,
    };
    let ports = match number.is_some_and(|number| PORT_PROTOCOLS.contains(&number)) {
        true => (ports.0.or(Some(1)), ports.1.or(Some(65_535))),
        false => ports,
    };
    (ip_version, number, ports)
}

/// Whom a rule is about, however its range was written.
pub(crate) fn whom(remote: &Remote) -> Remote {
    match remote {
        Remote::Range(range) if range.prefix_len() == 0 => Remote::Any,
        Remote::Range(range) => Remote::Range(range.trunc()),
        other => other.clone(),
    }
}

/// Refuses a rule that makes no sense, or is about what the caller does not see.
pub(crate) fn check_rule(txn: &Txn<'_>, caller: &Caller, new: &NewRule) -> Result<()> {
    if let Remote::Group(id) = new.remote {
        txn.visible::<SecurityGroup>(caller, &id)?;
    }
    if let Remote::AddressGroup(id) = new.remote {
        txn.visible::<AddressGroup>(caller, &id)?;
    }
    if let Remote::Range(range) = new.remote {
        if range.addr().is_ipv4() != (new.ip_version == 4) {
            let why = format!("Conflicting value ethertype IPv{} for CIDR {range}", new.ip_version);
            return Err(Error::invalid(why).coded("SecurityGroupRuleParameterConflict"));
        }
    }
    let number = new.protocol.as_deref().and_then(protocol_number);
    if let Some(protocol) = new
        .protocol
        .as_deref()
        .filter(|_| new.ip_version == 4 && number.is_some_and(|number| IPV6_PROTOCOLS.contains(&number)))
    {
        let why = format!("Invalid ethertype IPv4 for protocol {protocol}.");
        return Err(Error::invalid(why).coded("SecurityGroupEthertypeConflictWithProtocol"));
    }
    check_ports(new.protocol.as_deref(), new.port_range_min, new.port_range_max)
}

/// Whether a protocol may have the ports that a rule names for it: those of ICMP are its type and code.
fn check_ports(protocol: Option<&str>, min: Option<u32>, max: Option<u32>) -> Result<()> {
    let refuse = |code: &'static str, why: &str| Err(Error::invalid(why.to_owned()).coded(code));
    if min.is_none() && max.is_none() {
        return Ok(());
    }
    let number = protocol.and_then(protocol_number);
    match (protocol, min, max) {
        (None, ..) => refuse(
            "SecurityGroupProtocolRequiredWithPorts",
            "Must also specify protocol if port range is given.",
        ),
        (_, kind, code) if matches!(number, Some(1 | 58)) => match (kind, code) {
            (Some(256..), _) => refuse(
                "SecurityGroupInvalidIcmpValue",
                "Invalid value for ICMP type (port_range_min): it must be 0 to 255.",
            ),
            (_, Some(256..)) => refuse(
                "SecurityGroupInvalidIcmpValue",
                "Invalid value for ICMP code (port_range_max): it must be 0 to 255.",
            ),
            (None, _) => refuse(
                "SecurityGroupMissingIcmpType",
                "ICMP code (port-range-max) is provided but ICMP type (port-range-min) is missing.",
            ),
            _ => Ok(()),
        },
        (Some(protocol), ..) if !number.is_some_and(|number| PORT_PROTOCOLS.contains(&number)) => refuse(
            "SecurityGroupInvalidProtocolForPort",
            &format!(
                "Invalid protocol {protocol} for port range, only supported for DCCP, SCTP, TCP, UDP, UDPLITE."
            ),
        ),
        (_, Some(0), _) | (_, _, Some(0)) => refuse("SecurityGroupInvalidPortValue", "Invalid value for port 0"),
        (_, Some(min), Some(max)) if min <= max && max <= 65_535 => Ok(()),
        (_, Some(_), Some(_)) => refuse(
            "SecurityGroupInvalidPortRange",
            "For TCP/UDP protocols, port_range_min must be <= port_range_max.",
        ),
        _ => refuse(
            "SecurityGroupInvalidPortRange",
            "For TCP/UDP protocols, port_range_min must be <= port_range_max, and neither goes without the other.",
        ),
    }
}

fn put_rule(txn: &mut Txn<'_>, new: NewRule) -> SecurityGroupRuleId {
    let id = SecurityGroupRuleId::from_random(txn.random());
    // All ports are no range, as Neutron shows it.
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

/// Removes a rule.
pub fn delete_rule(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupRuleId) -> Result<()> {
    txn.changeable::<SecurityGroupRule>(caller, &id)?;
    remove_rule(txn, id);
    Ok(())
}

fn remove_rule(txn: &mut Txn<'_>, id: SecurityGroupRuleId) {
    if let Some(gone) = txn.delete::<SecurityGroupRule>(&id) {
        revise(txn, gone.security_group_id);
    }
}

/// A group's rules are part of it.
fn revise(txn: &mut Txn<'_>, id: SecurityGroupId) {
    txn.update::<SecurityGroup>(&id, |g| g.revision += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_protocols_with_ports_have_ports() {
        let code = |protocol, min, max| check_ports(protocol, min, max).map_err(|error| error.code);
        assert_eq!(code(Some("tcp"), Some(22), Some(22)), Ok(()));
        assert_eq!(code(Some("132"), Some(1), Some(2)), Ok(()));
        assert_eq!(code(Some("gre"), None, None), Ok(()));
        assert_eq!(code(Some("gre"), Some(1), Some(2)), Err("SecurityGroupInvalidProtocolForPort"));
        assert_eq!(code(Some("47"), None, Some(2)), Err("SecurityGroupInvalidProtocolForPort"));
        assert_eq!(code(None, Some(1), None), Err("SecurityGroupProtocolRequiredWithPorts"));
        assert_eq!(code(Some("udp"), Some(2), Some(1)), Err("SecurityGroupInvalidPortRange"));
        assert_eq!(code(Some("udp"), Some(2), None), Err("SecurityGroupInvalidPortRange"));
        assert_eq!(code(Some("icmp"), Some(8), None), Ok(()));
        assert_eq!(code(Some("icmp"), None, Some(0)), Err("SecurityGroupMissingIcmpType"));
        assert_eq!(code(Some("icmp"), Some(256), None), Err("SecurityGroupInvalidIcmpValue"));
    }

    #[test]
    fn rules_that_let_the_same_through_are_the_same_however_they_are_written() {
        let tcp = traffic(4, Some("tcp"), (None, None));
        assert_eq!(traffic(4, Some("6"), (Some(1), Some(65_535))), tcp);
        assert_ne!(traffic(4, Some("udp"), (None, None)), tcp);
        assert_eq!(traffic(6, Some("icmp"), (None, None)), traffic(6, Some("ipv6-icmp"), (None, None)));
        assert_ne!(traffic(4, Some("icmp"), (None, None)), traffic(4, Some("icmp"), (Some(1), None)));
        assert_eq!(whom(&Remote::Range("0.0.0.0/0".parse().unwrap())), Remote::Any);
        assert_eq!(
            whom(&Remote::Range("10.0.0.7/8".parse().unwrap())),
            Remote::Range("10.0.0.0/8".parse().unwrap())
        );
    }
}
