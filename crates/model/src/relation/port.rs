//! Ports by device, address and Ethernet address.

use super::relations;
use crate::{
    NetworkId, PortId, ProjectId, State, SubnetId,
    network::{
        mac::Mac,
        port::{Port, PortOwner},
        port_forwarding::PortForwarding,
    },
};
use std::{net::IpAddr, sync::Arc};

relations! {
    /// The ports of a project.
    fn ports_of_project(ProjectId) -> Port = project_ports;
    /// The port forwardings that lead to a port.
    fn port_forwardings_of_port(PortId) -> PortForwarding = net.port_forwardings;
}

impl State {
    /// The ports of a device.
    pub fn ports_of_device<'s>(&'s self, device: &str) -> impl Iterator<Item = &'s Arc<Port>> + use<'s> {
        let device: Arc<str> = device.into();
        let ports = self.index.device_ports.from(device.clone());
        ports.take_while(move |(of, _)| **of == *device).filter_map(|(_, id)| self.ports.get(&id))
    }

    /// The port that has an address of a subnet.
    pub fn port_with_address(&self, subnet: SubnetId, address: IpAddr) -> Option<&Arc<Port>> {
        self.ports.get(self.index.addresses.get(&(subnet, address))?)
    }

    /// The ports with an address of a subnet in a range, in the order of the addresses.
    pub fn ports_with_addresses(
        &self,
        subnet: SubnetId,
        low: IpAddr,
        high: IpAddr,
    ) -> impl Iterator<Item = &Arc<Port>> {
        let taken = self.index.addresses.range((subnet, low)..=(subnet, high));
        taken.filter_map(|(_, port)| self.ports.get(port))
    }

    /// The addresses of a subnet, within a range, that ports have; lowest first.
    pub fn addresses_between(
        &self,
        subnet: SubnetId,
        low: IpAddr,
        high: IpAddr,
    ) -> impl DoubleEndedIterator<Item = IpAddr> + '_ {
        self.index.addresses.range((subnet, low)..=(subnet, high)).map(|((_, address), _)| *address)
    }

    /// The ports that have an address of a subnet.
    pub fn ports_of_subnet(&self, subnet: SubnetId) -> impl Iterator<Item = &Arc<Port>> {
        let from = (subnet, IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let taken = self.index.addresses.range(from..).take_while(move |((of, _), _)| *of == subnet);
        taken.filter_map(|(_, port)| self.ports.get(port))
    }

    /// The port that has an Ethernet address in a network.
    pub fn port_with_mac(&self, network: NetworkId, mac: Mac) -> Option<&Arc<Port>> {
        self.ports.get(&self.index.macs.at(network, mac.number())?)
    }

    /// Whether a port has this address in a network.
    pub fn is_address_taken(&self, network: NetworkId, address: IpAddr) -> bool {
        self.subnets_of_network(network).any(|s| self.port_with_address(s.id, address).is_some())
    }

    /// The metadata port of a network.
    pub fn metadata_port(&self, network: NetworkId) -> Option<&Arc<Port>> {
        self.ports_of_device(&Port::metadata_device(network))
            .find(|p| p.owner() == PortOwner::Metadata && p.network_id == network)
    }
}
