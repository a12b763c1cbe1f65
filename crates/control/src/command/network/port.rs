//! Ports: their making and their removal.

mod address;
mod metadata;
mod update;

use crate::{
    command::{
        compute::interface,
        network::{floating_ip, qos_policy, security_group, trunk},
    },
    quota,
};
use lenticular_model::{
    error::{Error, Result},
    network::{
        dhcp_option::for_ovn,
        network::Network,
        port::{AddressPair, DhcpOption, Mac, Port, PortOwner, Profile},
    },
    policy::{self, Action, Caller},
    NetworkId, PortId, ProjectId, QosPolicyId, Scoped, SecurityGroupId, Txn,
};

pub use address::AskIp;
pub(crate) use address::{add_formed as add_formed_addresses, choose as choose_addresses, Asker};
pub(crate) use metadata::{
    settle as settle_metadata, settle_all as settle_all_metadata, settle_network as settle_metadata_of,
};
pub use update::{update, DhcpOptionChange, MacChange, PortChange};

/// The most address pairs that one port may have.
pub const ADDRESS_PAIRS_MAX: usize = 10;

/// What a new port is to be.
#[derive(Debug, Clone)]
pub struct NewPort {
    /// Its project.
    pub project_id: ProjectId,
    /// Its network.
    pub network_id: NetworkId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// False stops its traffic.
    pub admin_state_up: bool,
    /// Its Ethernet address; drawn if not said.
    pub mac: Option<Mac>,
    /// Its addresses; `None` for one of each family.
    pub fixed_ips: Option<Vec<AskIp>>,
    /// What it belongs to.
    pub device_id: String,
    /// What sort of thing that is.
    pub device_owner: String,
    /// Its security groups; `None` for the default one.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// Whether it is filtered; `None` for the network's way.
    pub port_security_enabled: Option<bool>,
    /// Addresses it may also send from.
    pub allowed_address_pairs: Vec<AddressPair>,
    /// `normal`, …
    pub vnic_type: String,
    /// What an administrator tells the binding.
    pub binding_profile: Profile,
    /// The host that an administrator wants it on.
    pub binding_host: String,
    /// Its name in DNS.
    pub dns_name: String,
    /// The domain of that name.
    pub dns_domain: String,
    /// DHCP options of its own.
    pub extra_dhcp_opts: Vec<DhcpOption>,
    /// Its QoS policy.
    pub qos_policy_id: Option<QosPolicyId>,
    /// Whether its guest is told that the host has lost the wire.
    pub propagate_uplink_status: bool,
}

impl NewPort {
    /// A port with nothing special.
    pub fn on(network_id: NetworkId, project_id: ProjectId) -> Self {
        Self {
            project_id,
            network_id,
            name: String::new(),
            description: String::new(),
            admin_state_up: true,
            mac: None,
            fixed_ips: None,
            device_id: String::new(),
            device_owner: String::new(),
            security_groups: None,
            port_security_enabled: None,
            allowed_address_pairs: Vec::new(),
            vnic_type: "normal".to_owned(),
            binding_profile: Profile::new(),
            binding_host: String::new(),
            dns_name: String::new(),
            dns_domain: String::new(),
            extra_dhcp_opts: Vec::new(),
            qos_policy_id: None,
            propagate_uplink_status: true,
        }
    }
}

/// Creates a port.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewPort) -> Result<PortId> {
    let owner = txn.visible::<Network>(caller, &new.network_id)?;
    policy::check(caller, Action::PortWrite, Some(new.project_id))?;
    if !txn.is_shared_with(caller, &owner) {
        check_owner_only(caller, &owner, "network_id")?;
    }
    let chosen = |ips: &Option<Vec<AskIp>>| ips.iter().flatten().any(|ip| ip.address.is_some());
    let choices = [
        ("mac_address", new.mac.is_some()),
        ("fixed_ips", chosen(&new.fixed_ips)),
        ("device_owner", is_trusted(&new.device_owner)),
        ("port_security_enabled", new.port_security_enabled.is_some()),
        ("allowed_address_pairs", !new.allowed_address_pairs.is_empty()),
    ];
    check_choices(caller, &owner, &choices)?;
    check_device_owner(&new.device_owner)?;
    if !new.binding_host.is_empty() || !new.binding_profile.is_empty() {
        policy::check(caller, Action::PortBind, None)?;
    }
    check_dns(&new.dns_name, &new.dns_domain)?;
    for group in new.security_groups.iter().flatten() {
        security_group::usable(txn, caller, *group, new.project_id)?;
    }
    qos_policy::check_use(txn, caller, new.qos_policy_id, None)?;
    quota::need_network(txn, new.project_id, "port")?;
    let port = build(txn, &new)?;
    let id = port.id;
    txn.put(port);
    Ok(id)
}

