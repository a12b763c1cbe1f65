//! The host's probe port, from which the host asks others whether they answer: ICMP echo, once a second.

use super::{
    namespace::Namespace,
    switch::{self, Switch},
};
use crate::{
    core::{
        Failure,
        reach::{Reaches, Target},
    },
    driver::{Measured, file_failure},
};
use lenticular_model::{
    host::{
        fact::Facts,
        probe::{PREFIX, ProbeOrder},
    },
    network::{mac::Mac, mtu::TUNNELED},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, MissedTickBehavior},
};

/// The device in the switch, and its mark in the switch's database.
const DEVICE: &str = "lprobe";
const EVERY: Duration = Duration::from_secs(1);
/// How soon a port that could not be made is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// Follows the orders until their sender ends. `place` has the port's namespace while there is a port. What was counted
/// before a restart of the switch counts on: a switch that does not come back is lost.
pub(super) async fn run(
    switch: Arc<Switch>,
    mut orders: watch::Receiver<Option<Ordered>>,
    place: watch::Sender<Option<Arc<Namespace>>>,
) {
    let mut prober = Prober { reaches: Reaches::default(), sequence: 0, pings: None };
    let mut starts = switch.starts.clone();
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while let Some((order, results)) = ordered(&mut orders).await {
        prober.reaches.order(&order);
        tracing::info!(peers = order.peers.len(), "the host asks other hosts");
        let own = (order.port.clone(), order.mac, order.address);
        let mut opening = std::pin::pin!(open(&switch, &order));
        let mut is_open = prober.pings.as_ref().is_some_and(|pings| pings.own == own);
        loop {
            tokio::select! {
                // Answers first: an agent that stood still has them waiting.
                biased;
                answer = prober.answer() => prober.answered(answer),
                changed = orders.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                // The switch's process has lost the device.
                started = starts.changed() => {
                    if started.is_err() {
                        return;
                    }
                    (prober.pings, is_open) = (None, false);
                    place.send_replace(None);
                    opening.set(open(&switch, &order));
                }
                pings = &mut opening, if !is_open => {
                    place.send_replace(Some(pings.namespace.clone()));
                    (prober.pings, is_open) = (Some(pings), true);
                }
                _ = every.tick() => if results.send(prober.ask()).await.is_err() {
                    return;
                },
            }
        }
    }
}

/// The order to follow, once there is one; `None` when no order comes any more.
async fn ordered(orders: &mut watch::Receiver<Option<Ordered>>) -> Option<Ordered> {
    loop {
        if let Some(ordered) = orders.borrow_and_update().clone() {
            return Some(ordered);
        }
        orders.changed().await.ok()?;
    }
}

