//! Probes: hosts ask each other whether their guests could reach each other, whatever guests there are.
//!
//! A guest's own port proves little about the way to it, because OVN answers ARP in the guest's place. So each host on
//! OVN has a probe port in a network that only hosts have, and pings from there.
//!
//! ```text
//!  host A                                             host B
//!  probe port ── br-int ═══════ tunnel ═══════ br-int ── probe port
//!                  │
//!               router: an address that each host's br-int answers itself
//! ```
//!
//! Each host asks the next few hosts in the order of their ids, and the last ones ask the first. So every host is asked
//! by as many as it asks, and few hosts are told when one comes or goes.

use crate::{HostId, network::mac::Mac};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The address of the router, which each host's switch answers itself. The network is apart from all others, so its
/// range can be in use elsewhere.
pub const ROUTER: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);
/// The length of the network's prefix in bits.
pub const PREFIX: u8 = 10;
/// How many other hosts a host asks.
pub const PEERS: usize = 5;

/// The order to a host to ask whether others answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOrder {
    /// The name of the host's probe port in OVN.
    pub port: String,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// The port's address.
    pub address: Ipv4Addr,
    /// The hosts to ask.
    #[serde(default)]
    pub peers: Vec<ProbePeer>,
    /// True if one project has all servers of the cloud: then guests of one project that fall silent together say
    /// something about their host.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lone_project: bool,
}

/// A host to ask.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbePeer {
    /// Its name.
    pub host: String,
    /// The address of its probe port.
    pub address: Ipv4Addr,
}

/// The router's Ethernet address.
pub fn router_mac() -> Mac {
    Mac([0x0a, 0x6c, 0, 0, 0, 1])
}

/// The name of a host's probe port in OVN.
pub fn port_name(host: HostId) -> String {
    format!("probe-{host}")
}

/// The Ethernet address and the address of the probe port of the host with this number; `None` beyond the network's range.
pub fn addresses(number: u64) -> Option<(Mac, Ipv4Addr)> {
    // The addresses of the network, of the router and of the metadata service come before the hosts', and canaries have
    // the upper half.
    let number = number.saturating_add(3);
    let range = u32::MAX >> PREFIX;
    let low = u32::try_from(number).ok().filter(|low| *low < range >> 1)?;
    let [_, a, b, c] = low.to_be_bytes();
    Some((Mac([0x0a, 0x6c, 1, a, b, c]), Ipv4Addr::from_bits(ROUTER.to_bits() & !range | low)))
}