/// What routers, floating IPs and metadata have ports for, they make themselves, with all that goes with it.
fn check_device_owner(device_owner: &str) -> Result<()> {
    let owner = PortOwner::of(device_owner);
    if !owner.is_routers() && !matches!(owner, PortOwner::Metadata | PortOwner::TrunkSubport) {
        return Ok(());
    }
    let why = format!(
        "Invalid input for device_owner. Reason: ports of {device_owner} are made by way of what they belong to."
    );
    Err(Error::invalid(why).coded("HTTPBadRequest"))
}

/// Whether a text is a name in DNS: labels of letters, digits and hyphens, perhaps with a dot at the end.
pub fn is_dns_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    !name.is_empty() && name.len() <= 253 && name.split('.').all(label)
}

pub(crate) fn check_dns(name: &str, domain: &str) -> Result<()> {
    for (field, text) in [("dns_name", name), ("dns_domain", domain)] {
        if !text.is_empty() && !is_dns_name(text) {
            let why = format!("Invalid input for {field}. Reason: '{text}' is not a valid DNS name.");
            return Err(Error::invalid(why).coded("HTTPBadRequest"));
        }
    }
    Ok(())
}

/// Refuses unless the caller owns the network (or is an admin): on somebody else's network the cloud chooses addresses
/// and filters what is sent.
///
/// # Errors
/// The network is another project's.
pub fn check_owner_only(caller: &Caller, network: &Network, what: &str) -> Result<()> {
    if caller.sees(network.project_id) {
        return Ok(());
    }
    let why = format!("Only the owner of network {} may set {what} of a port on it.", network.id);
    Err(Error::forbidden(why).coded("PolicyNotAuthorized"))
}

fn check_choices(caller: &Caller, network: &Network, choices: &[(&str, bool)]) -> Result<()> {
    choices.iter().filter(|(_, made)| *made).try_for_each(|(what, _)| check_owner_only(caller, network, what))
}

/// Whether ports of such an owner are the cloud's own and unfiltered.
fn is_trusted(device_owner: &str) -> bool {
    ["network:", "neutron:"].iter().any(|prefix| device_owner.starts_with(prefix))
}

/// Makes a port's record with its addresses, without writing it.
pub fn build(txn: &mut Txn<'_>, new: &NewPort) -> Result<Port> {
    check_options(&new.extra_dhcp_opts)?;
    let network = txn.need::<Network>(&new.network_id, || Network::missing(new.network_id))?;
    let mac = choose_mac(txn, &network, new.mac)?;
    let asker = Asker { network: &network, mac, device_owner: &new.device_owner };
    let fixed_ips = choose_addresses(txn, &asker, new.fixed_ips.as_deref())?;
    let filtered = new.port_security_enabled.unwrap_or(network.port_security_enabled);
    let trusted = is_trusted(&new.device_owner);
    let security_groups = match &new.security_groups {
        Some(groups) => groups.clone(),
        None if filtered && !trusted => vec![security_group::ensure_default(txn, new.project_id)],
        None => Vec::new(),
    };
    check_filter(filtered, &security_groups, &new.allowed_address_pairs)?;
    Ok(Port {
        id: PortId::from_random(txn.random()),
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        network_id: new.network_id,
        name: new.name.clone(),
        description: new.description.clone(),
        admin_state_up: new.admin_state_up,
        mac,
        fixed_ips,
        device_id: new.device_id.clone(),
        device_owner: new.device_owner.clone(),
        server_id: None,
        server_index: 0,
        goes_with_server: false,
        host_id: None,
        plugged: false,
        security_groups,
        port_security_enabled: filtered,
        allowed_address_pairs: new.allowed_address_pairs.clone(),
        vnic_type: new.vnic_type.clone(),
        binding_profile: new.binding_profile.clone(),
        binding_host: new.binding_host.clone(),
        dns_name: new.dns_name.clone(),
        dns_domain: new.dns_domain.clone(),
        extra_dhcp_opts: new.extra_dhcp_opts.clone(),
        qos_policy_id: new.qos_policy_id,
        propagate_uplink_status: new.propagate_uplink_status,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    })
}

