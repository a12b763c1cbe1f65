//! Guests on OVN: a tap for each port, plugged into the host's switch under the port's id. OVN alone decides
//! which packets may pass.

mod announce;
mod config;
mod guest_probe;
mod health;
mod namespace;
mod place;
mod probe;
mod switch;

pub use config::{OvnConfig, Physical};

use super::{
    Beat, Measured, NetPlan, Network, Nic, Work, file_failure,
    guest_user::{self, GuestUser},
};
use crate::{
    core::{Failure, silence::AskedGuest},
    files,
    identity::{self, Pem},
    link::{Call, Link},
    metadata::{Guests, Noted},
};
use lenticular_model::{
    Lock, PortId, ServerId,
    host::{host::Wiring, probe::ProbeOrder},
};
use lenticular_wire::agent::{GuestSpec, PortSpec};
use namespace::Namespace;
use place::Places;
use serde_json::json;
use std::{
    collections::BTreeSet,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use switch::{Switch, has_device, ip};
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

/// The external id of our interfaces in the switch's database: their server.
const SERVER: &str = "lenticular-server";

/// The driver.
pub struct OvnNetwork {
    switch: Arc<Switch>,
    guests: Arc<Guests>,
    places: Arc<Places>,
    notes: PathBuf,
    /// The directory of guests' files; their owners are the guests' users.
    guest_dirs: PathBuf,
    /// Held while a guest's note is written or removed: orders and steps run concurrently.
    noting: Lock<()>,
    /// Why networks do not follow changes now.
    trouble: watch::Receiver<Option<String>>,
    /// What the probe shall do.
    probe: watch::Sender<Option<probe::Ordered>>,
    /// The taps of the guests that are asked whether they answer.
    guest_probes: Lock<guest_probe::GuestProbes>,
    /// The namespace of the probe port, while there is one.
    probe_place: watch::Receiver<Option<Arc<Namespace>>>,
    /// Ended with the driver.
    _tasks: JoinSet<()>,
}

/// The directory of the switch's files, below an agent's state directory.
fn dir(state_dir: &Path) -> PathBuf {
    state_dir.join("ovs")
}

impl OvnNetwork {
    /// Starts the missing daemons of the host's switch, and the metadata service.
    ///
    /// # Errors
    /// Open vSwitch or OVN is missing, or the switch does not start.
    pub async fn start(
        state_dir: &Path,
        host_name: &str,
        config: OvnConfig,
        link: Arc<dyn Link>,
    ) -> Result<Self, Failure> {
        let notes = state_dir.join("network");
        files::create_private_dir(&notes).map_err(|e| file_failure("making the network's directory", &e))?;
        guest_user::open_taps().await;
        let state_dir =
            &state_dir.canonicalize().map_err(|e| file_failure("finding the state directory", &e))?;
        let notes = state_dir.join("network");
        let mut pem = Pem::of(&identity::home(state_dir));
        pem.ca = config.southbound_ca.clone().unwrap_or(pem.ca);
        let switch = Arc::new(Switch::start(dir(state_dir), host_name, config, pem).await?);
        switch.configure().await?;
        let hand_on = move |server, password: String| -> Call<'static, ()> {
            let link = link.clone();
            Box::pin(async move { link.password(server, &password).await })
        };
        let guests = Arc::new(Guests::new(state_dir, Box::new(hand_on)));
        let places = Arc::new(Places::new(switch.clone(), guests.clone()));
        places.clear().await?;
        namespace::clear_lost().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(watch_switch(switch.clone(), places.clone()));
        let (told, trouble) = watch::channel(None);
        tasks.spawn(health::watch(switch.clone(), told));
        probe::remove_port(&switch).await?;
        let (probe, ordered) = watch::channel(None);
        let (place, probe_place) = watch::channel(None);
        tasks.spawn(probe::run(switch.clone(), ordered, place));
        let noting = Lock::default();
        let guest_dirs = state_dir.join("guests");
        let network = Self {
            switch,
            guests,
            places,
            notes,
            guest_dirs,
            noting,
            trouble,
            probe,
            guest_probes: Lock::default(),
            probe_place,
            _tasks: tasks,
        };
        network.recall();
        network.clear_lost_taps().await?;
        network.places.sync().await;
        Ok(network)
    }

    /// Reads the notes of an earlier start.
    fn recall(&self) {
        let entries = std::fs::read_dir(&self.notes).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            let server = path.file_stem().and_then(|stem| stem.to_str()?.parse::<ServerId>().ok());
            let noted =
                std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<GuestSpec>(&bytes).ok());
            if let (Some(server), Some(guest)) = (server, noted) {
                self.guests.put(server, Noted::new(guest));
            }
        }
    }

    fn note_file(&self, server: ServerId) -> PathBuf {
        self.notes.join(format!("{server}.json"))
    }

    fn keep_note(&self, server: ServerId, guest: &GuestSpec) -> std::io::Result<()> {
        files::write_durably(&self.note_file(server), &serde_json::to_vec(guest)?)?;
        self.guests.put(server, Noted::new(guest.clone()));
        Ok(())
    }

    fn clear_note(&self, server: ServerId) -> std::io::Result<()> {
        let _held = self.noting.lock();
        self.guests.remove(server);
        files::remove(&self.note_file(server))
    }

    /// Removes interfaces from the switch if a restart of the host has removed their taps. A guest that starts
    /// gets new taps.
    async fn clear_lost_taps(&self) -> Result<(), Failure> {
        let all = self.interfaces(None).await?;
        let lost: Vec<String> = all.into_iter().filter(|name| !has_device(name)).collect();
        self.remove_ports(&lost).await
    }

    /// The taps of a server, or of all servers.
    async fn interfaces(&self, server: Option<ServerId>) -> Result<Vec<String>, Failure> {
        let which = match server {
            Some(server) => format!("external_ids:{SERVER}={server}"),
            None => format!("external_ids:{SERVER}!=\"\""),
        };
        let words = ["--bare", "--columns=name", "find", "Interface", which.as_str()];
        let found = self.switch.vsctl(&words).await?;
        Ok(found.split_whitespace().map(str::to_owned).collect())
    }

    async fn remove_ports(&self, names: &[String]) -> Result<(), Failure> {
        let mut words = Vec::new();
        for name in names {
            words.extend(["--", "--if-exists", "del-port", switch::INTEGRATION, name.as_str()]);
        }
        if !words.is_empty() {
            self.switch.vsctl(&words).await?;
        }
        Ok(())
    }

    async fn plug_ports(&self, server: ServerId, guest: &GuestSpec) -> Result<NetPlan, Failure> {
        let mut plan = NetPlan { carries_ipv6: true, ..NetPlan::default() };
        let mut words: Vec<String> = Vec::new();
        let wanted: Vec<String> = guest.ports.iter().map(|port| tap_name(port.port_id)).collect();
        let user = GuestUser::of(&self.guest_dirs.join(server.to_string())).await;
        let user = user.map_err(|e| file_failure("finding a user for the guest", &e))?;
        // Before the first tap: a tap that is not plugged yet is found by the note alone.
        self.keep_note(server, guest).map_err(|e| file_failure("noting the guest's network", &e))?;
        for (port, tap) in guest.ports.iter().zip(&wanted) {
            if !has_device(tap) {
                // No other user may open the tap.
                let of = user.id().map_or(String::new(), |user| format!(" user {user}"));
                ip(&format!("tuntap add dev {tap} mode tap{of}")).await?;
            }
            ip(&format!("link set {tap} mtu {}", port.mtu)).await?;
            self.switch.take_device(tap).await?;
            words.extend(plug_words(server, port, tap));
            plan.nics.push(nic(port, tap));
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        if !words.is_empty() {
            self.switch.vsctl(&words).await?;
        }
        // Interfaces from an earlier start that the server no longer has.
        let there = self.interfaces(Some(server)).await?;
        let over: Vec<String> = there.into_iter().filter(|name| !wanted.contains(name)).collect();
        self.remove_taps(&over).await?;
        self.places.sync().await;
        Ok(plan)
    }

    async fn remove_taps(&self, names: &[String]) -> Result<(), Failure> {
        self.remove_ports(names).await?;
        for name in names.iter().filter(|name| has_device(name)) {
            // The command is not `tuntap`, which cannot remove a tap that a process still has open.
            ip(&format!("link delete dev {name}")).await?;
        }
        Ok(())
    }
}

