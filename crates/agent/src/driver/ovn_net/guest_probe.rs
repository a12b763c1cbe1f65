//! Asks guests at their taps whether they answer: ARP (RFC 826), once a second.
//!
//! OVN answers ARP in a guest's place, so the question goes to the tap itself, and the switch never sees it. It is a probe
//! (RFC 5227): its sender has no address, so no guest learns a wrong neighbour from it. The sender's Ethernet address is the
//! guest's own: a guest that is looking whether its address is free does not take the question for another owner's.

use crate::core::silence::{AskedGuest, first_v4};
use lenticular_model::{PortId, ServerId, network::mac::Mac};
use nix::sys::socket::LinkAddr;
use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, eth},
};
use socket2::{SockFilter, SockRef};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
};

/// The length of an Ethernet frame with ARP, without padding, in bytes.
const FRAME: usize = 42;
/// The most frames that are read from one tap at a time: a guest may send as many as it likes.
const FRAMES_MAX: usize = 64;
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
/// Ethernet, IPv4, and the lengths of their addresses.
const ARP_OVER_ETHERNET: [u8; 6] = [0x00, 0x01, 0x08, 0x00, 6, 4];
const REQUEST: [u8; 2] = [0, 1];
/// The source of the frames: no device's address, locally administered.
const SOURCE: Mac = Mac([0x0a, 0x6c, 3, 0, 0, 1]);

/// The sockets at the taps of the guests that are asked.
#[derive(Debug, Default)]
pub(super) struct GuestProbes {
    taps: BTreeMap<ServerId, Tap>,
}

#[derive(Debug)]
struct Tap {
    own: Own,
    socket: OwnedFd,
}

/// What a tap's socket is for: the port, its addresses, and the boot of the guest, which may have another tap in the next.
type Own = (PortId, Mac, Ipv4Addr, u64);

impl GuestProbes {
    /// Asks these guests. Returns those that have sent ARP from their address since they were last asked.
    pub(super) fn ask(
        &mut self,
        guests: &[AskedGuest],
        tap_name: impl Fn(PortId) -> String,
    ) -> BTreeSet<ServerId> {
        let answered = self.taps.iter().filter(|(_, tap)| tap.has_answered());
        let answered = answered.map(|(id, _)| *id).collect();
        let mut devices = None;
        let mut before = std::mem::take(&mut self.taps);
        for guest in guests {
            let Some(address) = first_v4(&guest.port) else { continue };
            let own = (guest.port.port_id, guest.port.mac, address, guest.boot);
            let known = before.get(&guest.server_id).is_some_and(|tap| tap.own == own);
            let tap = match before.remove(&guest.server_id).filter(|_| known) {
                Some(tap) => Ok(tap),
                // All devices are listed once, and only if a guest is new.
                None => Tap::open(own, devices.get_or_insert_with(link_addresses).get(&tap_name(own.0))),
            };
            match tap.and_then(Tap::ask) {
                Ok(tap) => drop(self.taps.insert(guest.server_id, tap)),
                Err(error) => tracing::debug!(server = %guest.server_id, %error, "a guest cannot be asked"),
            }
        }
        if !before.is_empty() {
            // The kernel takes some 10 ms to close each, and the agent does not wait.
            tokio::task::spawn_blocking(move || drop(before));
        }
        answered
    }
}

/// The devices of this network namespace by name, with their numbers.
fn link_addresses() -> BTreeMap<String, LinkAddr> {
    let all = match nix::ifaddrs::getifaddrs() {
        Ok(all) => all,
        Err(error) => {
            tracing::warn!(%error, "the host's devices cannot be listed, so no new guest is asked");
            return BTreeMap::new();
        }
    };
    all.filter_map(|device| Some((device.interface_name, *device.address?.as_link_addr()?))).collect()
}

impl Tap {
    /// Opens a socket for ARP at a tap.
    fn open(own: Own, device: Option<&LinkAddr>) -> io::Result<Self> {
        let (_, mac, address, _) = own;
        let device = device.ok_or(io::ErrorKind::NotFound)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        // The tap is in a bridge, so only a socket for all protocols sees what the guest sends.
        let socket = rustix::net::socket_with(AddressFamily::PACKET, SocketType::RAW, flags, Some(eth::ALL))?;
        SockRef::from(&socket).attach_filter(&only_from(mac, address))?;
        nix::sys::socket::bind(socket.as_raw_fd(), device)?;
        Ok(Self { own, socket })
    }

