//! The change of a port.

use crate::{
    command::network::{check, routing},
    lifecycle::{
        network::{
            cascade,
            port_address::{self, AskIp, Asker},
            port_build,
        },
        run,
    },
};
use lenticular_model::{
    PortId, QosPolicyId, Scoped, SecurityGroupId, Txn,
    error::{Error, Result},
    network::{
        mac::Mac,
        network::Network,
        port::{AddressPair, DhcpOption, Port, PortOwner, Profile},
    },
    policy::{self, Action, Caller},
};

/// Another Ethernet address for a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacChange {
    /// This one.
    To(Mac),
    /// A new random address.
    Regenerate,
}

/// A DHCP option to set; without a value, to remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpOptionChange {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Option<String>,
    /// 4 or 6.
    pub ip_version: u8,
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct PortChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether its traffic flows.
    pub admin_state_up: Option<bool>,
    /// Its Ethernet address.
    pub mac: Option<MacChange>,
    /// Its addresses, all of them.
    pub fixed_ips: Option<Vec<AskIp>>,
    /// The device that it belongs to.
    pub device_id: Option<String>,
    /// The kind of the device.
    pub device_owner: Option<String>,
    /// Its security groups, all of them.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// Whether it is filtered.
    pub port_security_enabled: Option<bool>,
    /// Addresses it may also send from, all of them.
    pub allowed_address_pairs: Option<Vec<AddressPair>>,
    /// `normal`, …
    pub vnic_type: Option<String>,
    /// The binding profile that an administrator sets.
    pub binding_profile: Option<Profile>,
    /// The host that an administrator chooses for the port.
    pub binding_host: Option<String>,
    /// Its name in DNS.
    pub dns_name: Option<String>,
    /// The domain of that name.
    pub dns_domain: Option<String>,
    /// The port's own DHCP options.
    pub extra_dhcp_opts: Vec<DhcpOptionChange>,
    /// Its QoS policy; `Some(None)` removes it.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
    /// Whether the guest sees when the host loses its uplink.
    pub propagate_uplink_status: Option<bool>,
}

/// Refuses changes of the cloud's own ports: routers, floating IPs and networks decide their addresses, and they
/// are unfiltered.
fn check_own_ports(old: &Port, change: &PortChange) -> Result<()> {
    let owner = old.owner();
    let addressed = matches!(owner, PortOwner::RouterGateway | PortOwner::FloatingIp | PortOwner::Metadata)
        && (change.fixed_ips.is_some() || change.mac.is_some());
    let filtered = (owner.is_routers() || owner == PortOwner::Metadata)
        && (change.port_security_enabled == Some(true)
            || change.security_groups.as_ref().is_some_and(|groups| !groups.is_empty()));
    if !addressed && !filtered {
        return Ok(());
    }
    let why = format!(
        "Port {} has device owner {}: its addresses follow from its owner, and it has no security groups.",
        old.id, old.device_owner
    );
    Err(Error::conflict(why).coded("ServicePortInUse"))
}

/// Refuses changes that the caller may not make, or that no caller may make.
fn check_change(txn: &Txn<'_>, caller: &Caller, old: &Port, change: &PortChange) -> Result<()> {
    let id = old.id;
    let network = txn.need::<Network>(&old.network_id, || Network::missing(old.network_id))?;
    let choices = [
        ("mac_address", change.mac.is_some()),
        ("fixed_ips", change.fixed_ips.is_some()),
        ("device_owner", change.device_owner.as_deref().is_some_and(port_build::is_trusted)),
        ("port_security_enabled", change.port_security_enabled.is_some()),
        ("allowed_address_pairs", change.allowed_address_pairs.is_some()),
    ];
    port_build::check_choices(caller, &network, &choices)?;
    if change.mac.is_some() {
        policy::check(caller, Action::PortMac, Some(network.project_id))?;
    }
    if change.binding_host.is_some() || change.binding_profile.is_some() {
        policy::check(caller, Action::PortBind, None)?;
    }
    let rebinds = change.device_id.as_ref().is_some_and(|d| *d != old.device_id)
        || change.device_owner.as_ref().is_some_and(|d| *d != old.device_owner);
    // Only the compute side unbinds a port that it bound.
    if old.server_id.is_some() && (rebinds || change.binding_host.is_some()) {
        let why = format!("Port {id} belongs to a server; detach it there.");
        return Err(Error::conflict(why).coded("PortInUse"));
    }
    if rebinds {
        port_build::check_device_owner(&old.device_owner)?;
        change.device_owner.as_deref().map_or(Ok(()), port_build::check_device_owner)?;
    }
    check_own_ports(old, change)?;
    if old.server_id.is_some() && change.mac.is_some_and(|mac| mac != MacChange::To(old.mac)) {
        let why = format!("Port {id} belongs to a server; its MAC address cannot change.");
        return Err(Error::conflict(why).coded("PortBound"));
    }
    check::check_dns(change.dns_name.as_deref().unwrap_or(""), change.dns_domain.as_deref().unwrap_or(""))?;
    for group in change.security_groups.iter().flatten().filter(|g| !old.security_groups.contains(g)) {
        check::check_security_group(txn, caller, *group, old.project_id)?;
    }
    check::check_qos_policy(txn, caller, change.qos_policy_id.flatten(), old.qos_policy_id)
}