/// Repeats the configuration after each start of the switch's process.
async fn watch_switch(switch: Arc<Switch>, places: Arc<Places>) {
    let mut starts = switch.starts.clone();
    // The driver's start has handled the first one.
    starts.mark_unchanged();
    while starts.changed().await.is_ok() {
        match switch.configure().await {
            Ok(()) => places.remake().await,
            Err(failure) => {
                tracing::error!(%failure, "the host's switch was started again and cannot be set up")
            }
        }
    }
}

/// A port's tap, under Neutron's name.
fn tap_name(port: PortId) -> String {
    format!("tap{}", &port.to_string()[..11])
}

fn plug_words(server: ServerId, port: &PortSpec, tap: &str) -> Vec<String> {
    let plug = format!("-- --may-exist add-port {} {tap} -- set Interface {tap}", switch::INTEGRATION);
    let mut words: Vec<String> = plug.split_whitespace().map(str::to_owned).collect();
    words.push(format!("external_ids:iface-id={}", port.port_id));
    words.push(format!("external_ids:attached-mac=\"{}\"", port.mac));
    words.push(format!("external_ids:{SERVER}={server}"));
    words.push(format!("mtu_request={}", port.mtu));
    words
}

fn nic(port: &PortSpec, tap: &str) -> Nic {
    // The switch in user space does not know the header by which a guest leaves checksums to its host.
    let netdev =
        json!({ "type": "tap", "ifname": tap, "script": "no", "downscript": "no", "vnet_hdr": false });
    Nic { slot: port.slot, mac: port.mac, mtu: port.mtu, boots: false, netdev }
}