/// Makes the port, until that succeeds.
async fn open(switch: &Switch, order: &ProbeOrder) -> Pings {
    loop {
        match Pings::open(switch, order).await {
            Ok(pings) => {
                tracing::info!(address = %order.address, "the host has a probe port");
                return pings;
            }
            Err(failure) => {
                tracing::error!(%failure, "the host's probe port cannot be made; it is tried again");
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

/// The questions and what is known by them, with or without a port.
struct Prober {
    reaches: Reaches,
    sequence: u16,
    pings: Option<Pings>,
}

impl Prober {
    /// The next answer at the port; never, without a port.
    async fn answer(&self) -> Option<(Ipv4Addr, u16, usize)> {
        match &self.pings {
            Some(pings) => next_answer(&pings.socket).await,
            None => std::future::pending().await,
        }
    }

    fn answered(&mut self, answer: Option<(Ipv4Addr, u16, usize)>) {
        if let Some((address, sequence, bytes)) = answer
            && sequence == self.sequence
        {
            self.reaches.answered(Target { address, full: bytes == usize::from(FULL) });
        }
    }

    /// Asks all targets. Returns what is known by now.
    fn ask(&mut self) -> Measured {
        let targets = self.reaches.ask();
        self.sequence = self.sequence.wrapping_add(1);
        if let Some(pings) = &self.pings {
            for target in targets {
                let bytes = if target.full { FULL } else { SMALL };
                send_echo(&pings.socket, target.address, self.sequence, bytes);
            }
        }
        let facts = Facts { unreached: Some(self.reaches.unreached()), ..Facts::default() };
        (facts, self.reaches.evidence())
    }
}

/// An order, and where results go.
pub(super) type Ordered = (ProbeOrder, mpsc::Sender<Measured>);

/// Removes the port of an earlier agent, or of an earlier order.
pub(super) async fn remove_port(switch: &Switch) -> Result<(), Failure> {
    switch.vsctl(&["--if-exists", "del-port", switch::INTEGRATION, DEVICE]).await.map(drop)
}

/// A socket at the probe port.
struct Pings {
    /// A raw socket for ICMP. It is used as tokio's type for datagrams, which has the same calls.
    socket: UdpSocket,
    namespace: Arc<Namespace>,
    /// The port that it is for.
    own: (String, Mac, Ipv4Addr),
    /// Answers the canaries of other hosts.
    _answering: JoinSet<()>,
}

impl Pings {
    async fn open(switch: &Switch, order: &ProbeOrder) -> Result<Self, Failure> {
        remove_port(switch).await?;
        let ProbeOrder { port, mac, address, .. } = order;
        let plug = format!(
            "-- add-port {} {DEVICE} -- set Interface {DEVICE} type=internal external_ids:iface-id={port} mtu_request={TUNNELED}",
            switch::INTEGRATION,
        );
        let mac = format!("mac=\"{mac}\"");
        let words: Vec<&str> = plug.split_whitespace().chain([mac.as_str()]).collect();
        switch.vsctl(&words).await?;
        let namespace = Namespace::with_device(DEVICE).await?;
        namespace.ip(&format!("address add {address}/{PREFIX} dev {DEVICE}")).await?;
        namespace.ip(&format!("link set {DEVICE} mtu {TUNNELED} up")).await?;
        let namespace = Arc::new(namespace);
        let socket = open_socket(&namespace).await?;
        let mut answering = JoinSet::new();
        answering.spawn(answer_canaries(namespace.open("listening for canaries", listen).await?));
        let own = (order.port.clone(), order.mac, order.address);
        Ok(Self { socket, namespace, own, _answering: answering })
    }
}

/// Opens a socket for pings at the probe port.
async fn open_socket(namespace: &Namespace) -> Result<UdpSocket, Failure> {
    let what = "opening the probe's socket";
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let open = move || -> std::io::Result<std::net::UdpSocket> {
        let family = AddressFamily::INET;
        Ok(rustix::net::socket_with(family, SocketType::RAW, flags, Some(ipproto::ICMP))?.into())
    };
    let socket = namespace.open(what, open).await?;
    UdpSocket::from_std(socket).map_err(|error| file_failure(what, &error))
}

/// Sends one question. One that cannot be sent counts as not answered.
fn send_echo(socket: &UdpSocket, address: Ipv4Addr, sequence: u16, bytes: u16) {
    if let Err(error) = socket.try_send_to(&echo(sequence, bytes), SocketAddrV4::new(address, 0).into()) {
        tracing::debug!(%error, %address, "a ping was not sent");
    }
}

/// The next answer: who sent it, to which question, and its bytes with the header. `None` for another packet.
async fn next_answer(socket: &UdpSocket) -> Option<(Ipv4Addr, u16, usize)> {
    let mut packet = [0; 2048];
    match socket.recv(&mut packet).await {
        Ok(length) => read(&packet[..length]),
        Err(error) => {
            tracing::debug!(%error, "an answer to a ping cannot be read");
            tokio::time::sleep(EVERY).await;
            None
        }
    }
}

/// The pause between the pings of [`ping`].
const PING_EVERY: Duration = Duration::from_millis(200);

/// Pings an address so many times. Returns how long each answer took; the last one has a second for its answer.
pub(super) async fn ping(
    namespace: &Namespace,
    address: Ipv4Addr,
    times: u32,
) -> Result<Vec<Duration>, Failure> {
    let socket = open_socket(namespace).await?;
    let (mut sent, mut took) = (BTreeMap::new(), Vec::new());
    let mut every = tokio::time::interval(PING_EVERY);
    let over = tokio::time::sleep(PING_EVERY * times + EVERY);
    tokio::pin!(over);
    loop {
        tokio::select! {
            biased;
            answer = next_answer(&socket) => if let Some((from, sequence, _)) = answer
                && from == address
                && let Some(at) = sent.remove(&sequence)
            {
                took.push(Instant::elapsed(&at));
            },
            () = &mut over => return Ok(took),
            _ = every.tick(), if sent.len() + took.len() < times as usize => {
                let sequence = (sent.len() + took.len()) as u16;
                send_echo(&socket, address, sequence, SMALL);
                sent.insert(sequence, Instant::now());
            }
        }
    }
}

fn listen() -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, 80))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Answers every request at the probe port with a few packets, one request after another.
async fn answer_canaries(listener: std::net::TcpListener) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    let body = "canary\n".repeat(1_000);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let answer = head + &body;
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(EVERY).await;
            continue;
        };
        let one = async {
            // What a canary asks for does not matter.
            let _asked = stream.read(&mut [0; 1024]).await?;
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
            // Until the other side has closed, too: an earlier end could take what it has not read.
            stream.read(&mut [0; 1024]).await
        };
        // A canary may end at any time.
        let _ = tokio::time::timeout(EVERY * 5, one).await;
    }
}

