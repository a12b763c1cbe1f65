//! Networks: their creation, change and removal.

use crate::{
    command::network::check,
    lifecycle::network::{cascade, sharing},
    quota,
};
use lenticular_model::{
    FloatingIpId, NetworkId, ProjectId, QosPolicyId, State, Txn,
    error::{Error, Result},
    network::{
        mtu,
        network::{Network, Provider},
        port::{Port, PortOwner},
        rbac_policy::{RbacAction, RbacObject},
    },
    policy::{self, Action, Caller},
};
use std::sync::Arc;

/// Refuses a packet size that does not fit into hosts' tunnels, which drop larger packets silently, or that breaks
/// IPv6.
fn check_mtu(state: &State, network: &Network) -> Result<()> {
    let mtu = network.mtu;
    if network.physical().is_none() && mtu > mtu::TUNNELED {
        let why = format!(
            "Invalid input for operation: Requested MTU is too big, maximum is {}: tunnels carry no more.",
            mtu::TUNNELED
        );
        return Err(Error::invalid(why).coded("InvalidInput"));
    }
    if mtu < mtu::IPV6_MIN && state.subnets_of_network(network.id).any(|s| s.cidr.addr().is_ipv6()) {
        return Err(check::too_small_for_ipv6(network.id, mtu));
    }
    Ok(())
}

/// The settings of a new network.
#[derive(Debug, Clone)]
pub struct NewNetwork {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// False stops its traffic.
    pub admin_state_up: bool,
    /// True shows it to every project.
    pub shared: bool,
    /// True if it leads out of the cloud.
    pub external: bool,
    /// True for the default external network, which automatic routers lead to.
    pub is_default: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Whether its ports are filtered.
    pub port_security_enabled: bool,
    /// The physical side.
    pub provider: Provider,
    /// The domain of its ports' names.
    pub dns_domain: String,
    /// Its QoS policy: `None` for the project's default policy, `Some(None)` for none.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
    /// Availability zones requested for its routers.
    pub availability_zone_hints: Vec<String>,
}

impl NewNetwork {
    /// A network with nothing special.
    pub fn of(project_id: ProjectId, name: &str) -> Self {
        Self {
            project_id,
            name: name.to_owned(),
            description: String::new(),
            admin_state_up: true,
            shared: false,
            external: false,
            is_default: false,
            mtu: None,
            port_security_enabled: true,
            provider: Provider::default(),
            dns_domain: String::new(),
            qos_policy_id: None,
            availability_zone_hints: Vec::new(),
        }
    }
}

/// Creates a network.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewNetwork) -> Result<NetworkId> {
    policy::check(caller, Action::NetworkWrite, Some(new.project_id))?;
    let special = new.shared || new.external || new.is_default || new.provider != Provider::default();
    if special {
        policy::check(caller, Action::NetworkWriteShared, None)?;
    }
    quota::need_network(txn, new.project_id, "network")?;
    check_default(txn, new.external, new.is_default, None)?;
    check_dns_domain(&new.dns_domain)?;
    check::check_qos_policy(txn, caller, new.qos_policy_id.flatten(), None)?;
    check::check_zones(txn, &new.availability_zone_hints)?;
    let provider = choose_segment(txn, &new.provider)?;
    put(txn, NewNetwork { provider, ..new })
}

/// Refuses a second default external network.
fn check_default(state: &State, external: bool, is_default: bool, but: Option<NetworkId>) -> Result<()> {
    if !is_default {
        return Ok(());
    }
    if !external {
        let why = "Only an external network can be the default one.";
        return Err(Error::invalid(why).coded("InvalidInput"));
    }
    match state.networks.values().find(|n| n.is_default && n.external && Some(n.id) != but) {
        Some(other) => {
            let why = format!("A default external network already exists: {}.", other.id);
            Err(Error::conflict(why).coded("DefaultExternalNetworkExists"))
        }
        None => Ok(()),
    }
}

fn check_dns_domain(domain: &str) -> Result<()> {
    if domain.is_empty() || check::is_dns_name(domain) {
        return Ok(());
    }
    let why = format!("Invalid input for dns_domain. Reason: '{domain}' is not a valid domain name.");
    Err(Error::invalid(why).coded("HTTPBadRequest"))
}

