//! A security group: a port group, and an access rule for each of its rules.

use super::{
    Key, RowId, address_group, filter,
    row::{Row, symbol},
    schema::Table,
};
use lenticular_model::{
    SecurityGroupId, State,
    network::security_group::{Direction, Remote, SecurityGroupRule, protocol_number},
};

/// The group's row.
pub(super) fn group(id: SecurityGroupId) -> RowId {
    RowId::of(Table::PortGroup, Key::SecurityGroup(id))
}

/// The group's name in matches.
fn name(id: SecurityGroupId) -> String {
    symbol("group", id)
}

/// The rows.
pub(super) fn rows(state: &State, id: SecurityGroupId) -> Vec<Row> {
    let Some(security_group) = state.security_groups.get(&id) else { return Vec::new() };
    let action = if security_group.stateful { "allow-related" } else { "allow-stateless" };
    let head = Row::new(group(id)).noted("name", &security_group.name).with_one("name", name(id));
    let rules = state.rules_of_security_group(id).filter_map(|rule| {
        let direction = match rule.direction {
            Direction::Ingress => "to-lport",
            Direction::Egress => "from-lport",
        };
        let row = Row::new(RowId::part(Table::Acl, Key::SecurityGroup(id), rule.id))
            .with_one("direction", direction)
            .with_one("priority", filter::ALLOW)
            .with_one("match", matches(state, rule)?)
            .with_one("action", action)
            .inside(group(id), "acls");
        Some(row)
    });
    std::iter::once(head).chain(rules).collect()
}

/// The rule in OVN's language; `None` if nothing can match it.
fn matches(state: &State, rule: &SecurityGroupRule) -> Option<String> {
    let v4 = rule.ip_version == 4;
    let ip = if v4 { "ip4" } else { "ip6" };
    let (port, side) = match rule.direction {
        Direction::Ingress => ("outport", "src"),
        Direction::Egress => ("inport", "dst"),
    };
    let mut terms = vec![format!("{port} == @{}", name(rule.security_group_id)), ip.to_owned()];
    match rule.remote {
        Remote::Any => {}
        Remote::Range(range) if range.addr().is_ipv4() != v4 => return None,
        Remote::Range(range) if range.prefix_len() == 0 => {}
        Remote::Range(range) => terms.push(format!("{ip}.{side} == {}", range.trunc())),
        // A rule about a deleted group permits no traffic. A missing name would make the whole match invalid.
        Remote::Group(id) if !state.security_groups.contains_key(&id) => return None,
        Remote::Group(id) => terms.push(format!("{ip}.{side} == ${}_{ip}", name(id))),
        Remote::AddressGroup(id) if !state.address_groups.contains_key(&id) => return None,
        Remote::AddressGroup(id) => {
            terms.push(format!("{ip}.{side} == ${}", address_group::set_name(id, v4)));
        }
    }
    terms.extend(protocol(rule)?);
    Some(terms.join(" && "))
}

/// The match for the rule's protocol and ports; `None` if nothing can match it.
fn protocol(rule: &SecurityGroupRule) -> Option<Vec<String>> {
    let Some(said) = rule.protocol.as_deref().filter(|name| *name != "any") else { return Some(Vec::new()) };
    let number = protocol_number(said)?;
    let v4 = rule.ip_version == 4;
    let ports = |name: &str| {
        let mut terms = vec![name.to_owned()];
        terms.extend(rule.port_range_min.map(|min| format!("{name}.dst >= {min}")));
        terms.extend(rule.port_range_max.map(|max| format!("{name}.dst <= {max}")));
        terms
    };
    Some(match number {
        6 => ports("tcp"),
        17 => ports("udp"),
        132 => ports("sctp"),
        58 if v4 => return None,
        // "icmp" in an IPv6 rule means ICMPv6.
        1 | 58 => {
            let name = if v4 { "icmp4" } else { "icmp6" };
            let mut terms = vec![name.to_owned()];
            terms.extend(rule.port_range_min.map(|kind| format!("{name}.type == {kind}")));
            terms.extend(rule.port_range_max.map(|code| format!("{name}.code == {code}")));
            terms
        }
        0 => Vec::new(),
        number => vec![format!("ip.proto == {number}")],
    })
}