/// The sizes of packets in bytes, with their IP headers.
const SMALL: u16 = 64;
const FULL: u16 = TUNNELED as u16;
const IP_HEADER: usize = 20;
const ICMP_HEADER: usize = 8;
const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// The sender's mark in its questions. Nobody else sends from this port.
const MARK: [u8; 2] = *b"LP";

/// An ICMP echo request (RFC 792) that makes an IP packet of `bytes`.
fn echo(sequence: u16, bytes: u16) -> Vec<u8> {
    let mut packet = vec![0; usize::from(bytes) - IP_HEADER];
    packet[0] = ECHO;
    packet[4..6].copy_from_slice(&MARK);
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum = checksum(&packet);
    packet[2..4].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The checksum of the internet protocols (RFC 1071).
fn checksum(packet: &[u8]) -> u16 {
    let words = packet.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sender, the sequence number and the length of an IP packet with an answer to one of our questions.
fn read(packet: &[u8]) -> Option<(Ipv4Addr, u16, usize)> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
    let icmp = packet.get(header..)?.get(..ICMP_HEADER)?;
    let ours = icmp[0] == ECHO_REPLY && icmp[4..6] == MARK && header >= IP_HEADER;
    ours.then(|| (source.into(), u16::from_be_bytes([icmp[6], icmp[7]]), packet.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_other_packets() {
        let mut packet = vec![0x45; IP_HEADER];
        packet[12..16].copy_from_slice(&[100, 64, 0, 3]);
        packet.extend(echo(0x1234, SMALL));
        assert_eq!(packet.len(), usize::from(SMALL));
        assert_eq!(checksum(&packet[IP_HEADER..]), 0, "a packet with its sum has none");
        assert_eq!(read(&packet), None, "a question is no answer");
        packet[IP_HEADER] = ECHO_REPLY;
        assert_eq!(read(&packet), Some((Ipv4Addr::new(100, 64, 0, 3), 0x1234, 64)));
        for cut in 0..IP_HEADER + ICMP_HEADER {
            assert_eq!(read(&packet[..cut]), None);
        }
        packet[IP_HEADER + 4] = 0;
        assert_eq!(read(&packet), None, "to somebody else");
        packet[0] = 0x41;
        assert_eq!(read(&packet), None);
    }
}
