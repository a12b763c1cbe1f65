//! Routers: their creation, gateway, routes, change and removal.

mod interface;

use crate::{
    command::network::{check, routing},
    lifecycle::network::{
        cascade,
        port_address::{self, AskIp, Asker},
        port_build::{self, NewPort},
    },
    quota,
};
use lenticular_model::{
    NetworkId, PortId, ProjectId, QosPolicyId, RouterId, Scoped, Txn,
    error::{Error, Result},
    network::{
        network::Network,
        port::{Port, PortOwner},
        router::{Router, RouterGateway},
        subnet::HostRoute,
    },
    policy::{self, Action, Caller},
};

pub use interface::{Interface, InterfaceAsk, add_interface, remove_interface};

/// The most routes that one router may have.
pub const ROUTES_MAX: usize = 30;

/// The gateway that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewayAsk {
    /// The external network.
    pub network_id: NetworkId,
    /// Whether guests without a floating IP go out under the router's address.
    pub enable_snat: Option<bool>,
    /// The router's addresses in the external network.
    pub fixed_ips: Option<Vec<AskIp>>,
    /// Its QoS policy; `Some(None)` removes it.
    pub qos_policy_id: Option<Option<QosPolicyId>>,
}

impl GatewayAsk {
    /// A gateway with the cloud's default settings.
    pub fn to(network_id: NetworkId) -> Self {
        Self { network_id, enable_snat: None, fixed_ips: None, qos_policy_id: None }
    }
}

/// The settings of a new router.
#[derive(Debug, Clone)]
pub struct NewRouter {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// False stops its traffic.
    pub admin_state_up: bool,
    /// Its gateway.
    pub gateway: Option<GatewayAsk>,
    /// Whether floating IPs are translated on the host of their server; `None` for the default: true.
    pub distributed: Option<bool>,
    /// Whether the gateway has standby hosts; `None` for the default: true.
    pub ha: Option<bool>,
    /// Availability zones requested for the gateway.
    pub availability_zone_hints: Vec<String>,
}

/// Creates a router.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewRouter) -> Result<RouterId> {
    policy::check(caller, Action::RouterWrite, Some(new.project_id))?;
    if new.distributed.is_some() {
        policy::check(caller, Action::RouterDistributed, None)?;
    }
    if new.ha.is_some() {
        policy::check(caller, Action::RouterHa, None)?;
    }
    quota::need_network(txn, new.project_id, "router")?;
    check::check_zones(txn, &new.availability_zone_hints)?;
    let id = put(txn, &new);
    if let Some(gateway) = &new.gateway {
        set_gateway(txn, caller, id, gateway)?;
    }
    Ok(id)
}

