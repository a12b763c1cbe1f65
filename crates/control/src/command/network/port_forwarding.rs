//! Port forwardings: their creation, change and removal.

use crate::{command::network::routing, lifecycle::network::cascade};
use lenticular_model::{
    FloatingIpId, PortForwardingId, PortId, Scoped, State, Txn,
    error::{Error, Result},
    network::{
        floating_ip::FloatingIp,
        port::{FixedIp, Port},
        port_forwarding::{ForwardedProtocol, PortForwarding, PortRange},
    },
    policy::Caller,
};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// The settings of a new port forwarding.
#[derive(Debug, Clone)]
pub struct NewPortForwarding {
    /// Its floating IP.
    pub floating_ip_id: FloatingIpId,
    /// The protocol that is forwarded.
    pub protocol: ForwardedProtocol,
    /// The floating IP's ports.
    pub external: PortRange,
    /// The guest's port.
    pub internal_port_id: PortId,
    /// The address of the port; `None` for its only address.
    pub internal_address: Option<Ipv4Addr>,
    /// The guest's transport ports.
    pub internal: PortRange,
    /// For people.
    pub description: String,
}

/// The error: there is no such port forwarding.
pub fn missing(id: impl std::fmt::Display) -> Error {
    Error::not_found_text(format!("Port Forwarding {id} could not be found.")).coded("PortForwardingNotFound")
}

/// The port forwarding of this floating IP, if it exists for the caller.
pub fn visible(
    state: &State,
    caller: &Caller,
    of: FloatingIpId,
    id: PortForwardingId,
) -> Result<Arc<PortForwarding>> {
    state.visible::<FloatingIp>(caller, &of)?;
    let found = state.port_forwardings.get(&id).filter(|f| f.floating_ip_id == of);
    found.cloned().ok_or_else(|| missing(id))
}

/// Creates a port forwarding.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewPortForwarding) -> Result<PortForwardingId> {
    let floating = txn.changeable::<FloatingIp>(caller, &new.floating_ip_id)?;
    if floating.fixed.is_some() {
        let why = format!(
            "Floating IP {} is associated with a port; disassociate it to forward single ports of it.",
            floating.id
        );
        return Err(Error::conflict(why).coded("FloatingIpInUse"));
    }
    let id = PortForwardingId::from_random(txn.random());
    let internal_address = choose_address(txn, caller, new.internal_port_id, new.internal_address)?;
    let forwarding = PortForwarding {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        floating_ip_id: new.floating_ip_id,
        protocol: new.protocol,
        external: new.external,
        internal_port_id: new.internal_port_id,
        internal_address,
        internal: new.internal,
        description: new.description,
        revision: 1,
        unknown: Default::default(),
    };
    put(txn, forwarding)?;
    Ok(id)
}

fn choose_address(txn: &Txn<'_>, caller: &Caller, id: PortId, asked: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
    let port = txn.changeable::<Port>(caller, &id)?;
    let mut own = port.fixed_ips.iter().filter_map(|ip| match ip.ip_address {
        IpAddr::V4(v4) => Some(v4),
        IpAddr::V6(_) => None,
    });
    match asked {
        Some(address) => own.find(|v4| *v4 == address).ok_or_else(|| {
            routing::bad(format!("The internal_ip_address {address} is not an address of port {id}"))
        }),
        None => {
            own.next().ok_or_else(|| routing::bad(format!("Port {id} has no IPv4 address to forward to")))
        }
    }
}

