//! Ethernet addresses.

use serde::{Deserialize, Serialize};
use std::{fmt, net::Ipv6Addr, str::FromStr};

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// An address with the prefix of OpenStack clouds and three random bytes.
    pub fn from_random(bytes: [u8; 16]) -> Self {
        Self([0xfa, 0x16, 0x3e, bytes[0], bytes[1], bytes[2]])
    }

    /// The address as a number.
    pub(crate) fn number(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }

    /// The half of an IPv6 address that a guest forms from the Ethernet address (RFC 4291, appendix A).
    pub fn interface_id(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    /// The link-local address of the port (RFC 4291, section 2.5.6).
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from(0xfe80 << 112 | u128::from(self.interface_id()))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = crate::id::BadId;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || crate::id::BadId(text.to_owned());
        let parts: Vec<&str> = text.split([':', '-']).collect();
        let [a, b, c, d, e, f] = parts[..] else { return Err(bad()) };
        let byte = |part: &str| match part.len() {
            1 | 2 => u8::from_str_radix(part, 16).map_err(|_| bad()),
            _ => Err(bad()),
        };
        Ok(Self([byte(a)?, byte(b)?, byte(c)?, byte(d)?, byte(e)?, byte(f)?]))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
