//! Port forwardings: ports of a floating IP that lead to ports of a guest (Neutron's noun).

use crate::{FloatingIpId, PortForwardingId, PortId, record};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// The protocol that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardedProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Transport ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    /// The lowest.
    pub first: u16,
    /// The highest.
    pub last: u16,
}

impl PortRange {
    /// The number of ports.
    pub fn size(self) -> u32 {
        u32::from(self.last).saturating_sub(u32::from(self.first)) + 1
    }

    /// Whether the two have a port in common.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

record! {
    /// A port forwarding. Its floating IP's project owns it, and it is deleted with the floating IP.
    pub struct PortForwarding: PortForwardingId {
        /// Its floating IP.
        pub floating_ip_id: FloatingIpId,
        /// The protocol that is forwarded.
        pub protocol: ForwardedProtocol,
        /// The floating IP's transport ports: as many as `internal` has, or `internal` is one port.
        pub external: PortRange,
        /// The guest's port.
        pub internal_port_id: PortId,
        /// The address of that port.
        pub internal_address: Ipv4Addr,
        /// The guest's transport ports.
        pub internal: PortRange,
        /// For people.
        #[serde(default)]
        pub description: String,
        /// Grows with every change.
        #[serde(default)]
        pub revision: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_know_their_size_and_their_neighbours() {
        let range = |first, last| PortRange { first, last };
        assert_eq!(range(80, 80).size(), 1);
        assert_eq!(range(0, u16::MAX).size(), 65_536);
        assert!(range(80, 90).overlaps(range(90, 95)) && range(1, 9).overlaps(range(3, 4)));
        assert!(!range(80, 89).overlaps(range(90, 95)));
    }
}