/// The requested physical side, with a free VLAN if the request names none; refused if another network has it.
fn choose_segment(state: &State, asked: &Provider) -> Result<Provider> {
    let bad = |why: String| Err(Error::invalid(why).coded("InvalidInput"));
    let physical = asked.physical_network.as_deref().unwrap_or("");
    let kind = asked.network_type.as_str();
    let peers = || {
        let like = move |n: &&Arc<Network>| {
            n.provider.network_type == kind && n.provider.physical_network == asked.physical_network
        };
        state.networks.values().filter(like)
    };
    let mut chosen = asked.clone();
    match (kind, asked.segmentation_id) {
        ("", None) if physical.is_empty() => {}
        ("", _) => {
            return bad("provider:network_type is required with the other provider attributes.".to_owned());
        }
        ("geneve", _) if !physical.is_empty() => {
            return bad("provider:physical_network specified for geneve network.".to_owned());
        }
        ("geneve", None) => {}
        ("geneve", Some(id)) if id == 0 || id >= 1 << 24 => {
            return bad(format!(
                "provider:segmentation_id {id} is out of range (1 through {}).",
                (1 << 24) - 1
            ));
        }
        ("geneve", Some(id)) if peers().any(|n| n.provider.segmentation_id == Some(id)) => {
            let why = format!("Unable to create the network. The tunnel ID {id} is in use.");
            return Err(Error::conflict(why).coded("TunnelIdInUse"));
        }
        ("geneve", Some(_)) => {}
        ("flat" | "vlan", _) if physical.is_empty() => {
            return bad(format!("provider:physical_network is required for a {kind} network."));
        }
        ("flat", Some(_)) => return bad("provider:segmentation_id specified for flat network.".to_owned()),
        ("flat", None) if peers().next().is_some() => {
            let why = format!("Unable to create the flat network. Physical network {physical} is in use.");
            return Err(Error::conflict(why).coded("FlatNetworkInUse"));
        }
        ("flat", None) => {}
        ("vlan", Some(id)) if !(1..=4_094).contains(&id) => {
            return bad(format!("provider:segmentation_id {id} is out of range (1 through 4094)."));
        }
        ("vlan", Some(id)) if peers().any(|n| n.provider.segmentation_id == Some(id)) => {
            let why = format!(
                "Unable to create the network. The VLAN {id} on physical network {physical} is in use."
            );
            return Err(Error::conflict(why).coded("VlanIdInUse"));
        }
        ("vlan", Some(_)) => {}
        ("vlan", None) => {
            let taken: std::collections::BTreeSet<u32> =
                peers().filter_map(|n| n.provider.segmentation_id).collect();
            chosen.segmentation_id = (1..=4_094).find(|id| !taken.contains(id));
            if chosen.segmentation_id.is_none() {
                let why = "Unable to create the network. No tenant network is available for allocation.";
                return Err(Error::unavailable(why).coded("NoNetworkAvailable"));
            }
        }
        (other, _) => {
            return bad(format!(
                "Invalid value '{other}' for provider:network_type: this cloud has geneve, flat and vlan."
            ));
        }
    }
    Ok(chosen)
}

fn put(txn: &mut Txn<'_>, new: NewNetwork) -> Result<NetworkId> {
    let id = NetworkId::from_random(txn.random());
    let qos_policy_id = match new.qos_policy_id {
        Some(chosen) => chosen,
        None => txn.default_qos_policy(new.project_id),
    };
    let network = Network {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        admin_state_up: new.admin_state_up,
        shared: new.shared,
        external: new.external,
        external_restricted: false,
        is_default: new.is_default,
        mtu: new.mtu.unwrap_or(mtu::TUNNELED),
        port_security_enabled: new.port_security_enabled,
        tags: Vec::new(),
        revision: 1,
        provider: new.provider,
        dns_domain: new.dns_domain,
        qos_policy_id,
        availability_zone_hints: new.availability_zone_hints,
        auto_allocated: false,
        unknown: Default::default(),
    };
    check_mtu(txn, &network)?;
    txn.put(network);
    let object = RbacObject::Network(id);
    if new.shared {
        sharing::set_everyone(txn, new.project_id, object, RbacAction::AccessAsShared, true)?;
    }
    if new.external {
        sharing::set_everyone(txn, new.project_id, object, RbacAction::AccessAsExternal, true)?;
    }
    Ok(id)
}

