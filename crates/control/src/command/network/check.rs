//! Checks that commands on several network resources share.

use lenticular_model::{
    NetworkId, PortId, ProjectId, QosPolicyId, Scoped, SecurityGroupId, State,
    error::{Error, Result},
    network::{mtu::IPV6_MIN, qos_policy::QosPolicy, security_group::SecurityGroup},
    policy::Caller,
};

/// The refusal of a network's MTU together with an IPv6 subnet.
pub(crate) fn too_small_for_ipv6(id: NetworkId, mtu: u32) -> Error {
    let why =
        format!("The MTU of network {id}, {mtu}, is less than the {IPV6_MIN} that an IPv6 subnet needs.");
    Error::conflict(why).coded("NetworkMTUSubnetConflict")
}

/// Refuses an availability zone that does not exist.
pub(crate) fn check_zones(state: &State, zones: &[String]) -> Result<()> {
    match zones.iter().find(|zone| !state.host_table().has_zone(zone)) {
        Some(zone) => {
            let why = format!("AvailabilityZone {zone} could not be found.");
            Err(Error::not_found_text(why).coded("AvailabilityZoneNotFound"))
        }
        None => Ok(()),
    }
}

/// Refuses to make a network internal while routers or floating IPs use it.
pub(crate) fn check_no_way_out(state: &State, id: NetworkId) -> Result<()> {
    let used = state.routers_with_gateway_in(id).next().is_some()
        || state.floating_ips_of_network(id).next().is_some();
    if !used {
        return Ok(());
    }
    let why = format!(
        "External network {id} cannot be updated to be made non-external, since it has existing gateway ports."
    );
    Err(Error::conflict(why).coded("ExternalNetworkInUse"))
}

/// Whether a text is a name in DNS: labels of letters, digits and hyphens, perhaps with a dot at the end.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
}

/// Refuses names and domains that DNS does not take.
pub(crate) fn check_dns(name: &str, domain: &str) -> Result<()> {
    for (field, text) in [("dns_name", name), ("dns_domain", domain)] {
        if !text.is_empty() && !is_dns_name(text) {
            let why = format!("Invalid input for {field}. Reason: '{text}' is not a valid DNS name.");
            return Err(Error::invalid(why).coded("HTTPBadRequest"));
        }
    }
    Ok(())
}

/// Refuses a QoS policy that does not exist for the caller, unless the resource has the policy already.
pub(crate) fn check_qos_policy(
    state: &State,
    caller: &Caller,
    wanted: Option<QosPolicyId>,
    held: Option<QosPolicyId>,
) -> Result<()> {
    match wanted.filter(|_| wanted != held) {
        Some(id) => state.visible::<QosPolicy>(caller, &id).map(drop),
        None => Ok(()),
    }
}

/// Refuses a security group that a project's port may not be in. An administrator may put ports into any group.
pub(crate) fn check_security_group(
    state: &State,
    caller: &Caller,
    id: SecurityGroupId,
    project: ProjectId,
) -> Result<()> {
    state.visible::<SecurityGroup>(caller, &id)?;
    match caller.is_admin() || state.may_use_security_group(project, id) {
        true => Ok(()),
        false => Err(SecurityGroup::missing(id)),
    }
}

/// Refuses a port that is part of a trunk.
pub(crate) fn check_not_in_trunk(state: &State, id: PortId) -> Result<()> {
    if let Some(trunk) = state.trunk_of_parent(id).map(|trunk| trunk.id) {
        let why = format!("Port {id} is currently a parent port for trunk {trunk}.");
        return Err(Error::conflict(why).coded("PortInUseAsTrunkParent"));
    }
    if let Some(trunk) = state.trunk_of_subport(id).map(|trunk| trunk.id) {
        let why = format!("Port {id} is currently a subport for trunk {trunk}.");
        return Err(Error::conflict(why).coded("PortInUseAsSubPort"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_what_dns_takes() {
        for good in ["web", "web-1.example.org", "a.b.", "x1"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", ".", "-web", "web-", "a..b", "under_score", &"x".repeat(64)] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }
}