/// Changes a port.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: PortId, change: PortChange) -> Result<()> {
    let old = txn.changeable::<Port>(caller, &id)?;
    check_change(txn, caller, &old, &change)?;
    let mut port = Port::clone(&old);
    let network = txn.need::<Network>(&port.network_id, || Network::missing(port.network_id))?;
    match change.mac {
        Some(MacChange::To(mac)) if mac != old.mac => {
            port.mac = port_build::choose_mac(txn, &network, Some(mac))?
        }
        Some(MacChange::Regenerate) => port.mac = port_build::choose_mac(txn, &network, None)?,
        _ => {}
    }
    let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
    set(&mut port.name, change.name);
    set(&mut port.description, change.description);
    set(&mut port.device_id, change.device_id);
    set(&mut port.device_owner, change.device_owner);
    set(&mut port.vnic_type, change.vnic_type);
    set(&mut port.binding_host, change.binding_host);
    set(&mut port.dns_name, change.dns_name);
    set(&mut port.dns_domain, change.dns_domain);
    if let Some(asked) = &change.fixed_ips {
        // The port's own present addresses must count as free.
        txn.put(Port { fixed_ips: Vec::new(), ..port.clone() });
        let asker = Asker { network: &network, mac: port.mac, device_owner: &port.device_owner };
        port.fixed_ips = port_address::choose(txn, &asker, Some(asked))?;
    } else {
        port_address::reform(txn, &mut port.fixed_ips, old.mac, port.mac);
    }
    port.admin_state_up = change.admin_state_up.unwrap_or(port.admin_state_up);
    port.port_security_enabled = change.port_security_enabled.unwrap_or(port.port_security_enabled);
    port.security_groups = change.security_groups.unwrap_or(port.security_groups);
    port.allowed_address_pairs = change.allowed_address_pairs.unwrap_or(port.allowed_address_pairs);
    port.binding_profile = change.binding_profile.unwrap_or(port.binding_profile);
    port.qos_policy_id = change.qos_policy_id.unwrap_or(port.qos_policy_id);
    port.propagate_uplink_status = change.propagate_uplink_status.unwrap_or(port.propagate_uplink_status);
    change.extra_dhcp_opts.into_iter().for_each(|option| set_option(&mut port.extra_dhcp_opts, option));
    port_build::check_options(&port.extra_dhcp_opts)?;
    port_build::check_filter(port.port_security_enabled, &port.security_groups, &port.allowed_address_pairs)?;
    port.revision += 1;
    port.updated_at = Some(txn.now);
    txn.put(port);
    routing::check_leg(txn, id)?;
    cascade::on_port_address_changed(txn, id);
    old.server_id.into_iter().for_each(|server| run::activate_if_plugged(txn, server));
    Ok(())
}

fn set_option(options: &mut Vec<DhcpOption>, change: DhcpOptionChange) {
    let DhcpOptionChange { name, value, ip_version } = change;
    options.retain(|o| o.name != name || o.ip_version != ip_version);
    options.extend(value.map(|value| DhcpOption { name, value, ip_version }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_set_and_taken_away_by_name_and_family() {
        let change = |name: &str, value: Option<&str>, ip_version| DhcpOptionChange {
            name: name.to_owned(),
            value: value.map(str::to_owned),
            ip_version,
        };
        let mut options = Vec::new();
        for one in
            [change("mtu", Some("1400"), 4), change("mtu", Some("1300"), 4), change("dns", Some("::1"), 6)]
        {
            set_option(&mut options, one);
        }
        assert_eq!(options.len(), 2);
        assert_eq!(options[0].value, "1300");
        set_option(&mut options, change("mtu", None, 6));
        set_option(&mut options, change("mtu", None, 4));
        assert_eq!(options.len(), 1);
    }
}