/// Makes the network for a project's request for `auto`, without subnets.
pub(crate) fn put_automatic(txn: &mut Txn<'_>, project: ProjectId) -> Result<NetworkId> {
    let id = put(txn, NewNetwork::of(project, "auto_allocated_network"))?;
    txn.update::<Network>(&id, |n| n.auto_allocated = true);
    Ok(id)
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct NetworkChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether its traffic flows.
    pub admin_state_up: Option<bool>,
    /// Whether every project sees it.
    pub shared: Option<bool>,
    /// Whether it is external.
    pub external: Option<bool>,
    /// Whether it is the default external network.
    pub is_default: Option<bool>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Whether new ports are filtered.
    pub port_security_enabled: Option<bool>,
    /// The domain of its ports' names.
    pub dns_domain: Option<String>,
    /// Its QoS policy; `Some(None)` removes it.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
}

/// Changes a network.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: NetworkId, change: NetworkChange) -> Result<()> {
    let network = txn.changeable::<Network>(caller, &id)?;
    let external = change.external.unwrap_or(network.external);
    let is_default = change.is_default.unwrap_or(network.is_default) && external;
    if change.shared.is_some() || change.external.is_some() || change.is_default.is_some() {
        policy::check(caller, Action::NetworkWriteShared, None)?;
    }
    check_default(txn, external, is_default, Some(id))?;
    if change.is_default == Some(true) && network.external_restricted {
        return Err(sharing::must_be_open(id));
    }
    change.dns_domain.as_deref().map_or(Ok(()), check_dns_domain)?;
    check::check_qos_policy(txn, caller, change.qos_policy_id.flatten(), network.qos_policy_id)?;
    if network.external && !external {
        check::check_no_way_out(txn, id)?;
    }
    if let Some(mtu) = change.mtu {
        check_mtu(txn, &Network { mtu, external, ..Network::clone(&network) })?;
    }
    txn.update::<Network>(&id, |n| {
        let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
        set(&mut n.name, change.name);
        set(&mut n.description, change.description);
        set(&mut n.dns_domain, change.dns_domain);
        n.admin_state_up = change.admin_state_up.unwrap_or(n.admin_state_up);
        n.port_security_enabled = change.port_security_enabled.unwrap_or(n.port_security_enabled);
        n.external = external;
        n.is_default = is_default;
        n.mtu = change.mtu.unwrap_or(n.mtu);
        n.qos_policy_id = change.qos_policy_id.unwrap_or(n.qos_policy_id);
        n.revision += 1;
    });
    let object = RbacObject::Network(id);
    if let Some(shared) = change.shared {
        sharing::set_everyone(txn, network.project_id, object, RbacAction::AccessAsShared, shared)?;
    }
    if external != network.external {
        sharing::clear_action(txn, object, RbacAction::AccessAsExternal);
        sharing::set_everyone(txn, network.project_id, object, RbacAction::AccessAsExternal, external)?;
    }
    Ok(())
}

/// Removes a network with its subnets and with floating IPs that lead nowhere; refused if its ports are in use.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: NetworkId) -> Result<()> {
    let network = txn.changeable::<Network>(caller, &id)?;
    if network.external {
        let idle = txn.floating_ips_of_network(id).filter(|f| f.router_id.is_none());
        let idle: Vec<FloatingIpId> = idle.map(|f| f.id).collect();
        idle.into_iter().for_each(|id| cascade::delete_floating_ip(txn, id));
    }
    let own = |p: &&Arc<Port>| matches!(p.owner(), PortOwner::Metadata | PortOwner::Dhcp);
    if txn.ports_of_network(id).any(|p| !own(&p)) {
        let why = format!(
            "Unable to complete operation on network {id}. There are one or more ports still in use on the network."
        );
        return Err(Error::conflict(why).coded("NetworkInUse"));
    }
    cascade::delete_network(txn, id);
    Ok(())
}