fn check_filter(filtered: bool, groups: &[SecurityGroupId], pairs: &[AddressPair]) -> Result<()> {
    if pairs.len() > ADDRESS_PAIRS_MAX {
        let why = format!("The number of allowed address pair exceeds the maximum {ADDRESS_PAIRS_MAX}.");
        return Err(Error::invalid(why).coded("AddressPairsExhausted"));
    }
    if let Some((_, twice)) = pairs.iter().enumerate().find(|(at, pair)| pairs[..*at].contains(pair)) {
        let why = format!("Request contains duplicate address pair: {}.", twice.ip_address);
        return Err(Error::invalid(why).coded("DuplicateAddressPairInRequest"));
    }
    if !filtered && !groups.is_empty() {
        return Err(Error::conflict(
            "Port Security must be enabled and port must have an IP address in order to use security groups.",
        )
        .coded("PortSecurityAndIPRequiredForSecurityGroups"));
    }
    if !filtered && !pairs.is_empty() {
        return Err(Error::conflict(
            "Port Security must be enabled in order to have allowed address pairs on a port.",
        )
        .coded("AddressPairAndPortSecurityRequired"));
    }
    Ok(())
}

pub(crate) fn choose_mac(txn: &mut Txn<'_>, network: &Network, asked: Option<Mac>) -> Result<Mac> {
    if let Some(mac) = asked {
        if txn.port_with_mac(network.id, mac).is_some() {
            let why = format!(
                "Unable to complete operation for network {}. The mac address {mac} is in use.",
                network.id
            );
            return Err(Error::conflict(why).coded("MacAddressInUse"));
        }
        return Ok(mac);
    }
    for _ in 0..64 {
        let mac = Mac::from_random(txn.random());
        if txn.port_with_mac(network.id, mac).is_none() {
            return Ok(mac);
        }
    }
    Err(Error::unavailable("The network has almost no free Ethernet addresses left.")
        .coded("MacAddressGenerationFailure"))
}

/// Refuses a port that belongs to something already.
pub fn check_free(port: &Port) -> Result<()> {
    if port.device_id.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("Port {} is still in use.", port.id)).coded("PortInUse"))
}

/// Frees a port of its server; the port stays.
pub fn release(txn: &mut Txn<'_>, id: PortId) {
    txn.update::<Port>(&id, |p| {
        p.server_id = None;
        p.server_index = 0;
        p.host_id = None;
        p.plugged = false;
        p.device_id.clear();
        p.device_owner.clear();
        p.revision += 1;
    });
}

/// The security groups of a project under these names or ids; the default one for none.
pub fn resolve_groups(
    txn: &mut Txn<'_>,
    project: ProjectId,
    names: &[String],
) -> Result<Vec<SecurityGroupId>> {
    if names.is_empty() {
        return Ok(vec![security_group::ensure_default(txn, project)]);
    }
    let mut found = Vec::new();
    for name in names {
        let by_id = name.parse().ok().filter(|id| txn.may_use_security_group(project, *id));
        let id = match by_id {
            Some(id) => id,
            None if name == security_group::DEFAULT => security_group::ensure_default(txn, project),
            None => security_group::by_name(txn, project, name)?,
        };
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

fn check_options(options: &[DhcpOption]) -> Result<()> {
    let wrong = options.iter().find_map(|o| for_ovn(&o.name, &o.value, o.ip_version).err());
    wrong.map_or(Ok(()), |why| {
        Err(Error::invalid(format!("Invalid input for extra_dhcp_opts. Reason: {why}.")))
    })
}

/// Removes a port: the caller's own, or on its own network. A server that has it loses an interface.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: PortId) -> Result<()> {
    let port = txn.visible::<Port>(caller, &id)?;
    let network = txn.networks.get(&port.network_id).map_or(port.project_id, |n| n.project_id);
    policy::check(caller, Action::PortWrite, Some(port.project_id))
        .or_else(|_| policy::check(caller, Action::PortWrite, Some(network)))?;
    if port.owner().is_routers() || port.owner() == PortOwner::Metadata {
        let why = format!(
            "Port {id} cannot be deleted directly via the port API: has device owner {}.",
            port.device_owner
        );
        return Err(Error::conflict(why).coded("ServicePortInUse"));
    }
    trunk::check_port_free(txn, id)?;
    match port.server_id {
        Some(server) => interface::delete_port(txn, server, id)?,
        None => remove(txn, id),
    }
    Ok(())
}

/// Removes a port with what leads to it: floating IPs lead nowhere, port forwardings go, and so does a trunk.
pub(crate) fn remove(txn: &mut Txn<'_>, id: PortId) {
    floating_ip::forsake_port(txn, id);
    trunk::forsake_port(txn, id);
    let gone = txn.delete::<Port>(&id);
    // Where all addresses were taken, the network's metadata has waited for this one.
    if let Some(port) = gone.filter(|port| port.owner() != PortOwner::Metadata) {
        metadata::settle_network(txn, port.network_id);
    }
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
