//! Ports: their making, their addresses, their change and their removal.

use super::{network, quota, security_group, subnet};
use lenticular_model::{
    error::{Error, Result},
    network::Network,
    policy::{self, Action, Caller},
    port::{next_address, AddressPair, FixedIp, Mac, Port},
    subnet::{to_address, to_number, Subnet},
    NetworkId, PortId, ProjectId, SecurityGroupId, State, SubnetId, Txn,
};
use std::{net::IpAddr, sync::Arc};

/// An address that a port asks for: of this subnet, this one, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskIp {
    /// The subnet.
    pub subnet: Option<SubnetId>,
    /// The address.
    pub address: Option<IpAddr>,
}

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
        }
    }
}

/// The port, if it exists for the caller: its own, or on its own network.
pub fn visible(state: &State, caller: &Caller, id: PortId) -> Result<Arc<Port>> {
    let seen = |p: &&Arc<Port>| {
        caller.sees(p.project_id)
            || state.networks.get(&p.network_id).is_some_and(|n| caller.sees(n.project_id))
    };
    let port = state.ports.get(&id).filter(seen).cloned();
    port.ok_or_else(|| Error::not_found("Port", id).coded("PortNotFound"))
}

/// How many ports a project has.
pub fn count(state: &State, project: ProjectId) -> usize {
    let range = state.index.project_ports.range((project, PortId(Default::default()))..);
    range.take_while(|(p, _)| *p == project).count()
}

/// Creates a port.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewPort) -> Result<PortId> {
    let owner = network::visible(txn, caller, new.network_id)?;
    policy::check(caller, Action::PortWrite, Some(new.project_id))?;
    if owner.external && !owner.shared {
        check_owner_only(caller, &owner, "network_id")?;
    }
    let chosen = |ips: &Option<Vec<AskIp>>| ips.iter().flatten().any(|ip| ip.address.is_some());
    let choices = [
        ("mac_address", new.mac.is_some()),
        ("fixed_ips", chosen(&new.fixed_ips)),
        ("device_owner", is_trusted(&new.device_owner)),
        ("port_security_enabled", new.port_security_enabled == Some(false)),
        ("allowed_address_pairs", !new.allowed_address_pairs.is_empty()),
    ];
    check_choices(caller, &owner, &choices)?;

    for group in new.security_groups.iter().flatten() {
        security_group::visible(txn, caller, *group)?;
    }
    let used = count(txn, new.project_id);
    quota::check_network(txn, new.project_id, "port", used)?;
    let port = build(txn, &new)?;
    let id = port.id;
    txn.put(port);
    Ok(id)
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
    let network = txn.need::<Network>(&new.network_id, || network::missing(new.network_id))?;
    let mac = choose_mac(txn, &network, new.mac)?;
    let fixed_ips = choose_addresses(txn, &network, mac, new.fixed_ips.as_deref())?;
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
        binding_profile: Default::default(),
        binding_host: String::new(),
        dns_name: String::new(),
        dns_domain: String::new(),
        extra_dhcp_opts: Vec::new(),
        qos_policy_id: None,
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    })
}