    /// Asks the guest. Fails if the tap is gone, so that the next question looks for another one.
    fn ask(self) -> io::Result<Self> {
        let (_, mac, address, _) = self.own;
        match rustix::net::send(&self.socket, &question(mac, address), SendFlags::DONTWAIT) {
            Err(error @ (Errno::NXIO | Errno::NODEV)) => Err(error.into()),
            // A tap that is down is a guest that does not answer.
            _ => Ok(self),
        }
    }

    /// True if the guest has sent ARP from its address.
    fn has_answered(&self) -> bool {
        let (_, mac, address, _) = self.own;
        let mut answered = false;
        for _ in 0..FRAMES_MAX {
            let mut frame = [0_u8; FRAME];
            match rustix::net::recv(&self.socket, &mut frame, RecvFlags::DONTWAIT) {
                Ok((length, _)) => answered |= length == FRAME && is_from(&frame, mac, address),
                Err(_) => break,
            }
        }
        answered
    }
}

/// A program of the kernel's packet filter (bpf(4)) that takes what [`is_from`] does. Others' frames to the guest would
/// leave no room for the guest's own.
fn only_from(Mac([a, b, c, d, e, f]): Mac, address: Ipv4Addr) -> Vec<SockFilter> {
    const LOAD_WORD: u16 = 0x20;
    const LOAD_HALF: u16 = 0x28;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let parts = [
        (LOAD_HALF, 12, u32::from(u16::from_be_bytes(ETHERTYPE_ARP))),
        (LOAD_WORD, 22, u32::from_be_bytes([a, b, c, d])),
        (LOAD_HALF, 26, u32::from(u16::from_be_bytes([e, f]))),
        (LOAD_WORD, 28, address.to_bits()),
    ];
    let mut program = Vec::new();
    for (n, (load, at, wanted)) in parts.into_iter().enumerate() {
        // A part that differs jumps over the rest, and over the first return.
        let over = 2 * (parts.len() - n) as u8 - 1;
        program.push(SockFilter::new(load, 0, 0, at));
        program.push(SockFilter::new(JUMP_IF_EQUAL, 0, over, wanted));
    }
    program.push(SockFilter::new(RETURN, 0, 0, FRAME as u32));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

/// The question whether a guest has its address.
fn question(Mac(guest): Mac, address: Ipv4Addr) -> Vec<u8> {
    let unknown: &[u8] = &[0; 6];
    let nobody = Ipv4Addr::UNSPECIFIED.octets();
    let head = [&guest[..], &SOURCE.0, &ETHERTYPE_ARP, &ARP_OVER_ETHERNET, &REQUEST];
    let body = [&guest[..], &nobody, unknown, &address.octets()];
    head.into_iter().chain(body).flatten().copied().collect()
}

/// True if a frame is ARP of a guest about its own address.
fn is_from(frame: &[u8; FRAME], Mac(guest): Mac, address: Ipv4Addr) -> bool {
    frame[12..14] == ETHERTYPE_ARP
        && frame[14..20] == ARP_OVER_ETHERNET
        && frame[22..28] == guest
        && frame[28..32] == address.octets()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_probe_and_an_answer_comes_from_the_guests_address() {
        let (mac, address) = (Mac([0xfa, 0x16, 0x3e, 0, 0, 1]), Ipv4Addr::new(10, 0, 0, 7));
        let asked: [u8; FRAME] = question(mac, address).try_into().unwrap();
        assert!(!is_from(&asked, mac, address), "the question itself has no sender's address");
        // The answer of Linux: the addresses change places.
        let mut answer = asked;
        answer[21] = 2;
        answer[28..32].copy_from_slice(&address.octets());
        assert!(is_from(&answer, mac, address));
        assert!(!is_from(&answer, mac, Ipv4Addr::new(10, 0, 0, 8)));
    }
}
