//! The purge of a project: an administrator removes the project's resources, each by the command of its noun.

use crate::command::{
    compute::{server, server_group},
    identity::thing::Thing,
    image,
    network::{
        address_group, address_scope, floating_ip, network, port, qos_policy, router, security_group, subnet,
        subnet_pool, trunk,
    },
};
use lenticular_model::{
    RouterId, Scoped, Txn,
    error::Result,
    image::Image,
    network::{
        port::{Port, PortOwner},
        router::Router,
    },
    policy::{self, Action, Caller},
};

/// Removes one resource of a project, with its dependents. For a server, it only orders the deletion.
///
/// # Errors
/// The caller is no administrator, or something of another project depends on the resource.
pub fn purge(txn: &mut Txn<'_>, caller: &Caller, thing: Thing) -> Result<()> {
    policy::check(caller, Action::ProjectPurge, None)?;
    match thing {
        Thing::Server(id) => server::delete(txn, caller, id),
        Thing::ServerGroup(id) => server_group::delete(txn, caller, id),
        Thing::FloatingIp(id) => floating_ip::delete(txn, caller, id),
        Thing::Trunk(id) => {
            let enabled = trunk::TrunkChange { admin_state_up: Some(true), ..Default::default() };
            trunk::update(txn, caller, id, enabled)?;
            trunk::delete(txn, caller, id)
        }
        Thing::Router(id) => purge_router(txn, caller, id),
        Thing::Port(id) => {
            match txn.ports.get(&id).filter(|p| p.owner() == PortOwner::RouterInterface).cloned() {
                Some(leg) => remove_leg(txn, caller, &leg),
                None => port::delete(txn, caller, id),
            }
        }
        Thing::Subnet(id) => subnet::delete(txn, caller, id),
        Thing::Network(id) => network::delete(txn, caller, id),
        Thing::SubnetPool(id) => subnet_pool::delete(txn, caller, id),
        Thing::AddressScope(id) => address_scope::delete(txn, caller, id),
        Thing::SecurityGroup(id) => security_group::delete(txn, caller, id),
        Thing::AddressGroup(id) => address_group::delete(txn, caller, id),
        Thing::QosPolicy(id) => qos_policy::delete(txn, caller, id),
        Thing::Image(id) => {
            txn.update::<Image>(&id, |image| image.protected = false);
            image::delete(txn, caller, id).map(drop)
        }
    }
}

fn purge_router(txn: &mut Txn<'_>, caller: &Caller, id: RouterId) -> Result<()> {
    let bare = router::RouterChange { routes: Some(Vec::new()), ..Default::default() };
    router::update(txn, caller, id, bare)?;
    let legs: Vec<_> = txn.interfaces_of_router(id).cloned().collect();
    legs.iter().try_for_each(|leg| remove_leg(txn, caller, leg))?;
    router::delete(txn, caller, id)
}

fn remove_leg(txn: &mut Txn<'_>, caller: &Caller, leg: &Port) -> Result<()> {
    let router = leg.device_id.parse().map_err(|_| Router::missing(&leg.device_id))?;
    let ask = router::InterfaceAsk { subnet_id: None, port_id: Some(leg.id) };
    router::remove_interface(txn, caller, router, ask).map(drop)
}
