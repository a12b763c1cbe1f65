//! The canary: a small guest with which a host proves that it can run guests: it is built, reached, suspended, resumed
//! and removed.
//!
//! It has no image: its firmware starts a script from the metadata service, which tells the host's agent the guest's
//! clock and which other host the guest has reached. It is no server: it has no record, takes no quota, and lives for a
//! minute on a port of the probes' network.

use super::probe;
use crate::{HostId, NetworkId, PortId, ServerId, network::mac::Mac};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// What the guest asks the metadata service for.
pub const SCRIPT: &str = "/lenticular/v1/canary";
/// The metadata service's address in the probes' network: the way to its well-known address.
pub const METADATA: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 2);
/// How long a proof is good, in seconds. It closes nothing that it is older: the host could not be asked.
pub const GOOD_FOR_S: i64 = 7 * 86_400;
/// After so long a host proves itself again, in seconds. Each host's own time differs by up to a fifth.
const RENEWED_AFTER_S: i64 = GOOD_FOR_S / 3;
/// A host that failed is tried again after so long, in seconds.
pub const RETRIED_AFTER_S: i64 = 600;
/// A host that does not say how its canary ended is not waited for any longer, in seconds.
pub const ENDS_WITHIN_S: i64 = 300;
/// The bit of the canary's address that its host's own probe port does not have.
const HALF: u32 = 1 << (31 - probe::PREFIX);

/// The order to prove that the host can run a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CanaryOrder {
    /// Counts the orders. If it is higher than the last one that the agent carried out, it runs a canary.
    pub number: u64,
    /// The guest's id on the host.
    pub server_id: ServerId,
    /// The guest's port in OVN.
    pub port_id: PortId,
    /// The port's Ethernet address.
    pub mac: Mac,
    /// The port's address.
    pub address: Ipv4Addr,
}

/// The network of the hosts' probe ports and of their canaries.
pub fn network_id() -> NetworkId {
    NetworkId::from_random(*b"lenticular-probe")
}

/// How many of a zone's hosts changes may leave without a proof: one in ten, and at least one.
pub fn void_at_once(hosts: usize) -> usize {
    (hosts / 10).max(1)
}

/// The port of a host's canary.
pub fn port_id(host: HostId) -> PortId {
    PortId::from_random(host.0.into_bytes())
}

/// The addresses of the canary of the host with this number; `None` beyond the network's range.
pub fn addresses(number: u64) -> Option<(Mac, Ipv4Addr)> {
    let (Mac([a, b, _, d, e, f]), own) = probe::addresses(number)?;
    Some((Mac([a, b, 2, d, e, f]), Ipv4Addr::from_bits(own.to_bits() | HALF)))
}

/// The order with this number for a host; `None` if the host's own number is beyond the network's range.
pub fn order(host: HostId, host_number: u64, number: u64) -> Option<CanaryOrder> {
    let (mac, address) = addresses(host_number)?;
    let server_id = ServerId::from_random(host.0.into_bytes());
    Some(CanaryOrder { number, server_id, port_id: port_id(host), mac, address })
}

/// How many hosts of a zone with so many hosts may run a canary at once: after a power cut, all must prove themselves
/// within the hour.
pub fn at_once(hosts: usize) -> usize {
    (hosts / 20).max(2)
}

/// How long this host's proof is fresh, in seconds.
pub fn renewed_after_s(host: HostId) -> i64 {
    let [a, b, ..] = host.0.into_bytes();
    let tenths = i64::from(u16::from_be_bytes([a, b]) % 401) - 200;
    RENEWED_AFTER_S + RENEWED_AFTER_S * tenths / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canaries_and_hosts_never_share_an_address() {
        for number in [0, 1, 2, 254, 255, 65_535, (1 << 21) - 5] {
            let (own, canary) = (probe::addresses(number).unwrap(), addresses(number).unwrap());
            assert!(own.1.octets()[1] < 96 && canary.1.octets()[1] >= 96, "{own:?} {canary:?}");
            assert!(own.1 > METADATA && own.0 != canary.0);
        }
        assert_eq!(addresses(1 << 21), None);
    }

    #[test]
    fn proofs_are_renewed_at_different_times() {
        for seed in 0..=255 {
            let hours = renewed_after_s(HostId::from_random([seed; 16])) / 3_600;
            assert!((44..=68).contains(&hours), "{hours}");
        }
    }
}
