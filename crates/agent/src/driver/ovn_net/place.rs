//! The metadata service's place in a network on this host: a port of the network that every host has for itself,
//! in a network namespace that has nothing else.
//!
//! The namespace has no name: the socket that listens in the namespace keeps it, and both end with the agent.
//! Networks with equal ranges never meet.

use super::switch::{self, Switch, ip, run};
use crate::{
    core::Failure,
    metadata::{self, Guests},
};
use ipnet::IpNet;
use lenticular_model::{
    NetworkId,
    network::network::{METADATA_V4, METADATA_V6, metadata_mac, metadata_port},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::fd::{AsFd, AsRawFd},
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
    /// The namespace, as a file of this process.
    namespace: File,
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
        let namespace = self.enter(id, &device).await?;
        let inside = |words: String| {
            let namespace = &namespace;
            async move { within(namespace, &words).await }
        };
        inside(format!("address add {METADATA_V4}/32 dev {device}")).await?;
        // A host without IPv6 still serves IPv4.
        if inside(format!("address add {METADATA_V6}/64 dev {device} nodad")).await.is_err() {
            tracing::info!("this host has no IPv6: guests reach their metadata by IPv4 alone");
        }
        inside(format!("link set {device} up")).await?;
        for range in &ranges {
            route(&namespace, &device, *range).await?;
        }
        let listener = listen(&namespace).await?;
        let serving = tokio::spawn(metadata::serve(listener, id, self.guests.clone()));
        tracing::info!(network = %id, device, "guests of a network are answered for their metadata");
        Ok(Place { namespace, device, ranges, serving })
    }

    /// Moves the device into a new namespace. Returns the namespace as a file.
    async fn enter(&self, id: NetworkId, device: &str) -> Result<File, Failure> {
        let name = format!("lmd-{}-{}", std::process::id(), id.0.simple());
        ip(&format!("netns add {name}")).await?;
        let opened = File::open(format!("/run/netns/{name}"));
        let moved = ip(&format!("link set {device} netns {name}")).await;
        let up = ip(&format!("-n {name} link set lo up")).await;
        // In every case the name goes; the file keeps the namespace.
        let unnamed = ip(&format!("netns delete {name}")).await;
        moved.and(up).and(unnamed)?;
        opened.map_err(|error| crate::driver::file_failure("opening a network namespace", &error))
    }
}

/// Runs `ip` in a namespace.
async fn within(namespace: &File, words: &str) -> Result<(), Failure> {
    let path = format!("--net=/proc/{}/fd/{}", std::process::id(), namespace.as_raw_fd());
    let mut args = vec![path.as_str(), "ip"];
    args.extend(words.split_whitespace());
    run("nsenter", &args).await.map(drop)
}

/// Routes a range of the network to the link.
async fn route(namespace: &File, device: &str, range: IpNet) -> Result<(), Failure> {
    let source = match range {
        IpNet::V4(_) => format!(" src {METADATA_V4}"),
        IpNet::V6(_) => String::new(),
    };
    within(namespace, &format!("route replace {range} dev {device}{source}")).await
}

/// Listens in a namespace. A new thread enters the namespace, and ends after that: such a thread must serve
/// nothing else.
async fn listen(namespace: &File) -> Result<tokio::net::TcpListener, Failure> {
    let failed =
        |error: std::io::Error| crate::driver::file_failure("listening for metadata requests", &error);
    let namespace = namespace.try_clone().map_err(failed)?;
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let bind = move || -> std::io::Result<TcpListener> {
        let kind = rustix::thread::LinkNameSpaceType::Network;
        rustix::thread::move_into_link_name_space(namespace.as_fd(), Some(kind))?;
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, HTTP));
        let listener = TcpListener::bind(both)
            .or_else(|_| TcpListener::bind(SocketAddr::from((Ipv4Addr::UNSPECIFIED, HTTP))))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let thread = std::thread::Builder::new().name("namespace".to_owned()).spawn(move || {
        // The receiver may have gone.
        let _ = sender.send(bind());
    });
    thread.map_err(failed)?;
    let bound = receiver.await.unwrap_or_else(|_| Err(std::io::Error::other("the thread ended")));
    tokio::net::TcpListener::from_std(bound.map_err(failed)?).map_err(failed)
}
