//! The network for a project's request for `auto`. It has a subnet for each IP version with a default pool, and a
//! router if there is a default external network.

use crate::command::network::{
    network, router,
    subnet::{self, NewSubnet, Range},
};
use lenticular_model::{
    NetworkId, ProjectId, RouterId, State, SubnetId, Txn,
    error::{Error, Result},
    network::port::PortOwner,
    policy::{Caller, RoleLevel},
};
use std::collections::BTreeSet;

/// The range of the network's subnet if there is no default pool.
const RANGE: &str = "10.0.0.0/24";

/// Refuses unless the cloud has what Neutron's API requires: a default external network and a default pool.
pub fn check(state: &State) -> Result<()> {
    let refuse = |what: &str| {
        Err(Error::conflict(format!("Deployment error: {what}.")).coded("AutoAllocationFailure"))
    };
    if state.default_external_network().is_none() {
        return refuse("No default router:external network");
    }
    if [4, 6].iter().all(|version| state.default_subnet_pool(*version).is_none()) {
        return refuse("No default subnetpools defined");
    }
    Ok(())
}

/// The project's network, made if it does not exist.
pub fn ensure(txn: &mut Txn<'_>, caller: &Caller, project: ProjectId) -> Result<NetworkId> {
    if let Some(network) = txn.auto_allocated_network(project) {
        return Ok(network.id);
    }
    let id = network::put_automatic(txn, project)?;
    let pools = [4, 6].map(|version| txn.default_subnet_pool(version).map(|p| p.id));
    let mut ranges: Vec<Range> =
        pools.into_iter().flatten().map(|pool| Range::Pool { pool, cidr: None, prefixlen: None }).collect();
    if ranges.is_empty() {
        ranges.push(Range::Given(RANGE.parse().map_err(Error::internal)?));
    }
    let mut subnets: Vec<SubnetId> = Vec::new();
    for range in ranges {
        let v6 = matches!(range, Range::Pool { pool, .. } if Some(pool) == pools[1]);
        let mode = v6.then(|| "slaac".to_owned());
        let name = if v6 { "auto_allocated_subnet_v6" } else { "auto_allocated_subnet_v4" };
        let new = NewSubnet {
            name: name.to_owned(),
            ipv6_ra_mode: mode.clone(),
            ipv6_address_mode: mode,
            ..NewSubnet::of(project, id, range)
        };
        subnets.push(subnet::put(txn, new)?);
    }
    if let Some(external) = txn.default_external_network().map(|n| n.id) {
        // The cloud makes the topology with its own rights, not the caller's.
        let cloud = Caller { level: RoleLevel::Admin, ..caller.clone() };
        let router: RouterId = router::put_automatic(txn, &cloud, project, external)?;
        for subnet in subnets {
            let ask = router::InterfaceAsk { subnet_id: Some(subnet), port_id: None };
            router::add_interface(txn, &cloud, router, ask)?;
        }
    }
    Ok(id)
}

/// Removes a project's network with its router, if nothing else is on it.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, project: ProjectId) -> Result<()> {
    let missing = || {
        let why = format!("There is no auto-allocated topology for project {project}.");
        Error::not_found_text(why).coded("AutoAllocatedTopologyNotFound")
    };
    let network =
        txn.auto_allocated_network(project).filter(|n| caller.sees(n.project_id)).ok_or_else(missing)?.id;
    let subnets: Vec<SubnetId> = txn.subnets_of_network(network).map(|s| s.id).collect();
    // One router may have several legs in a network.
    let routers: BTreeSet<RouterId> = txn
        .ports_of_network(network)
        .filter(|p| p.owner() == PortOwner::RouterInterface)
        .filter_map(|p| p.device_id.parse().ok())
        .collect();
    for id in routers {
        for subnet in &subnets {
            let ask = router::InterfaceAsk { subnet_id: Some(*subnet), port_id: None };
            if txn.interfaces_of_router(id).any(|p| p.fixed_ips.iter().any(|ip| ip.subnet_id == *subnet)) {
                router::remove_interface(txn, caller, id, ask)?;
            }
        }
        if txn.interfaces_of_router(id).next().is_none() {
            router::delete(txn, caller, id)?;
        }
    }
    network::delete(txn, caller, network)
}