fn check_filter(filtered: bool, groups: &[SecurityGroupId], pairs: &[AddressPair]) -> Result<()> {
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

fn choose_mac(txn: &mut Txn<'_>, network: &Network, asked: Option<Mac>) -> Result<Mac> {
    if let Some(mac) = asked {
        if txn.index.macs.contains_key(&(network.id, mac)) {
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
        if !txn.index.macs.contains_key(&(network.id, mac)) {
            return Ok(mac);
        }
    }
    Err(Error::unavailable("The network has almost no free Ethernet addresses left.")
        .coded("MacAddressGenerationFailure"))
}

fn choose_addresses(
    txn: &Txn<'_>,
    network: &Network,
    mac: Mac,
    asked: Option<&[AskIp]>,
) -> Result<Vec<FixedIp>> {
    let subnets: Vec<Arc<Subnet>> = subnet::of_network(txn, network.id).cloned().collect();
    let mut chosen: Vec<FixedIp> = Vec::new();
    match asked {
        None => {
            for v4 in [true, false] {
                let fit: Vec<&Arc<Subnet>> =
                    subnets.iter().filter(|s| s.cidr.addr().is_ipv4() == v4 && !is_slaac(s)).collect();
                let Some(first) = fit.first() else { continue };
                let found = fit.iter().find_map(|s| Some((s.id, next_address(txn, s)?)));
                let (subnet_id, ip_address) = found.ok_or_else(|| exhausted(network.id, first.id))?;
                chosen.push(FixedIp { subnet_id, ip_address });
            }
            chosen.extend(subnets.iter().filter(|s| is_slaac(s)).map(|s| slaac(s, mac)));
        }
        Some(asked) => {
            for ask in asked {
                let next = one_address(txn, network, &subnets, mac, ask, &chosen)?;
                chosen.push(next);
            }
        }
    }
    Ok(chosen)
}

fn is_slaac(subnet: &Subnet) -> bool {
    matches!(subnet.ipv6_address_mode.as_deref(), Some("slaac" | "dhcpv6-stateless"))
}

/// The address a guest forms by itself (RFC 4291, appendix A).
fn slaac(subnet: &Subnet, mac: Mac) -> FixedIp {
    let [a, b, c, d, e, f] = mac.0;
    let tail = u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f]);
    let number = to_number(subnet.cidr.network()) | u128::from(tail);
    FixedIp { subnet_id: subnet.id, ip_address: to_address(number, subnet.cidr.network()) }
}

fn exhausted(network: NetworkId, subnet: SubnetId) -> Error {
    Error::conflict(format!("No more IP addresses available on network {network}, subnet {subnet}."))
        .coded("IpAddressGenerationFailure")
}

fn one_address(
    txn: &Txn<'_>,
    network: &Network,
    subnets: &[Arc<Subnet>],
    mac: Mac,
    ask: &AskIp,
    chosen: &[FixedIp],
) -> Result<FixedIp> {
    let of_network = |id: SubnetId| {
        subnets.iter().find(|s| s.id == id).ok_or_else(|| {
            Error::invalid(format!(
                "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                network.id
            ))
            .coded("InvalidInput")
        })
    };
    let Some(address) = ask.address else {
        let Some(id) = ask.subnet else {
            return Err(
                Error::invalid("IP allocation requires subnet_id or ip_address").coded("InvalidInput")
            );
        };
        let subnet = of_network(id)?;
        if is_slaac(subnet) {
            return Ok(slaac(subnet, mac));
        }
        let ip_address = next_free(txn, subnet, chosen).ok_or_else(|| exhausted(network.id, id))?;
        return Ok(FixedIp { subnet_id: id, ip_address });
    };
    let subnet = match ask.subnet {
        Some(id) => of_network(id)?,
        None => subnets.iter().find(|s| s.cidr.contains(&address)).ok_or_else(|| {
            Error::invalid(format!(
                "IP address {address} is not a valid IP for any of the subnets on the specified network."
            ))
            .coded("InvalidIpForNetwork")
        })?,
    };
    if !Subnet::usable(&subnet.cidr, address) {
        return Err(Error::invalid(format!(
            "IP address {address} is not a valid IP for the specified subnet."
        ))
        .coded("InvalidIpForSubnet"));
    }
    let fixed = FixedIp { subnet_id: subnet.id, ip_address: address };
    if chosen.contains(&fixed) || txn.index.addresses.contains_key(&(subnet.id, address)) {
        return Err(Error::conflict(format!(
            "IP address {address} already allocated in subnet {}",
            subnet.id
        ))
        .coded("IpAddressAlreadyAllocated"));
    }
    Ok(fixed)
}

/// Like `next_address`, beside addresses that are chosen and not written yet.
fn next_free(txn: &Txn<'_>, subnet: &Subnet, chosen: &[FixedIp]) -> Option<IpAddr> {
    let first = next_address(txn, subnet)?;
    let taken = |ip: IpAddr| {
        chosen.contains(&FixedIp { subnet_id: subnet.id, ip_address: ip })
            || txn.index.addresses.contains_key(&(subnet.id, ip))
    };
    let pool = subnet.pools.iter().find(|pool| pool.contains(first))?;
    let mut number = to_number(first);
    while number <= to_number(pool.end) {
        let ip = to_address(number, first);
        if !taken(ip) {
            return Some(ip);
        }
        number += 1;
    }
    None
}

