//! Sizes of packets, in bytes with their IP headers.

/// The largest packet on networks between hosts: Ethernet's 1500 without the tunnel's header.
pub const TUNNELED: u32 = 1442;

/// The smallest MTU of a network with IPv6 (RFC 8200, section 5).
pub const IPV6_MIN: u32 = 1280;
