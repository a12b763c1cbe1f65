//! A subnet: its DHCP options for guests.

use super::{Key, RowId, network::metadata_addresses, row::Row, schema::Table};
use crate::ovsdb::Datum;
use lenticular_model::{
    State, SubnetId,
    network::{mac::Mac, network::METADATA_V4, subnet::Subnet},
};
use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
};

/// The lease time of an address, in seconds.
const LEASE_S: &str = "43200";

/// The row of a subnet's options.
pub(super) fn options_row(id: SubnetId) -> RowId {
    RowId::of(Table::DhcpOptions, Key::Subnet(id))
}

/// The rows.
pub(super) fn rows(state: &State, id: SubnetId) -> Vec<Row> {
    let Some(subnet) = state.subnets.get(&id).filter(|subnet| subnet.enable_dhcp) else { return Vec::new() };
    let row = Row::new(options_row(id))
        .noted("name", &subnet.name)
        .with_one("cidr", subnet.cidr.to_string())
        .with("options", Datum::map(options(state, subnet)));
    vec![row]
}

/// The options for its guests.
pub(super) fn options(state: &State, subnet: &Subnet) -> BTreeMap<String, String> {
    let mut options = BTreeMap::new();
    let mut put = |key: &str, value: String| options.insert(key.to_owned(), value);
    let mac = server_mac(subnet.id).to_string();
    let same_family = |ip: &&IpAddr| ip.is_ipv4() == subnet.cidr.addr().is_ipv4();
    let resolvers: Vec<&IpAddr> = subnet.dns_nameservers.iter().filter(same_family).collect();
    if !resolvers.is_empty() {
        put("dns_server", braced(resolvers));
    }
    let network = state.networks.get(&subnet.network_id);
    let domain = network.map(|network| network.dns_domain.trim_end_matches('.').to_owned());
    if let Some(domain) = domain.filter(|domain| !domain.is_empty()) {
        let key = if subnet.cidr.addr().is_ipv4() { "domain_name" } else { "domain_search" };
        put(key, format!("\"{domain}\""));
    }
    if !subnet.cidr.addr().is_ipv4() {
        put("server_id", mac);
        if subnet.ipv6_address_mode.as_deref() == Some("dhcpv6-stateless") {
            put("dhcpv6_stateless", "true".to_owned());
        }
        return options;
    }
    let gateway = match subnet.gateway {
        Some(IpAddr::V4(gateway)) => Some(gateway),
        _ => None,
    };
    put("server_id", gateway.unwrap_or(METADATA_V4).to_string());
    put("server_mac", mac);
    put("lease_time", LEASE_S.to_owned());
    if let Some(network) = network {
        put("mtu", network.mtu.to_string());
    }
    if let Some(gateway) = gateway {
        put("router", gateway.to_string());
    }
    put("classless_static_route", routes(state, subnet, gateway));
    options
}

/// Clients that get routes ignore the router option (RFC 3442), so the default route is among the routes.
fn routes(state: &State, subnet: &Subnet, gateway: Option<Ipv4Addr>) -> String {
    let metadata = metadata_addresses(state, subnet.network_id).find(|(of, _)| *of == subnet.id);
    // Without an address in the subnet, the metadata service is reached on the link itself.
    let by = metadata.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |(_, address)| address);
    let mut routes = vec![format!("{METADATA_V4}/32,{by}")];
    let own = subnet.host_routes.iter().filter(|r| r.destination.addr().is_ipv4() && r.nexthop.is_ipv4());
    routes.extend(own.map(|route| format!("{},{}", route.destination, route.nexthop)));
    routes.extend(gateway.map(|gateway| format!("0.0.0.0/0,{gateway}")));
    braced(routes)
}

fn braced(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    format!("{{{}}}", items.join(", "))
}

/// The Ethernet address of OVN's DHCP server: always the same for a subnet, and outside the guests' prefix.
fn server_mac(id: SubnetId) -> Mac {
    let [.., a, b, c, d, e] = *id.0.as_bytes();
    Mac([0x0e, a, b, c, d, e])
}
