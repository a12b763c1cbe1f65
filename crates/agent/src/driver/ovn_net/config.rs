//! The configuration of a host's switch.

use ipnet::IpNet;
use std::{net::IpAddr, path::PathBuf, str::FromStr};

/// How a host takes part in OVN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OvnConfig {
    /// The southbound database (`ssl:ADDRESS:PORT`, `unix:PATH`; several with commas).
    pub southbound: String,
    /// The CA of the southbound database's certificate (PEM); by default the cloud's CA.
    pub southbound_ca: Option<PathBuf>,
    /// The end of other hosts' tunnels: an address of this host.
    pub encap_ip: IpAddr,
    /// The device for tunnels and its address, if the switch and not the kernel should have the device.
    pub underlay: Option<(String, IpNet)>,
    /// The physical networks that the host reaches.
    pub physical: Vec<Physical>,
}

/// A physical network that a host reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Physical {
    /// Its name, as networks of the cloud name it.
    pub name: String,
    /// The device of the network; none if the network ends at this host.
    pub device: Option<String>,
    /// This host's own address in the network.
    pub address: Option<IpNet>,
}

/// A text that names no physical network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' does not name a physical network; write NAME=DEVICE, or NAME=ADDRESS/PREFIX for a network that \
     ends at this host"
)]
pub struct BadPhysical(String);

impl FromStr for Physical {
    type Err = BadPhysical;
    fn from_str(text: &str) -> Result<Self, BadPhysical> {
        let (name, by) = text
            .split_once('=')
            .filter(|(name, by)| !name.is_empty() && !by.is_empty())
            .ok_or_else(|| BadPhysical(text.to_owned()))?;
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.chars().all(fits) {
            return Err(BadPhysical(text.to_owned()));
        }
        let address: Option<IpNet> = by.parse().ok();
        if address.is_none() && !(by.chars().all(fits) && by.len() <= 15) {
            return Err(BadPhysical(text.to_owned()));
        }
        let device = address.is_none().then(|| by.to_owned());
        Ok(Self { name: name.to_owned(), device, address })
    }
}

impl OvnConfig {
    /// The end of other hosts' tunnels.
    pub(super) fn encap_ip(&self) -> String {
        self.underlay.as_ref().map_or(self.encap_ip, |(_, address)| address.addr()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn physical_networks_are_read() {
        let read = |text: &str| text.parse::<Physical>();
        assert_eq!(read("external=eth1").unwrap().device.as_deref(), Some("eth1"));
        assert_eq!(read("external=172.24.4.1/24").unwrap().address, "172.24.4.1/24".parse().ok());
        for text in ["", "x", "=eth1", "x=", "a:b=eth1", "x=a device", "x=more-than-fifteen-bytes"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