/// Whether the address is given out on the network.
pub fn taken(state: &State, network: NetworkId, address: IpAddr) -> bool {
    subnet::of_network(state, network).any(|s| state.index.addresses.contains_key(&(s.id, address)))
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
        let by_id = name
            .parse()
            .ok()
            .filter(|id| txn.security_groups.get(id).is_some_and(|g| g.project_id == project));
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

/// What an update changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct PortChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether its traffic flows.
    pub admin_state_up: Option<bool>,
    /// Its Ethernet address.
    pub mac: Option<Mac>,
    /// Its addresses, all of them.
    pub fixed_ips: Option<Vec<AskIp>>,
    /// What it belongs to.
    pub device_id: Option<String>,
    /// What sort of thing that is.
    pub device_owner: Option<String>,
    /// Its security groups, all of them.
    pub security_groups: Option<Vec<SecurityGroupId>>,
    /// Whether it is filtered.
    pub port_security_enabled: Option<bool>,
    /// Addresses it may also send from, all of them.
    pub allowed_address_pairs: Option<Vec<AddressPair>>,
}

/// Changes a port.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: PortId, change: PortChange) -> Result<()> {
    let old = visible(txn, caller, id)?;
    policy::check(caller, Action::PortWrite, Some(old.project_id))?;
    let mut port = Port::clone(&old);
    let network = txn.need::<Network>(&port.network_id, || network::missing(port.network_id))?;
    let choices = [
        ("mac_address", change.mac.is_some()),
        ("fixed_ips", change.fixed_ips.iter().flatten().any(|ip| ip.address.is_some())),
        ("device_owner", change.device_owner.as_deref().is_some_and(is_trusted)),
        ("port_security_enabled", change.port_security_enabled == Some(false)),
        ("allowed_address_pairs", change.allowed_address_pairs.as_ref().is_some_and(|p| !p.is_empty())),
    ];
    check_choices(caller, &network, &choices)?;
    if let Some(mac) = change.mac.filter(|mac| *mac != old.mac) {
        if old.server_id.is_some() {
            let why = format!("Port {id} belongs to a server; its MAC address cannot change.");
            return Err(Error::conflict(why).coded("PortBound"));
        }
        port.mac = choose_mac(txn, &network, Some(mac))?;
    }
    // What the compute side bound, only the compute side unbinds.
    let rebinds = change.device_id.as_ref().is_some_and(|d| *d != old.device_id)
        || change.device_owner.as_ref().is_some_and(|d| *d != old.device_owner);
    if old.server_id.is_some() && rebinds {
        return Err(
            Error::conflict(format!("Port {id} belongs to a server; detach it there.")).coded("PortInUse")
        );
    }
    for group in change.security_groups.iter().flatten() {
        security_group::visible(txn, caller, *group)?;
    }
    if let Some(asked) = &change.fixed_ips {
        // Its own addresses are not taken against it.
        txn.put(Port { fixed_ips: Vec::new(), ..port.clone() });
        port.fixed_ips = choose_addresses(txn, &network, port.mac, Some(asked))?;
    }
    let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
    set(&mut port.name, change.name);
    set(&mut port.description, change.description);
    set(&mut port.device_id, change.device_id);
    set(&mut port.device_owner, change.device_owner);
    port.admin_state_up = change.admin_state_up.unwrap_or(port.admin_state_up);
    port.port_security_enabled = change.port_security_enabled.unwrap_or(port.port_security_enabled);
    port.security_groups = change.security_groups.unwrap_or(port.security_groups);
    port.allowed_address_pairs = change.allowed_address_pairs.unwrap_or(port.allowed_address_pairs);
    check_filter(port.port_security_enabled, &port.security_groups, &port.allowed_address_pairs)?;
    port.revision += 1;
    port.updated_at = Some(txn.now);
    txn.put(port);
    Ok(())
}

/// Removes a port.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: PortId) -> Result<()> {
    let port = visible(txn, caller, id)?;
    policy::check(caller, Action::PortWrite, Some(port.project_id))?;
    if let Some(server) = port.server_id {
        let why = format!("Port {id} cannot be deleted directly via the port API: it belongs to server {server}; delete that.");
        return Err(Error::conflict(why).coded("ServicePortInUse"));
    }
    txn.delete::<Port>(&id);
    Ok(())
}
