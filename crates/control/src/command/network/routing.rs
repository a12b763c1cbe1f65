//! The consistency of routers, their legs, their routes and floating IPs. Several commands share these checks.

use lenticular_model::{
    NetworkId, PortId, RouterId, Scoped, State, SubnetId,
    error::{Error, Result},
    network::{
        port::{FixedIp, PortOwner},
        router::Router,
        subnet::{HostRoute, Subnet, overlap},
    },
};
use std::{net::IpAddr, sync::Arc};

/// The subnets in which a router has legs, its gateway included.
fn connected(state: &State, id: RouterId) -> Vec<(Arc<Subnet>, IpAddr)> {
    let legs = state.interfaces_of_router(id).chain(state.gateways_of_router(id));
    let addresses = legs.flat_map(|p| p.fixed_ips.iter());
    addresses.filter_map(|ip| Some((state.subnets.get(&ip.subnet_id)?.clone(), ip.ip_address))).collect()
}

/// Refuses networks that overlap: the router could not choose between them.
pub(crate) fn check_disjoint(state: &State, id: RouterId) -> Result<()> {
    let mut subnets: Vec<Arc<Subnet>> = connected(state, id).into_iter().map(|(s, _)| s).collect();
    subnets.sort_by_key(|s| s.id);
    if let Some(twice) = subnets.windows(2).find(|pair| pair[0].id == pair[1].id) {
        let own = state.gateways_of_router(id).flat_map(|p| p.fixed_ips.iter());
        // A router may have several outer addresses in one subnet.
        if own.filter(|ip| ip.subnet_id == twice[0].id).count() < 2 {
            return Err(bad(format!("Router already has a port on subnet {}.", twice[0].id)));
        }
    }
    subnets.dedup_by_key(|s| s.id);
    for (at, one) in subnets.iter().enumerate() {
        if let Some(other) = subnets[..at].iter().find(|other| overlap(&one.cidr, &other.cidr)) {
            return Err(bad(format!(
                "Cidr {} of subnet {} overlaps with cidr {} of subnet {}.",
                one.cidr, one.id, other.cidr, other.id
            )));
        }
    }
    Ok(())
}

/// The refusal of a route.
pub(crate) fn invalid_route(route: &HostRoute, why: &str) -> Error {
    let text = format!("Invalid format for routes: {} via {}, {why}.", route.destination, route.nexthop);
    Error::invalid(text).coded("InvalidRoutes")
}

/// Refuses a route whose next hop is not an address of another machine in a network where the router has a leg.
pub(crate) fn check_routes(state: &State, id: RouterId) -> Result<()> {
    let Some(router) = state.routers.get(&id) else { return Ok(()) };
    let legs = connected(state, id);
    for route in &router.routes {
        if route.destination.addr().is_ipv4() != route.nexthop.is_ipv4() {
            return Err(invalid_route(route, "the two are of different IP versions"));
        }
        if !legs.iter().any(|(subnet, _)| subnet.cidr.contains(&route.nexthop)) {
            return Err(invalid_route(route, "the nexthop is not connected with router"));
        }
        if legs.iter().any(|(_, own)| *own == route.nexthop) {
            return Err(invalid_route(route, "the nexthop is used by router"));
        }
    }
    Ok(())
}

/// Refuses a leg with addresses that a router cannot have; other ports pass.
pub(crate) fn check_leg(state: &State, id: PortId) -> Result<()> {
    let Some(port) = state.ports.get(&id) else { return Ok(()) };
    if port.owner() != PortOwner::RouterInterface {
        return Ok(());
    }
    let Ok(router) = port.device_id.parse::<RouterId>() else { return Err(Router::missing(&port.device_id)) };
    let v4 = port.fixed_ips.iter().filter(|ip| ip.ip_address.is_ipv4()).count();
    if port.fixed_ips.is_empty() {
        return Err(bad("Router port must have at least one fixed IP".to_owned()));
    }
    if v4 > 1 {
        return Err(bad("Cannot have multiple IPv4 subnets on router port".to_owned()));
    }
    check_disjoint(state, router)?;
    check_routes(state, router)?;
    check_router(state, router)
}

/// The addresses of guests that a floating IP of this router leads to.
fn reached(state: &State, id: RouterId) -> Vec<FixedIp> {
    let of = |port: PortId, address: IpAddr| {
        state.ports.get(&port)?.fixed_ips.iter().find(|ip| ip.ip_address == address).copied()
    };
    let mut all = Vec::new();
    for floating in state.floating_ips_of_router(id) {
        all.extend(floating.fixed.and_then(|a| of(a.port_id, a.fixed_ip)));
        let forwardings = state.port_forwardings_of(floating.id);
        all.extend(forwardings.filter_map(|f| of(f.internal_port_id, f.internal_address.into())));
    }
    all
}

/// Whether a floating IP of the router leads into a subnet.
pub(crate) fn needs_leg(state: &State, id: RouterId, subnet: SubnetId) -> bool {
    reached(state, id).iter().any(|ip| ip.subnet_id == subnet)
}

/// Refuses a router without a leg that its floating IPs need.
fn check_router(state: &State, id: RouterId) -> Result<()> {
    let legs: Vec<SubnetId> =
        state.interfaces_of_router(id).flat_map(|p| p.fixed_ips.iter().map(|ip| ip.subnet_id)).collect();
    match reached(state, id).iter().find(|ip| !legs.contains(&ip.subnet_id)) {
        Some(ip) => {
            let why = format!(
                "Router interface for subnet {} on router {id} cannot be deleted, as it is required by one or more \
                 floating IPs.",
                ip.subnet_id
            );
            Err(Error::conflict(why).coded("RouterInterfaceInUseByFloatingIP"))
        }
        None => Ok(()),
    }
}

/// The router that connects an external network with an address of a subnet.
fn reaching(state: &State, external: NetworkId, subnet: &Subnet) -> Option<RouterId> {
    let routers = state.routers_with_gateway_in(external).map(|router| router.id);
    let leg = |id: &RouterId| {
        state
            .interfaces_of_router(*id)
            .flat_map(|p| p.fixed_ips.iter())
            .find(|ip| ip.subnet_id == subnet.id)
            .map(|ip| ip.ip_address)
    };
    let mut found: Vec<(RouterId, IpAddr)> = routers.filter_map(|id| Some((id, leg(&id)?))).collect();
    // Guests send through the subnet's gateway, so the router with the gateway's address comes first.
    found.sort_by_key(|(id, address)| (Some(*address) != subnet.gateway, *id));
    found.first().map(|(id, _)| *id)
}

/// The router that connects an address of a port with an external network.
pub(crate) fn router_for(
    state: &State,
    external: NetworkId,
    port: PortId,
    fixed: &FixedIp,
) -> Result<RouterId> {
    let subnet = state.subnets.get(&fixed.subnet_id).ok_or_else(|| Subnet::missing(fixed.subnet_id))?;
    reaching(state, external, subnet).ok_or_else(|| {
        let why = format!(
            "External network {external} is not reachable from subnet {}.  Therefore, cannot associate Port {port} \
             with a Floating IP.",
            subnet.id
        );
        Error::not_found_text(why).coded("ExternalGatewayForFloatingIPNotFound")
    })
}

/// A request that contradicts itself or the present state, as Neutron's routers refuse it.
pub(crate) fn bad(why: String) -> Error {
    Error::invalid(why).coded("BadRequest")
}