impl Network for OvnNetwork {
    fn describe(&self) -> Work<'_, Wiring> {
        let physical_networks = self.switch.physical_networks();
        Box::pin(async { Ok(Wiring { driver: "ovn".to_owned(), physical_networks }) })
    }

    fn trouble(&self) -> watch::Receiver<Option<String>> {
        self.trouble.clone()
    }

    fn probe(&self, order: Option<ProbeOrder>, results: &mpsc::Sender<Measured>) {
        let peers = order.iter().flat_map(|order| &order.peers).map(|peer| peer.address);
        self.guests.set_peers(peers.collect());
        self.probe.send_replace(order.map(|order| (order, results.clone())));
    }

    fn ask_guests(&self, guests: &[AskedGuest]) -> Option<BTreeSet<ServerId>> {
        Some(self.guest_probes.lock().ask(guests, tap_name))
    }

    fn beats(&self) -> Option<watch::Receiver<Option<Beat>>> {
        Some(self.guests.beats())
    }

    fn ping(&self, address: Ipv4Addr, times: u32) -> Work<'_, Vec<Duration>> {
        let mut place = self.probe_place.clone();
        Box::pin(async move {
            let lost = |_| Failure::new("The host's network has ended.", "no probe port");
            let place = place.wait_for(Option::is_some).await.map_err(lost)?.clone();
            match place {
                Some(place) => probe::ping(&place, address, times).await,
                None => Ok(Vec::new()),
            }
        })
    }

    fn note(&self, server: ServerId, guest: &GuestSpec) {
        let _held = self.noting.lock();
        // Only a plugged guest can ask.
        if !self.guests.knows(server) {
            return;
        }
        if let Err(error) = self.keep_note(server, guest) {
            tracing::warn!(%server, %error, "what the guest is told of itself cannot be noted");
        }
    }

    fn plug<'a>(&'a self, server: ServerId, guest: &'a GuestSpec) -> Work<'a, NetPlan> {
        Box::pin(self.plug_ports(server, guest))
    }

    fn announce(&self, server: ServerId, guest: &GuestSpec) {
        let (switch, floating) = (self.switch.clone(), guest.floating.clone());
        tokio::spawn(async move {
            if let Err(failure) = announce::announce(&switch, &floating).await {
                tracing::warn!(%server, %failure, "a guest's floating IPs are not announced; OVN will");
            }
        });
    }

    fn unplug(&self, server: ServerId) -> Work<'_, ()> {
        Box::pin(async move {
            let mut names = self.interfaces(Some(server)).await?;
            names.extend(self.guests.ports_of(server).iter().map(|port| tap_name(port.port_id)));
            self.remove_taps(&names).await?;
            self.clear_note(server).map_err(|e| file_failure("forgetting the guest's network", &e))?;
            self.places.sync().await;
            Ok(())
        })
    }
}

/// Ends the daemons of a host's switch after its agent and guests have ended. Returns the number of daemons. The
/// caller knows the daemons' network namespace, and must remove what they leave there.
///
/// # Errors
/// A daemon does not end.
pub async fn end_switch(state_dir: &Path) -> std::io::Result<usize> {
    // The controller first: it tells the others that the host is gone.
    crate::daemon::end_all(&dir(state_dir), &["ovn-controller", "ovs-vswitchd"]).await
}

/// Ends the daemons of this machine's own switch, and removes everything that they leave here.
///
/// # Errors
/// A daemon does not end.
pub async fn end_own_switch(state_dir: &Path) -> std::io::Result<usize> {
    let dir = dir(state_dir);
    if !dir.exists() {
        return Ok(0);
    }
    let made = switch::devices(&dir).await;
    let ended = end_switch(state_dir).await?;
    // Taps of guests that were not unplugged.
    for note in std::fs::read_dir(state_dir.join("network")).into_iter().flatten().flatten() {
        let guest = std::fs::read(note.path())
            .ok()
            .and_then(|bytes| serde_json::from_slice::<GuestSpec>(&bytes).ok());
        let taps = guest.into_iter().flat_map(|guest| guest.ports).map(|port| tap_name(port.port_id));
        for tap in taps.filter(|tap| has_device(tap)) {
            if let Err(failure) = ip(&format!("tuntap delete dev {tap} mode tap")).await {
                tracing::warn!(tap, %failure, "a guest's tap is left behind");
            }
        }
    }
    for device in made.iter().filter(|name| has_device(name)) {
        if let Err(failure) = ip(&format!("link delete dev {device}")).await {
            tracing::warn!(device, %failure, "a device of the switch is left behind");
        }
    }
    if switch::void_is_empty()
        && let Err(failure) = ip(&format!("link delete dev {}", switch::VOID)).await
    {
        tracing::warn!(%failure, "a bridge is left behind");
    }
    Ok(ended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_becomes_a_tap_under_its_id() {
        let port = crate::testing::port(Vec::new());
        let tap = tap_name(port.port_id);
        assert!(tap.len() <= 15, "{tap}");
        let server = crate::testing::server(1);
        let text = format!("{}\n{}", plug_words(server, &port, &tap).join(" "), nic(&port, &tap).netdev);
        insta::assert_snapshot!(text);
    }
}
