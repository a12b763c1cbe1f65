//! The creation of a port's record, which commands on ports, servers, routers and floating IPs share with the
//! metadata service.

use crate::lifecycle::network::{
    group_build,
    port_address::{self, AskIp, Asker},
};
use lenticular_model::{
    NetworkId, PortId, ProjectId, QosPolicyId, Scoped, SecurityGroupId, Txn,
    error::{Error, Result},
    network::{
        dhcp_option::for_ovn,
        mac::Mac,
        network::Network,
        port::{AddressPair, DhcpOption, Port, PortOwner, Profile},
    },
    policy::Caller,
};

/// The most address pairs that one port may have.
pub(crate) const ADDRESS_PAIRS_MAX: usize = 10;

/// The settings of a new port.
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
    /// Its Ethernet address; random if `None`.
    pub mac: Option<Mac>,
    /// Its addresses; `None` for one of each family.
    pub fixed_ips: Option<Vec<AskIp>>,
    /// The device that it belongs to.
    pub device_id: String,
    /// The kind of the device.
    pub device_owner: String,
    /// Its security groups; `None` for the default one.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// Whether it is filtered; `None` for the network's default.
    pub port_security_enabled: Option<bool>,
    /// Addresses it may also send from.
    pub allowed_address_pairs: Vec<AddressPair>,
    /// `normal`, …
    pub vnic_type: String,
    /// The binding profile that an administrator sets.
    pub binding_profile: Profile,
    /// The host that an administrator chooses for the port.
    pub binding_host: String,
    /// Its name in DNS.
    pub dns_name: String,
    /// The domain of that name.
    pub dns_domain: String,
    /// The port's own DHCP options.
    pub extra_dhcp_opts: Vec<DhcpOption>,
    /// Its QoS policy.
    pub qos_policy_id: Option<QosPolicyId>,
    /// Whether the guest sees when the host loses its uplink.
    pub propagate_uplink_status: bool,
}

impl NewPort {
    /// A port with the default settings.
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

/// Makes a port's record with its addresses, without writing it.
pub(crate) fn build(txn: &mut Txn<'_>, new: &NewPort) -> Result<Port> {
    check_options(&new.extra_dhcp_opts)?;
    let network = txn.need::<Network>(&new.network_id, || Network::missing(new.network_id))?;
    let mac = choose_mac(txn, &network, new.mac)?;
    let asker = Asker { network: &network, mac, device_owner: &new.device_owner };
    let fixed_ips = port_address::choose(txn, &asker, new.fixed_ips.as_deref())?;
    let filtered = new.port_security_enabled.unwrap_or(network.port_security_enabled);
    let trusted = is_trusted(&new.device_owner);
    let security_groups = match &new.security_groups {
        Some(groups) => groups.clone(),
        None if filtered && !trusted => vec![group_build::ensure_default(txn, new.project_id)],
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
        device_tag: None,
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

/// The Ethernet address of a port: the requested address, or a random address.
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

/// Whether ports of such an owner are the cloud's own and unfiltered.
pub(crate) fn is_trusted(device_owner: &str) -> bool {
    ["network:", "neutron:"].iter().any(|prefix| device_owner.starts_with(prefix))
}

/// Refuses a device owner whose ports only the cloud makes.
pub(crate) fn check_device_owner(device_owner: &str) -> Result<()> {
    let owner = PortOwner::of(device_owner);
    if !owner.is_routers() && !matches!(owner, PortOwner::Metadata | PortOwner::TrunkSubport) {
        return Ok(());
    }
    let why =
        format!("Invalid input for device_owner. Reason: the cloud itself makes ports of {device_owner}.");
    Err(Error::invalid(why).coded("HTTPBadRequest"))
}

/// Refuses unless the caller owns the network or is an admin. On another project's network, the cloud chooses
/// addresses and filters all traffic.
///
/// # Errors
/// The network is another project's.
pub(crate) fn check_owner_only(caller: &Caller, network: &Network, what: &str) -> Result<()> {
    if caller.sees(network.project_id) {
        return Ok(());
    }
    let why = format!("Only the owner of network {} may set {what} of a port on it.", network.id);
    Err(Error::forbidden(why).coded("PolicyNotAuthorized"))
}

/// Refuses the choices that only the owner of the network may make.
pub(crate) fn check_choices(caller: &Caller, network: &Network, choices: &[(&str, bool)]) -> Result<()> {
    choices.iter().filter(|(_, made)| *made).try_for_each(|(what, _)| check_owner_only(caller, network, what))
}

/// Refuses filters that contradict each other.
pub(crate) fn check_filter(filtered: bool, groups: &[SecurityGroupId], pairs: &[AddressPair]) -> Result<()> {
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

/// Refuses DHCP options that hosts cannot serve.
pub(crate) fn check_options(options: &[DhcpOption]) -> Result<()> {
    let wrong = options.iter().find_map(|o| for_ovn(&o.name, &o.value, o.ip_version).err());
    wrong.map_or(Ok(()), |why| {
        Err(Error::invalid(format!("Invalid input for extra_dhcp_opts. Reason: {why}.")))
    })
}

/// Refuses a port that belongs to a device already.
pub(crate) fn check_free(port: &Port) -> Result<()> {
    if port.device_id.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("Port {} is still in use.", port.id)).coded("PortInUse"))
}
