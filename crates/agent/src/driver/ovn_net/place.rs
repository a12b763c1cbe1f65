//! The metadata service's place in a network on this host: a port of the network that every host has for itself,
//! in a network namespace that has nothing else.
//!
//! The namespace has no name: the socket that listens in the namespace keeps it, and both end with the agent.
//! Networks with equal ranges never meet.

use super::{
    namespace::Namespace,
    switch::{self, Switch},
};
use crate::{
    core::Failure,
    driver::file_failure,
    metadata::{self, Guests},
};
use ipnet::IpNet;
use lenticular_model::{
    NetworkId,
    network::network::{METADATA_V4, METADATA_V6, metadata_mac, metadata_port},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};
use tokio::{sync::Mutex, task::JoinHandle};

/// Marks the interfaces of the metadata service in the switch's database.
const MARK: &str = "lenticular-metadata";
const HTTP: u16 = 80;

/// All places of this host.
pub(super) struct Places {
    switch: Arc<Switch>,
    guests: Arc<Guests>,
    there: Mutex<BTreeMap<NetworkId, Place>>,
}

struct Place {
    namespace: Namespace,
    device: String,
    ranges: BTreeSet<IpNet>,
    serving: JoinHandle<()>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Places {
    pub(super) fn new(switch: Arc<Switch>, guests: Arc<Guests>) -> Self {
        Self { switch, guests, there: Mutex::default() }
    }

    /// Removes the interfaces of an earlier agent: its namespaces ended with it.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        let which = format!("external_ids:{MARK}!=\"\"");
        let words = ["--bare", "--columns=name", "find", "Interface", which.as_str()];
        let found = self.switch.vsctl(&words).await?;
        for name in found.split_whitespace() {
            self.remove_port(name).await?;
        }
        Ok(())
    }

    async fn remove_port(&self, name: &str) -> Result<(), Failure> {
        self.switch.vsctl(&["--if-exists", "del-port", switch::INTEGRATION, name]).await.map(drop)
    }

    /// Makes a place for each network with a guest on this host, and removes all others.
    pub(super) async fn sync(&self) {
        let mut there = self.there.lock().await;
        let wanted = self.guests.networks();
        let over: Vec<NetworkId> = there.keys().filter(|id| !wanted.contains_key(id)).copied().collect();
        for id in over {
            if let Some(place) = there.remove(&id) {
                self.note(id, self.remove_port(&place.device).await);
            }
        }
        for (id, ranges) in wanted {
            match there.get_mut(&id) {
                Some(place) => {
                    let new: Vec<IpNet> = ranges.difference(&place.ranges).copied().collect();
                    for range in new {
                        let routed = route(&place.namespace, &place.device, range).await;
                        self.note(id, routed);
                        place.ranges.insert(range);
                    }
                }
                None => match self.make(id, ranges).await {
                    Ok(place) => drop(there.insert(id, place)),
                    Err(failure) => self.note(id, Err(failure)),
                },
            }
        }
    }

    /// Makes all places again.
    pub(super) async fn remake(&self) {
        self.there.lock().await.clear();
        self.note(NetworkId::default(), self.clear().await);
        self.sync().await;
    }

    fn note(&self, network: NetworkId, result: Result<(), Failure>) {
        if let Err(failure) = result {
            tracing::error!(%network, %failure, "guests of a network do not get their metadata");
        }
    }

    async fn make(&self, id: NetworkId, ranges: BTreeSet<IpNet>) -> Result<Place, Failure> {
        let device = format!("md{}", &id.0.simple().to_string()[..12]);
        self.remove_port(&device).await?;
        let plug = format!(
            "-- add-port {} {device} -- set Interface {device} type=internal external_ids:iface-id={} \
             external_ids:{MARK}={id}",
            switch::INTEGRATION,
            metadata_port(id)
        );
        let mac = format!("mac=\"{}\"", metadata_mac(id));
        let words: Vec<&str> = plug.split_whitespace().chain([mac.as_str()]).collect();
        self.switch.vsctl(&words).await?;
        let namespace = Namespace::with_device(&device).await?;
        namespace.ip(&format!("address add {METADATA_V4}/32 dev {device}")).await?;
        // A host without IPv6 still serves IPv4.
        if namespace.ip(&format!("address add {METADATA_V6}/64 dev {device} nodad")).await.is_err() {
            tracing::info!("this host has no IPv6: guests reach their metadata by IPv4 alone");
        }
        namespace.ip(&format!("link set {device} up")).await?;
        for range in &ranges {
            route(&namespace, &device, *range).await?;
        }
        let what = "listening for metadata requests";
        let listener = namespace.open(what, listen).await?;
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(|error| file_failure(what, &error))?;
        let serving = tokio::spawn(metadata::serve(listener, id, self.guests.clone()));
        tracing::info!(network = %id, device, "guests of a network are answered for their metadata");
        Ok(Place { namespace, device, ranges, serving })
    }
}

/// Routes a range of the network to the link.
async fn route(namespace: &Namespace, device: &str, range: IpNet) -> Result<(), Failure> {
    let source = match range {
        IpNet::V4(_) => format!(" src {METADATA_V4}"),
        IpNet::V6(_) => String::new(),
    };
    namespace.ip(&format!("route replace {range} dev {device}{source}")).await
}

/// Listens for requests of IPv6, or of IPv4 alone on a host without IPv6.
fn listen() -> std::io::Result<TcpListener> {
    let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, HTTP));
    let listener = TcpListener::bind(both)
        .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP))))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
