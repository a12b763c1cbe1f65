//! The source of rows: one record of State, or nothing but the cloud itself.

use lenticular_model::{
    AddressGroupId, FloatingIpId, HostId, NetworkId, PortId, RouterId, SecurityGroupId, SubnetId,
};
use std::{fmt, str::FromStr};

/// A key. Keys are ordered so that each comes after the keys that its rows refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The rows for all filtered ports.
    Filter,
    /// The network of the hosts' probe ports.
    ProbeNetwork,
    /// A network.
    Network(NetworkId),
    /// A subnet.
    Subnet(SubnetId),
    /// An address group.
    AddressGroup(AddressGroupId),
    /// A security group with its rules.
    SecurityGroup(SecurityGroupId),
    /// A router.
    Router(RouterId),
    /// A port.
    Port(PortId),
    /// A floating IP with its port forwardings.
    FloatingIp(FloatingIpId),
    /// A host's probe port.
    Probe(HostId),
}

/// The error: a text is no key of this version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a key of northbound rows")]
pub struct BadKey(pub String);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Filter => f.write_str("filter"),
            Self::ProbeNetwork => f.write_str("probes"),
            Self::Network(id) => write!(f, "network/{id}"),
            Self::Subnet(id) => write!(f, "subnet/{id}"),
            Self::AddressGroup(id) => write!(f, "address_group/{id}"),
            Self::SecurityGroup(id) => write!(f, "security_group/{id}"),
            Self::Router(id) => write!(f, "router/{id}"),
            Self::Port(id) => write!(f, "port/{id}"),
            Self::FloatingIp(id) => write!(f, "floating_ip/{id}"),
            Self::Probe(id) => write!(f, "probe/{id}"),
        }
    }
}

impl FromStr for Key {
    type Err = BadKey;
    fn from_str(text: &str) -> Result<Self, BadKey> {
        let bad = || BadKey(text.to_owned());
        let (noun, id) = text.split_once('/').unwrap_or((text, ""));
        fn read<I: FromStr>(id: &str) -> Option<I> {
            // Only the written spelling is accepted: another spelling would be another row's id.
            (id.len() == 36).then(|| id.parse().ok()).flatten()
        }
        match noun {
            "filter" if id.is_empty() => Some(Self::Filter),
            "probes" if id.is_empty() => Some(Self::ProbeNetwork),
            "network" => read(id).map(Self::Network),
            "subnet" => read(id).map(Self::Subnet),
            "address_group" => read(id).map(Self::AddressGroup),
            "security_group" => read(id).map(Self::SecurityGroup),
            "router" => read(id).map(Self::Router),
            "port" => read(id).map(Self::Port),
            "floating_ip" => read(id).map(Self::FloatingIp),
            "probe" => read(id).map(Self::Probe),
            _ => None,
        }
        .ok_or_else(bad)
    }
}

impl Key {
    /// The key of a row's id.
    ///
    /// # Errors
    /// The id is no key of this version.
    pub fn of_row(id: &str) -> Result<Self, BadKey> {
        // Keys without a record are one word.
        let words = usize::from(id.split('/').next().is_none_or(|noun| !matches!(noun, "filter" | "probes")));
        let end = id.match_indices('/').nth(words).map(|(at, _)| at);
        id[..end.unwrap_or(id.len())].parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_from_the_ids_of_their_rows() {
        let keys = [
            Key::Filter,
            Key::ProbeNetwork,
            Key::Probe(HostId::from_random([4; 16])),
            Key::Network(NetworkId::from_random([1; 16])),
            Key::SecurityGroup(SecurityGroupId::from_random([2; 16])),
            Key::FloatingIp(FloatingIpId::from_random([3; 16])),
        ];
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
            assert_eq!(Key::of_row(&format!("{key}/more/of/it")), Ok(key));
            assert_eq!(Key::of_row(&key.to_string()), Ok(key));
        }
        for text in ["", "port", "port/", "port/x", "filter2", "planet/1"] {
            assert!(Key::of_row(text).is_err(), "{text}");
        }
    }
}
