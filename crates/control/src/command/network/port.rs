//! Ports: their creation and removal.

mod update;

use crate::{
    command::network::check,
    lifecycle::{
        network::{cascade, port_build},
        run,
    },
    quota,
};
use lenticular_model::{
    PortId, ServerId, State, Txn,
    compute::server::Wanted,
    error::{Error, Result},
    network::{
        network::Network,
        port::{Port, PortOwner},
    },
    policy::{self, Action, Caller},
};

pub use crate::lifecycle::network::{port_address::AskIp, port_build::NewPort};
pub use update::{DhcpOptionChange, MacChange, PortChange, update};

/// Creates a port.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewPort) -> Result<PortId> {
    let owner = txn.visible::<Network>(caller, &new.network_id)?;
    policy::check(caller, Action::PortWrite, Some(new.project_id))?;
    if !txn.is_shared_with(caller, &owner) {
        port_build::check_owner_only(caller, &owner, "network_id")?;
    }
    let chosen = |ips: &Option<Vec<AskIp>>| ips.iter().flatten().any(|ip| ip.address.is_some());
    let choices = [
        ("mac_address", new.mac.is_some()),
        ("fixed_ips", chosen(&new.fixed_ips)),
        ("device_owner", port_build::is_trusted(&new.device_owner)),
        ("port_security_enabled", new.port_security_enabled.is_some()),
        ("allowed_address_pairs", !new.allowed_address_pairs.is_empty()),
    ];
    port_build::check_choices(caller, &owner, &choices)?;
    port_build::check_device_owner(&new.device_owner)?;
    if !new.binding_host.is_empty() || !new.binding_profile.is_empty() {
        policy::check(caller, Action::PortBind, None)?;
    }
    check::check_dns(&new.dns_name, &new.dns_domain)?;
    for group in new.security_groups.iter().flatten() {
        check::check_security_group(txn, caller, *group, new.project_id)?;
    }
    check::check_qos_policy(txn, caller, new.qos_policy_id, None)?;
    quota::need_network(txn, new.project_id, "port")?;
    let port = port_build::build(txn, &new)?;
    let id = port.id;
    txn.put(port);
    Ok(id)
}

/// Removes a port of the caller, or on the caller's network. Its server, if any, loses an interface.
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
    check::check_not_in_trunk(txn, id)?;
    match port.server_id {
        Some(server) => {
            check_server_stays(txn, server, id)?;
            run::delete_port(txn, server, id);
        }
        None => cascade::delete_port(txn, id),
    }
    Ok(())
}

/// Refuses to delete a port of a server that is moving to another host: both hosts have orders for the port. A suspended
/// server keeps its ports, too: its memory fits only a machine with the same devices.
fn check_server_stays(state: &State, id: ServerId, port: PortId) -> Result<()> {
    let Some(server) = state.servers.get(&id).filter(|s| s.wanted != Wanted::Absent) else { return Ok(()) };
    let why = match (&server.ticket, server.wanted) {
        (Some(_), _) => "is migrating. Delete it afterwards",
        (None, Wanted::Suspended) => "is suspended. Resume the server first",
        (None, _) => return Ok(()),
    };
    let why = format!("Port {port} belongs to instance {id}, which {why}.");
    Err(Error::conflict(why).coded("PortInUse"))
}
