//! Networks: their making, change and removal.

use super::{quota, subnet};
use lenticular_model::{
    error::{Error, Result},
    network::{Network, Provider},
    policy::{self, Action, Caller},
    port::Port,
    subnet::Subnet,
    NetworkId, PortId, ProjectId, State, Txn,
};
use std::sync::Arc;

/// The largest packet on tenants' networks, in bytes: what a tunnel leaves of an Ethernet's 1500.
pub const MTU: u32 = 1442;

/// What a new network is to be.
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
    /// True for the network of servers that ask for none.
    pub is_default: bool,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Whether its ports are filtered.
    pub port_security_enabled: bool,
    /// The physical side.
    pub provider: Provider,
}

/// That there is no such network.
pub fn missing(id: NetworkId) -> Error {
    Error::not_found("Network", id).coded("NetworkNotFound")
}

/// The network, if it exists for the caller.
pub fn visible(state: &State, caller: &Caller, id: NetworkId) -> Result<Arc<Network>> {
    let seen =
        |n: &&Arc<Network>| (caller.may_read() && (n.shared || n.external)) || caller.sees(n.project_id);
    state.networks.get(&id).filter(seen).cloned().ok_or_else(|| missing(id))
}

/// The network, if the caller may change it.
pub fn changeable(state: &State, caller: &Caller, id: NetworkId) -> Result<Arc<Network>> {
    let network = visible(state, caller, id)?;
    policy::check(caller, Action::NetworkWrite, Some(network.project_id))?;
    Ok(network)
}

/// Creates a network.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewNetwork) -> Result<NetworkId> {
    policy::check(caller, Action::NetworkWrite, Some(new.project_id))?;
    let special = new.shared || new.external || new.is_default || new.provider != Provider::default();
    if special {
        policy::check(caller, Action::NetworkWriteShared, None)?;
    }
    let from = (new.project_id, NetworkId(Default::default()));
    let used = txn.index.project_networks.range(from..).take_while(|(p, _)| *p == new.project_id).count();
    quota::check_network(txn, new.project_id, "network", used)?;
    Ok(put(txn, new))
}

fn put(txn: &mut Txn<'_>, new: NewNetwork) -> NetworkId {
    let id = NetworkId::from_random(txn.random());
    txn.put(Network {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        admin_state_up: new.admin_state_up,
        shared: new.shared,
        external: new.external,
        is_default: new.is_default,
        mtu: new.mtu.unwrap_or(MTU),
        port_security_enabled: new.port_security_enabled,
        tags: Vec::new(),
        revision: 1,
        provider: new.provider,
        external_restricted: false,
        dns_domain: String::new(),
        qos_policy_id: None,
        availability_zone_hints: Vec::new(),
        auto_allocated: false,
        unknown: Default::default(),
    });
    id
}

/// Makes the network that a project gets when a server asks for `auto` and there is none.
pub fn make_automatic(txn: &mut Txn<'_>, project: ProjectId) -> Result<NetworkId> {
    let id = put(
        txn,
        NewNetwork {
            project_id: project,
            name: "auto_allocated_network".to_owned(),
            description: String::new(),
            admin_state_up: true,
            shared: false,
            external: false,
            is_default: false,
            mtu: None,
            port_security_enabled: true,
            provider: Provider::default(),
        },
    );
    subnet::put_simple(txn, project, id, "auto_allocated_subnet", "10.0.0.0/24")?;
    Ok(id)
}

/// What an update changes; `None` leaves a field as it is.
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
    /// Whether it leads out.
    pub external: Option<bool>,
    /// Whether servers that ask for none get it.
    pub is_default: Option<bool>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// Whether new ports are filtered.
    pub port_security_enabled: Option<bool>,
}

/// Changes a network.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: NetworkId, change: NetworkChange) -> Result<()> {
    let network = changeable(txn, caller, id)?;
    if change.shared.is_some_and(|s| s != network.shared)
        || change.external.is_some_and(|e| e != network.external)
        || change.is_default.is_some_and(|d| d != network.is_default)
    {
        policy::check(caller, Action::NetworkWriteShared, None)?;
    }
    if change.shared == Some(false) && network.shared {
        let foreign = ports(txn, id).any(|p| p.project_id != network.project_id);
        if foreign {
            let why = format!(
                "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."
            );
            return Err(Error::conflict(why).coded("InvalidSharedSetting"));
        }
    }
    txn.update::<Network>(&id, |n| {
        let set = |field: &mut String, value: Option<String>| value.into_iter().for_each(|v| *field = v);
        set(&mut n.name, change.name);
        set(&mut n.description, change.description);
        let flag = |field: &mut bool, value: Option<bool>| *field = value.unwrap_or(*field);
        flag(&mut n.admin_state_up, change.admin_state_up);
        flag(&mut n.shared, change.shared);
        flag(&mut n.external, change.external);
        flag(&mut n.is_default, change.is_default);
        flag(&mut n.port_security_enabled, change.port_security_enabled);
        n.mtu = change.mtu.unwrap_or(n.mtu);
        n.revision += 1;
    });
    Ok(())
}

/// The ports of a network.
pub fn ports(state: &State, id: NetworkId) -> impl Iterator<Item = &Arc<Port>> {
    let range = state.index.network_ports.range((id, PortId(Default::default()))..);
    range.take_while(move |(n, _)| *n == id).filter_map(|(_, port)| state.ports.get(port))
}

/// Removes a network with its subnets; one that has ports in use is refused.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: NetworkId) -> Result<()> {
    changeable(txn, caller, id)?;
    if ports(txn, id).next().is_some() {
        let why = format!("Unable to complete operation on network {id}. There are one or more ports still in use on the network.");
        return Err(Error::conflict(why).coded("NetworkInUse"));
    }
    let subnets: Vec<_> = subnet::of_network(txn, id).map(|s| s.id).collect();
    for subnet in subnets {
        txn.delete::<Subnet>(&subnet);
    }
    txn.delete::<Network>(&id);
    Ok(())
}
