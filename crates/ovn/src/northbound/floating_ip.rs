//! A floating IP: an address that is translated, on its server's host if the host reaches the external network; and
//! its port forwardings.

use super::{
    Key, RowId,
    network::switch,
    qos_policy::{self, Subject},
    router,
    row::Row,
    schema::Table,
};
use crate::ovsdb::Datum;
use lenticular_model::{
    FloatingIpId, NetworkId, PortId, RouterId, State,
    network::{
        floating_ip::{Association, FloatingIp},
        mac::Mac,
        port::PortOwner,
        port_forwarding::ForwardedProtocol,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// The rows. There are none without a router's gateway in the network, because no host would answer for the
/// address.
pub(super) fn rows(state: &State, id: FloatingIpId) -> Vec<Row> {
    let Some(floating) = state.floating_ips.get(&id) else { return Vec::new() };
    let Some(router) = floating.router_id.and_then(|router| state.routers.get(&router)) else {
        return Vec::new();
    };
    let Some(gateway) = router.gateway.filter(|gateway| gateway.network_id == floating.network_id) else {
        return Vec::new();
    };
    let on_host = on_host(state, floating);
    let mut rows = match floating.fixed {
        Some(fixed) => translation(state, floating, fixed, router.id, on_host).into_iter().collect(),
        None => forwardings(state, floating, router.id),
    };
    // Packets are counted where they are translated: on the server's host, or on the gateway's host.
    let resident = match on_host {
        Some((port, _)) => port.to_string(),
        None => format!("cr-{}", router::leg_name(gateway.port_id)),
    };
    let packets = |port_side: &str, ip_side: &str| {
        let (gateway, address) = (gateway.port_id, floating.address);
        format!(
            "{port_side} == \"{gateway}\" && ip4.{ip_side} == {address} && is_chassis_resident(\"{resident}\")"
        )
    };
    let (policy, priority) = (floating.qos_policy_id, qos_policy::OF_FLOATING_IP);
    let of = Subject { key: Key::FloatingIp(id), network: floating.network_id, policy, priority, packets };
    rows.extend(qos_policy::rows(state, &of));
    rows
}

/// The guest's port and the Ethernet address that answers there, if the address is translated on the guest's host.
fn on_host(state: &State, floating: &FloatingIp) -> Option<(PortId, Mac)> {
    let port = state.ports.get(&floating.fixed?.port_id)?;
    Some((port.id, floating.mac_on(state, port.host_id?)?))
}

fn translation(
    state: &State,
    floating: &FloatingIp,
    fixed: Association,
    router: RouterId,
    on_host: Option<(PortId, Mac)>,
) -> Option<Row> {
    state.ports.get(&fixed.port_id)?;
    let row = Row::new(RowId::of(Table::Nat, Key::FloatingIp(floating.id)))
        .with_one("type", "dnat_and_snat")
        .with_one("external_ip", floating.address.to_string())
        .with_one("logical_ip", fixed.fixed_ip.to_string())
        .inside(router::row_id(router), "nat");
    Some(match on_host {
        Some((port, mac)) => {
            row.with_one("logical_port", port.to_string()).with_one("external_mac", mac.to_string())
        }
        None => row,
    })
}

/// The router forwards packets from outside. The switch of each of its networks forwards packets of the network's
/// guests.
fn forwardings(state: &State, floating: &FloatingIp, router: RouterId) -> Vec<Row> {
    let mut by_protocol: BTreeMap<ForwardedProtocol, BTreeMap<String, String>> = BTreeMap::new();
    for forwarding in state.port_forwardings_of(floating.id) {
        let vips = by_protocol.entry(forwarding.protocol).or_default();
        for (n, outer) in (forwarding.external.first..=forwarding.external.last).enumerate() {
            let step = u16::try_from(n).unwrap_or(u16::MAX);
            let inner = forwarding.internal.first.saturating_add(step).min(forwarding.internal.last);
            let from = match floating.address {
                IpAddr::V4(address) => format!("{address}:{outer}"),
                IpAddr::V6(address) => format!("[{address}]:{outer}"),
            };
            vips.insert(from, format!("{}:{inner}", forwarding.internal_address));
        }
    }
    let inner = state.ports_of_router(router).filter(|leg| leg.owner() == PortOwner::RouterInterface);
    let switches: BTreeSet<NetworkId> =
        inner.map(|leg| leg.network_id).filter(|id| state.networks.contains_key(id)).collect();
    let rows = by_protocol.into_iter().map(|(protocol, vips)| {
        let name = match protocol {
            ForwardedProtocol::Tcp => "tcp",
            ForwardedProtocol::Udp => "udp",
        };
        let row = Row::new(RowId::part(Table::LoadBalancer, Key::FloatingIp(floating.id), name))
            .with_one("name", format!("floating-{}-{name}", floating.id))
            .with_one("protocol", name)
            .with("vips", Datum::map(vips))
            .inside(router::row_id(router), "load_balancer");
        switches.iter().fold(row, |row, id| row.inside(switch(*id), "load_balancer"))
    });
    rows.collect()
}