fn put(txn: &mut Txn<'_>, new: &NewRouter) -> RouterId {
    let id = RouterId::from_random(txn.random());
    txn.put(Router {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name.clone(),
        description: new.description.clone(),
        admin_state_up: new.admin_state_up,
        gateway: None,
        routes: Vec::new(),
        distributed: new.distributed.unwrap_or(true),
        ha: new.ha.unwrap_or(true),
        availability_zone_hints: new.availability_zone_hints.clone(),
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    id
}

/// Makes the router of the network that the cloud makes for a project's request for `auto`.
pub(crate) fn put_automatic(
    txn: &mut Txn<'_>,
    caller: &Caller,
    project: ProjectId,
    external: NetworkId,
) -> Result<RouterId> {
    let new = NewRouter {
        project_id: project,
        name: "auto_allocated_router".to_owned(),
        description: String::new(),
        admin_state_up: true,
        gateway: None,
        distributed: None,
        ha: None,
        availability_zone_hints: Vec::new(),
    };
    let id = put(txn, &new);
    set_gateway(txn, caller, id, &GatewayAsk::to(external))?;
    Ok(id)
}

/// Sets a router's gateway.
fn set_gateway(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, ask: &GatewayAsk) -> Result<()> {
    let router = txn.need::<Router>(&id, || Router::missing(id))?;
    if ask.enable_snat.is_some() {
        policy::check(caller, Action::RouterSnat, None)?;
    }
    if ask.fixed_ips.is_some() {
        policy::check(caller, Action::RouterGatewayAddress, None)?;
    }
    let network = txn.visible::<Network>(caller, &ask.network_id)?;
    if !txn.is_external_for(caller, &network) {
        return Err(routing::bad(format!("Network {} is not an external network", network.id)));
    }
    let held = router.gateway.and_then(|g| g.qos_policy_id);
    check::check_qos_policy(txn, caller, ask.qos_policy_id.flatten(), held)?;
    if let Some(old) = router.gateway.filter(|g| g.network_id == ask.network_id) {
        let addresses = ask.fixed_ips.as_deref().filter(|ips| !ips.is_empty());
        if let Some(addresses) = addresses {
            move_gateway_port(txn, &network, old.port_id, addresses)?;
        }
        let enable_snat = ask.enable_snat.unwrap_or(old.enable_snat);
        let qos_policy_id = ask.qos_policy_id.unwrap_or(old.qos_policy_id);
        let gateway = RouterGateway { enable_snat, qos_policy_id, ..old };
        txn.update::<Router>(&id, |r| r.gateway = Some(gateway));
    } else {
        clear_gateway(txn, id)?;
        let port_id = put_gateway_port(txn, &network, id, ask.fixed_ips.as_deref())?;
        let enable_snat = ask.enable_snat.unwrap_or(true);
        let qos_policy_id = ask.qos_policy_id.flatten();
        let gateway = RouterGateway { network_id: network.id, port_id, enable_snat, qos_policy_id };
        txn.update::<Router>(&id, |r| r.gateway = Some(gateway));
    }
    routing::check_disjoint(txn, id)
}

fn put_gateway_port(
    txn: &mut Txn<'_>,
    network: &Network,
    id: RouterId,
    asked: Option<&[AskIp]>,
) -> Result<PortId> {
    let new = NewPort {
        device_id: id.to_string(),
        device_owner: PortOwner::RouterGateway.name().unwrap_or_default().to_owned(),
        fixed_ips: asked.filter(|ips| !ips.is_empty()).map(<[AskIp]>::to_vec),
        port_security_enabled: Some(false),
        ..NewPort::on(network.id, ProjectId::CLOUD)
    };
    let port = port_build::build(txn, &new)?;
    if port.fixed_ips.is_empty() {
        return Err(routing::bad(format!(
            "Network {} has no subnet from which a router's gateway can get an address.",
            network.id
        )));
    }
    let port_id = port.id;
    txn.put(port);
    Ok(port_id)
}

fn move_gateway_port(txn: &mut Txn<'_>, network: &Network, id: PortId, asked: &[AskIp]) -> Result<()> {
    let port = txn.need::<Port>(&id, || Port::missing(id))?;
    txn.put(Port { fixed_ips: Vec::new(), ..Port::clone(&port) });
    let asker = Asker { network, mac: port.mac, device_owner: &port.device_owner };
    let fixed_ips = port_address::choose(txn, &asker, Some(asked))?;
    let revision = port.revision + 1;
    txn.put(Port { fixed_ips, revision, updated_at: Some(txn.now), ..Port::clone(&port) });
    Ok(())
}

/// Removes a router's gateway, unless a floating IP needs it.
fn clear_gateway(txn: &mut Txn<'_>, id: RouterId) -> Result<()> {
    let Some(gateway) = txn.routers.get(&id).and_then(|r| r.gateway) else { return Ok(()) };
    if txn.floating_ips_of_router(id).next().is_some() {
        let why = format!(
            "Gateway cannot be updated for router {id}, since a gateway to external network {} is required by one \
             or more floating IPs.",
            gateway.network_id
        );
        return Err(Error::conflict(why).coded("RouterExternalGatewayInUseByFloatingIp"));
    }
    txn.update::<Router>(&id, |r| r.gateway = None);
    cascade::delete_port(txn, gateway.port_id);
    Ok(())
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct RouterChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether its traffic flows.
    pub admin_state_up: Option<bool>,
    /// Its gateway; `Some(None)` removes it.
    pub gateway: Option<Option<GatewayAsk>>,
    /// Its routes, all of them.
    pub routes: Option<Vec<HostRoute>>,
    /// Whether floating IPs are translated on the host of their server.
    pub distributed: Option<bool>,
    /// Whether the gateway has standby hosts.
    pub ha: Option<bool>,
}

/// Changes a router.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, change: RouterChange) -> Result<()> {
    let router = txn.changeable::<Router>(caller, &id)?;
    let admin_state_up = change.admin_state_up.unwrap_or(router.admin_state_up);
    let changes = [
        (change.distributed, router.distributed, Action::RouterDistributed),
        (change.ha, router.ha, Action::RouterHa),
    ];
    for (new, old, action) in changes {
        let Some(new) = new else { continue };
        policy::check(caller, action, None)?;
        if new != old && admin_state_up {
            return Err(routing::bad(format!(
                "Cannot change ha or distributed of active router {id}. Please set router admin_state_up to False first."
            )));
        }
    }
    txn.update::<Router>(&id, |r| {
        r.name = change.name.unwrap_or(std::mem::take(&mut r.name));
        r.description = change.description.unwrap_or(std::mem::take(&mut r.description));
        r.admin_state_up = admin_state_up;
        r.distributed = change.distributed.unwrap_or(r.distributed);
        r.ha = change.ha.unwrap_or(r.ha);
        r.revision += 1;
    });
    match &change.gateway {
        Some(Some(ask)) => set_gateway(txn, caller, id, ask)?,
        Some(None) => clear_gateway(txn, id)?,
        None => {}
    }
    match change.routes {
        Some(routes) => set_routes(txn, id, routes),
        None => routing::check_routes(txn, id),
    }
}

/// Adds routes to a router; its other routes stay.
pub fn add_routes(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, more: Vec<HostRoute>) -> Result<()> {
    let router = txn.changeable::<Router>(caller, &id)?;
    let mut routes = router.routes.clone();
    for route in more {
        if !routes.contains(&route) {
            routes.push(route);
        }
    }
    txn.update::<Router>(&id, |r| r.revision += 1);
    set_routes(txn, id, routes)
}

/// Removes routes from a router; unknown routes are ignored.
pub fn remove_routes(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, less: &[HostRoute]) -> Result<()> {
    let router = txn.changeable::<Router>(caller, &id)?;
    let routes = router.routes.iter().filter(|r| !less.contains(r)).cloned().collect();
    txn.update::<Router>(&id, |r| r.revision += 1);
    set_routes(txn, id, routes)
}

fn set_routes(txn: &mut Txn<'_>, id: RouterId, mut routes: Vec<HostRoute>) -> Result<()> {
    if routes.len() > ROUTES_MAX {
        let why = format!(
            "Unable to complete operation for {id}. The number of routes exceeds the maximum {ROUTES_MAX}."
        );
        return Err(Error::invalid(why).coded("RoutesExhausted"));
    }
    routes.iter_mut().for_each(|r| r.destination = r.destination.trunc());
    if let Some((_, twice)) = routes.iter().enumerate().find(|(at, r)| routes[..*at].contains(r)) {
        return Err(routing::invalid_route(twice, "it is there twice"));
    }
    txn.update::<Router>(&id, |r| r.routes = routes);
    routing::check_routes(txn, id)
}

/// Removes a router that has no legs in tenants' networks.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: RouterId) -> Result<()> {
    txn.changeable::<Router>(caller, &id)?;
    if txn.interfaces_of_router(id).next().is_some() {
        let why = format!("Router {id} still has ports. Remove its interfaces first.");
        return Err(Error::conflict(why).coded("RouterInUse"));
    }
    clear_gateway(txn, id)?;
    txn.delete::<Router>(&id);
    Ok(())
}
