//! Announces in the physical networks that a guest's floating IPs are on this host now. OVN announces them, too,
//! but only a second after it has moved them. Until then, packets would go to the guest's earlier host.

use super::switch::{INTEGRATION, Switch, bridge_of, run};
use crate::core::Failure;
use lenticular_model::network::{mac::Mac, network::physical_port};
use lenticular_wire::{agent::FloatingSpec, hex};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

/// The pauses between announcements: an early or lost announcement is soon repeated.
const PAUSES: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(300)];

/// Sends the announcement several times.
///
/// # Errors
/// The switch does not accept it. Then the outside only takes longer to find the guest.
pub(super) async fn announce(switch: &Switch, floating: &[FloatingSpec]) -> Result<(), Failure> {
    let mut all = Vec::new();
    for of in floating {
        let IpAddr::V4(address) = of.address else { continue };
        // The network's end of the way to the guests: the switches that see the packet learn the way back.
        let patch = format!("patch-{}-to-{INTEGRATION}", physical_port(of.network_id));
        let port = switch.vsctl(&["get", "Interface", &patch, "ofport"]).await?;
        let socket = switch.dir.join(format!("{}.mgmt", bridge_of(&of.physical_network)));
        let packet = hex(&gratuitous_arp(of.mac, of.vlan, address));
        let flow = format!("in_port={} packet={packet} actions=NORMAL", port.trim());
        all.push((format!("unix:{}", socket.display()), flow));
    }
    for pause in std::iter::once(Duration::ZERO).chain(PAUSES) {
        tokio::time::sleep(pause).await;
        for (bridge, flow) in &all {
            run("ovs-ofctl", &["packet-out", bridge, flow]).await?;
        }
    }
    Ok(())
}

/// An ARP request of an address for itself (RFC 5227, section 3), as a broadcast.
fn gratuitous_arp(mac: Mac, vlan: Option<u32>, address: Ipv4Addr) -> Vec<u8> {
    let mut packet = [[0xff; 6], mac.0].concat();
    if let Some(vlan) = vlan {
        packet.extend([0x81, 0x00]);
        // The low twelve bits; the other bits are the priority.
        packet.extend(&(vlan & 0xfff).to_be_bytes()[2..]);
    }
    packet.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
    packet.extend(mac.0);
    packet.extend(address.octets());
    packet.extend([0; 6]);
    packet.extend(address.octets());
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_asks_for_itself() {
        let mac = "fa:16:3e:00:00:01".parse().unwrap();
        let plain = hex(&gratuitous_arp(mac, None, Ipv4Addr::new(172, 24, 4, 10)));
        let arp = "08060001080006040001fa163e000001ac18040a000000000000ac18040a";
        assert_eq!(plain, format!("fffffffffffffa163e000001{arp}"));
        let tagged = hex(&gratuitous_arp(mac, Some(100), Ipv4Addr::new(172, 24, 4, 10)));
        assert_eq!(tagged, format!("fffffffffffffa163e00000181000064{arp}"));
    }
}
