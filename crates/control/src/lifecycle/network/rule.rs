//! The common part of security group rules and default rules: the content of a new rule, and the refusal of invalid
//! rules.

use lenticular_model::{
    ProjectId, SecurityGroupId, Txn,
    error::{Error, Result},
    network::{
        address_group::AddressGroup,
        security_group::{Direction, Remote, SecurityGroup, protocol_number},
    },
    policy::Caller,
};

/// TCP, UDP, DCCP, SCTP and UDP-Lite: the protocols that have ports.
const PORT_PROTOCOLS: &[u8] = &[6, 17, 33, 132, 136];

/// Encapsulation, routing, fragments, ICMP, no next header and options of IPv6.
const IPV6_PROTOCOLS: &[u8] = &[41, 43, 44, 58, 59, 60];

/// The settings of a new rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRule {
    /// Its group.
    pub security_group_id: SecurityGroupId,
    /// Its project.
    pub project_id: ProjectId,
    /// The direction.
    pub direction: Direction,
    /// 4 or 6.
    pub ip_version: u8,
    /// The protocol.
    pub protocol: Option<String>,
    /// Lowest port or ICMP type.
    pub port_range_min: Option<u32>,
    /// Highest port or ICMP code.
    pub port_range_max: Option<u32>,
    /// The remote side.
    pub remote: Remote,
    /// For people.
    pub description: String,
}

impl NewRule {
    /// A rule that allows all IPv4 traffic in one direction.
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

/// Lowest and highest port, or ICMP's type and code.
type Ports = (Option<u32>, Option<u32>);

/// The normal form of a rule's protocol and ports.
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

/// The normal form of a rule's remote side.
pub(crate) fn normalize_remote(remote: &Remote) -> Remote {
    match remote {
        Remote::Range(range) if range.prefix_len() == 0 => Remote::Any,
        Remote::Range(range) => Remote::Range(range.trunc()),
        other => other.clone(),
    }
}

/// Refuses an invalid rule, or a rule about an object that the caller does not see.
pub(crate) fn check_rule(txn: &Txn<'_>, caller: &Caller, new: &NewRule) -> Result<()> {
    if let Remote::Group(id) = new.remote {
        txn.visible::<SecurityGroup>(caller, &id)?;
    }
    if let Remote::AddressGroup(id) = new.remote {
        txn.visible::<AddressGroup>(caller, &id)?;
    }
    if let Remote::Range(range) = new.remote
        && range.addr().is_ipv4() != (new.ip_version == 4)
    {
        let why = format!("Conflicting value ethertype IPv{} for CIDR {range}", new.ip_version);
        return Err(Error::invalid(why).coded("SecurityGroupRuleParameterConflict"));
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

/// Refuses ports that the protocol of a rule cannot have; for ICMP they are its type and code.
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
        (_, Some(0), _) | (_, _, Some(0)) => {
            refuse("SecurityGroupInvalidPortValue", "Invalid value for port 0")
        }
        (_, Some(min), Some(max)) if min <= max && max <= 65_535 => Ok(()),
        (_, Some(_), Some(_)) => refuse(
            "SecurityGroupInvalidPortRange",
            "For TCP/UDP protocols, port_range_min must be <= port_range_max.",
        ),
        _ => refuse(
            "SecurityGroupInvalidPortRange",
            "For TCP/UDP protocols, port_range_min must be <= port_range_max, and both must be given.",
        ),
    }
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
        assert_eq!(normalize_remote(&Remote::Range("0.0.0.0/0".parse().unwrap())), Remote::Any);
        assert_eq!(
            normalize_remote(&Remote::Range("10.0.0.7/8".parse().unwrap())),
            Remote::Range("10.0.0.0/8".parse().unwrap())
        );
    }
}
