//! The metadata service: guests ask this host for their metadata, and the host answers from its assignments. The
//! service goes on while the control plane is away.
//!
//! The request's network and its source address identify the guest: OVN stops other guests from sending under
//! that address. Nothing in the request itself counts.

mod canary;
mod documents;
mod serve;

pub(crate) use serve::serve;

use crate::{driver::Beat, link::Call};
use ipnet::IpNet;
use lenticular_model::{Lock, NetworkId, ServerId};
use lenticular_wire::agent::{GuestSpec, PortSpec};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{
        Arc, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::watch;

/// The noted specification of a guest on this host.
#[derive(Debug, Clone)]
pub(crate) struct Noted {
    guest: Arc<GuestSpec>,
}

impl Noted {
    pub(crate) fn new(guest: GuestSpec) -> Self {
        Self { guest: Arc::new(guest) }
    }
}

/// Passes on a password that a guest has posted.
pub(crate) type HandOn = Box<dyn Fn(ServerId, String) -> Call<'static, ()> + Send + Sync>;

/// The guests that are plugged on this host.
pub(crate) struct Guests {
    /// The directory of guests' files, with data that was fetched for their start.
    dir: PathBuf,
    hand_on: HandOn,
    all: Lock<BTreeMap<ServerId, Noted>>,
    /// What the host's canary said last, and how often it was started.
    beat: watch::Sender<Option<Beat>>,
    canary_starts: AtomicU64,
    /// The probe ports of other hosts that the canary shall reach.
    peers: Lock<Vec<Ipv4Addr>>,
}

/// The asking guest.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    server: ServerId,
    guest: Arc<GuestSpec>,
    address: IpAddr,
}

impl Guests {
    pub(crate) fn new(state_dir: &Path, hand_on: HandOn) -> Self {
        let (beat, canary_starts) = (watch::channel(None).0, AtomicU64::new(0));
        let dir = state_dir.join("guests");
        Self { dir, hand_on, all: Lock::default(), beat, canary_starts, peers: Lock::default() }
    }

    /// What the host's canary says.
    pub(crate) fn beats(&self) -> watch::Receiver<Option<Beat>> {
        self.beat.subscribe()
    }

    fn canary_starts(&self) {
        self.canary_starts.fetch_add(1, Ordering::Relaxed);
    }

    fn canary_says(&self, clock_s: i64, reached: Option<Ipv4Addr>) {
        let starts = self.canary_starts.load(Ordering::Relaxed);
        self.beat.send_replace(Some(Beat { clock_s, reached, starts }));
    }

    fn peers(&self) -> Vec<Ipv4Addr> {
        self.peers.lock().clone()
    }

    pub(crate) fn set_peers(&self, peers: Vec<Ipv4Addr>) {
        *self.peers.lock() = peers;
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ServerId, Noted>> {
        self.all.lock()
    }

    pub(crate) fn put(&self, server: ServerId, noted: Noted) {
        self.lock().insert(server, noted);
    }

    pub(crate) fn remove(&self, server: ServerId) {
        self.lock().remove(&server);
    }

    pub(crate) fn knows(&self, server: ServerId) -> bool {
        self.lock().contains_key(&server)
    }

    /// The ports of a noted guest.
    pub(crate) fn ports_of(&self, server: ServerId) -> Vec<PortSpec> {
        self.lock().get(&server).map(|noted| noted.guest.ports.clone()).unwrap_or_default()
    }

    /// The guests' networks, with the ranges of the guests' addresses.
    pub(crate) fn networks(&self) -> BTreeMap<NetworkId, BTreeSet<IpNet>> {
        let mut networks: BTreeMap<NetworkId, BTreeSet<IpNet>> = BTreeMap::new();
        for noted in self.lock().values() {
            for port in &noted.guest.ports {
                let ranges = port.addresses.iter().map(|address| address.cidr.trunc());
                networks.entry(port.network_id).or_default().extend(ranges);
            }
        }
        networks
    }

    /// The guest that has this address in this network.
    fn caller(&self, network: NetworkId, address: IpAddr) -> Option<Caller> {
        let address = address.to_canonical();
        let all = self.lock();
        let of = |port: &PortSpec| port.network_id == network && is_address_of(port, address);
        let (server, noted) = all.iter().find(|(_, noted)| noted.guest.ports.iter().any(of))?;
        Some(Caller { server: *server, guest: noted.guest.clone(), address })
    }

    fn dir_of(&self, server: ServerId) -> PathBuf {
        self.dir.join(server.to_string())
    }

    fn file(&self, server: ServerId, name: &str) -> PathBuf {
        self.dir_of(server).join(name)
    }
}

/// Whether the address is one of the port's: OVN allows the guest no other.
fn is_address_of(port: &PortSpec, address: IpAddr) -> bool {
    port.addresses.iter().any(|known| known.address == address)
        || address == IpAddr::V6(port.mac.link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::{PortId, SubnetId};
    use lenticular_wire::agent::AddressSpec;

    pub(super) fn guests(dir: &Path, hand_on: HandOn) -> (Guests, NetworkId, ServerId) {
        let guests = Guests::new(dir, hand_on);
        let network = NetworkId::from_random([2; 16]);
        let server = crate::testing::server(1);
        let mut guest = crate::testing::assignment(1).guest;
        guest.ports = vec![PortSpec {
            tag: None,
            slot: 0,
            port_id: PortId::from_random([1; 16]),
            network_id: network,
            mac: "fa:16:3e:00:00:01".parse().unwrap(),
            mtu: 1442,
            addresses: vec![AddressSpec {
                subnet_id: SubnetId::from_random([4; 16]),
                address: "10.5.0.7".parse().unwrap(),
                cidr: "10.5.0.0/24".parse().unwrap(),
                gateway: None,
                dhcp: true,
                ipv6_mode: None,
                dns: Vec::new(),
                routes: Vec::new(),
            }],
        }];
        guests.put(server, Noted::new(guest));
        (guests, network, server)
    }

    #[test]
    fn callers_are_known_by_network_and_address_alone() {
        let (guests, network, server) = guests(Path::new("/nowhere"), Box::new(|_, _| unreachable!()));
        let other = NetworkId::from_random([3; 16]);
        let who = |network, text: &str| guests.caller(network, text.parse().unwrap()).map(|c| c.server);
        assert_eq!(who(network, "10.5.0.7"), Some(server));
        assert_eq!(who(network, "::ffff:10.5.0.7"), Some(server));
        assert_eq!(who(network, "fe80::f816:3eff:fe00:1"), Some(server));
        assert_eq!(who(other, "10.5.0.7"), None);
        assert_eq!(who(network, "10.5.0.8"), None);
        assert_eq!(guests.networks().get(&network).map(BTreeSet::len), Some(1));
        guests.remove(server);
        assert!(who(network, "10.5.0.7").is_none() && guests.networks().is_empty());
    }
}