/// Writes a port forwarding that fits all others, and sets the router that translates its floating IP.
fn put(txn: &mut Txn<'_>, new: PortForwarding) -> Result<()> {
    let (external, internal) = (new.external, new.internal);
    let ordered = external.first <= external.last && internal.first <= internal.last;
    if !ordered || external.first == 0 || internal.first == 0 {
        return Err(routing::bad(
            "Invalid port range: ports go from 1 to 65535, the lower one first".to_owned(),
        ));
    }
    if internal.size() != external.size() && internal.size() != 1 {
        return Err(routing::bad(
            "The internal and the external port range must have the same size".to_owned(),
        ));
    }
    let others = || {
        txn.port_forwardings_of(new.floating_ip_id).filter(|f| f.id != new.id && f.protocol == new.protocol)
    };
    let to_same = |f: &PortForwarding| {
        f.internal_port_id == new.internal_port_id && f.internal_address == new.internal_address
    };
    if others().any(|f| f.external.overlaps(external) || (to_same(f) && f.internal.overlaps(internal))) {
        let why = "Bad port_forwarding request: A duplicate port forwarding entry with same attributes already exists";
        return Err(routing::bad(why.to_owned()));
    }
    let address = IpAddr::V4(new.internal_address);
    if txn.floating_ips_of_port(new.internal_port_id).any(|f| f.fixed.is_some_and(|a| a.fixed_ip == address))
    {
        let why = format!(
            "Cannot create port forwarding to port {}: a floating IP leads to its address {address}.",
            new.internal_port_id
        );
        return Err(Error::conflict(why).coded("PortHasBindingFloatingIP"));
    }
    let floating = txn.need::<FloatingIp>(&new.floating_ip_id, || FloatingIp::missing(new.floating_ip_id))?;
    let port = txn.ports.get(&new.internal_port_id).ok_or_else(|| Port::missing(new.internal_port_id))?;
    let of = |ip: &&FixedIp| ip.ip_address == address;
    let fixed = *port.fixed_ips.iter().find(of).ok_or_else(|| Port::missing(new.internal_port_id))?;
    let router = routing::router_for(txn, floating.network_id, new.internal_port_id, &fixed)?;
    let alone = txn.port_forwardings_of(floating.id).all(|f| f.id == new.id);
    if floating.router_id.is_some_and(|r| r != router) && !alone {
        return Err(routing::bad(format!(
            "Floating IP {} is already translated by router {}; its port forwardings must all go by that one",
            floating.id,
            floating.router_id.unwrap_or_default()
        )));
    }
    txn.update::<FloatingIp>(&floating.id, |f| {
        f.router_id = Some(router);
        f.revision += 1;
    });
    revise_port(txn, new.internal_port_id);
    txn.put(new);
    Ok(())
}

/// Renews the revision of a port: its port forwardings are part of it.
fn revise_port(txn: &mut Txn<'_>, id: PortId) {
    txn.update::<Port>(&id, |p| p.revision += 1);
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct PortForwardingChange {
    /// The protocol that is forwarded.
    pub protocol: Option<ForwardedProtocol>,
    /// The floating IP's ports.
    pub external: Option<PortRange>,
    /// The guest's port.
    pub internal_port_id: Option<PortId>,
    /// The address of the port.
    pub internal_address: Option<Ipv4Addr>,
    /// The guest's transport ports.
    pub internal: Option<PortRange>,
    /// For people.
    pub description: Option<String>,
}

/// Changes a port forwarding.
pub fn update(
    txn: &mut Txn<'_>,
    caller: &Caller,
    of: FloatingIpId,
    id: PortForwardingId,
    change: PortForwardingChange,
) -> Result<()> {
    let old = visible(txn, caller, of, id)?;
    txn.changeable::<FloatingIp>(caller, &of)?;
    let mut new = PortForwarding::clone(&old);
    new.protocol = change.protocol.unwrap_or(new.protocol);
    new.external = change.external.unwrap_or(new.external);
    new.internal = change.internal.unwrap_or(new.internal);
    new.description = change.description.unwrap_or(new.description);
    if change.internal_port_id.is_some() || change.internal_address.is_some() {
        new.internal_port_id = change.internal_port_id.unwrap_or(new.internal_port_id);
        new.internal_address = choose_address(txn, caller, new.internal_port_id, change.internal_address)?;
    }
    if new.internal_port_id != old.internal_port_id {
        revise_port(txn, old.internal_port_id);
    }
    new.revision += 1;
    new.updated_at = Some(txn.now);
    put(txn, new)
}

/// Removes a port forwarding.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, of: FloatingIpId, id: PortForwardingId) -> Result<()> {
    visible(txn, caller, of, id)?;
    txn.changeable::<FloatingIp>(caller, &of)?;
    cascade::delete_port_forwarding(txn, id);
    Ok(())
}
