//! The agent protocol: hosts pull orders and push observations; the control plane never calls a host.
//!
//! ```text
//! POST /agent/v1/hello                        Hello        → Welcome   who I am, what I have, what runs here
//! GET  /agent/v1/hosts/H/orders?…             OrdersQuery  → Orders    long poll: what changed after a commit
//! POST /agent/v1/hosts/H/observations         Report       → 204       durable when answered
//! POST /agent/v1/hosts/H/answers              Answer       → 204       to a question that came with orders
//! GET  /agent/v1/images/I/data                             → bytes     an image, for the base cache
//! GET  /agent/v1/servers/S/user-data                       → bytes     (404: there is none)
//! PUT  /agent/v1/servers/S/disk?upload=U      bytes        → 204       a whole qcow2 disk, for the image store
//! ```
//!
//! A message that is lost, late or repeated does no harm: orders name the commit they follow (`after`), and an agent
//! applies only those that follow what it has; observations are levels, not edges, and name generation and boot.
//! Absence is never an order: a guest is removed only on an order to remove it.
//!
//! A hello begins a session, and ends the one before it. Reports are numbered within their session: one that comes
//! after a later one is answered and changes nothing. Polls and reports of any other session get 404, upon which the
//! agent says hello again. So an agent whose session was ended by a late or repeated hello of its own learns of it with
//! its next call, and what that hello said is corrected.

pub use lenticular_model::compute::migration::MoveProgress;
use lenticular_model::{
    compute::{
        disk_copy::Fate,
        flavor::Size,
        migration::{Leg, Mode},
        server::{BootStyle, Server, Shelf, Wanted},
    },
    host::{
        host::{Capacity, Hypervisor},
        observation::Observation,
    },
    network::{port::Mac, subnet::HostRoute},
    HostId, ImageId, Incarnation, NetworkId, PortId, ProjectId, ServerId, State, SubnetId, UserId,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The version of this protocol. A peer of another version is refused by name, never guessed at.
pub const VERSION: u32 = 2;

/// The longest that a poll for orders may be asked to wait, in milliseconds.
pub const WAIT_MS_MAX: u64 = 20_000;

/// An agent introduces its host, at its start and whenever it is told that it is not known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The version that the agent speaks.
    pub version: u32,
    /// The host's name, unique in the cloud.
    pub host_name: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// Where the host can be found, for people.
    pub address: String,
    /// `address:port` where its agent listens for other hosts' agents; empty if it does not.
    #[serde(default)]
    pub peer_address: String,
    /// The availability zone that it belongs to when it is new.
    pub zone: String,
    /// What it has to give.
    pub capacity: Capacity,
    /// How it runs guests.
    pub hypervisor: Hypervisor,
    /// The life of the store that it has entered; `None` if none. What it sees before it has entered this one, perhaps
    /// acting on another's orders, says nothing here: it is only told which this is, and says hello again.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The commit of that life up to which it has applied orders. A store that has not come so far is an older copy of
    /// itself.
    #[serde(default)]
    pub applied_upto: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Every guest there.
    pub inventory: Vec<Observation>,
}

/// The control plane's answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The host's id from now on.
    pub host_id: HostId,
    /// Which life of the store answers. Orders of another are not to be mixed with its.
    pub incarnation: Incarnation,
    /// The session that begins, to be named in polls and reports. It ends with the next hello, or with the control
    /// plane's process.
    pub session: u64,
}

/// What an agent asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersQuery {
    /// The session that the last welcome gave.
    pub session: u64,
    /// The life of the store that `after` counts in.
    pub incarnation: Incarnation,
    /// The commit up to which it has applied orders; 0 for all.
    pub after: u64,
    /// How long to wait for something new, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default)]
    pub receipt: Option<String>,
}

/// What changed for a host after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The life of the store. If it differs from the agent's, `after` is 0 and all orders are there.
    pub incarnation: Incarnation,
    /// The commit that these orders follow.
    pub after: u64,
    /// The commit up to which they are complete.
    pub upto: u64,
    /// What proves that the control plane told of `upto`. The agent keeps it, and shows it with that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The servers with changed orders, each order complete.
    pub orders: Vec<Order>,
    /// Questions that wait for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
}

/// What a host is to do about one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// The server's disk is this host's to write, and the guest its to run.
    Own(Own),
    /// The guest is to come from another host.
    Receive(Receive),
    /// The server has left this disk behind. The host keeps the disk and runs nothing on it.
    Keep {
        /// The disk's server.
        server_id: ServerId,
        /// The disk's generation.
        generation: u64,
    },
    /// A tombstone: the host removes everything of the server up to this generation. Only a tombstone, never an
    /// absent order, makes an agent delete.
    Remove {
        /// The server.
        server_id: ServerId,
        /// Up to this generation.
        generation: u64,
    },
}

impl Order {
    /// The server that the order is about.
    pub fn server_id(&self) -> ServerId {
        match self {
            Self::Own(own) => own.assignment.server_id,
            Self::Receive(receive) => receive.assignment.server_id,
            Self::Keep { server_id, .. } | Self::Remove { server_id, .. } => *server_id,
        }
    }

    /// The generation of the disk that it is about.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Own(own) => own.assignment.generation,
            Self::Receive(receive) => receive.assignment.generation,
            Self::Keep { generation, .. } | Self::Remove { generation, .. } => *generation,
        }
    }
}

/// A guest to have on a disk of a generation, as of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAssignment {
    /// The guest's server.
    pub server_id: ServerId,
    /// The generation of its disk.
    pub generation: u64,
    /// If higher than the last boot that the agent carried out, the guest is rebooted.
    pub boot: u64,
    /// What to run.
    pub guest: GuestSpec,
}

/// A guest that is this host's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The guest.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// True if it is to run.
    pub run: bool,
    /// How the guest is rebooted, if it runs.
    pub boot_style: BootStyle,
    /// True if the disk was made already. If such a disk is missing, it is lost, and the host must not make a new
    /// disk.
    pub disk_made: bool,
    /// The older generation under which the disk lies here, if it was decided to go back to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revives: Option<u64>,
    /// Where the guest is to go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outgoing: Option<Outgoing>,
    /// The upload's name, if the host sends the disk to the image store once the guest does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload: Option<String>,
}

/// The source's part in a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outgoing {
    /// The disk's generation once the target has it. Names the ticket.
    pub generation: u64,
    /// Where to.
    pub to: Peer,
    /// How.
    #[serde(rename = "manner")]
    pub mode: Mode,
    /// True if the host keeps the guest, unless it has released the guest already.
    pub withdraw: bool,
    /// True if the move must complete, even if it slows or pauses the guest.
    #[serde(default)]
    pub force: bool,
}

/// The target's part in a move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receive {
    /// The guest as it will be here.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// The source. Only this host may hand the guest over.
    pub from: Peer,
    /// How.
    #[serde(rename = "manner")]
    pub mode: Mode,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which.
    pub host_id: HostId,
    /// Its name: what its certificate must say.
    pub name: String,
    /// `address:port` where its agent listens for others; empty if it does not.
    pub address: String,
}

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The server's name.
    pub name: String,
    /// The name that the guest is told.
    pub hostname: String,
    /// Its project.
    pub project_id: ProjectId,
    /// Its maker.
    pub user_id: UserId,
    /// What it gets.
    pub size: Size,
    /// What its disk is laid over.
    pub base: Base,
    /// Its ports, in order.
    pub ports: Vec<PortSpec>,
    /// The name and the text of its public key.
    pub key: Option<(String, String)>,
    /// Its owner's attributes.
    pub metadata: BTreeMap<String, String>,
    /// Its place among the servers of one request.
    pub launch_index: u32,
    /// Its availability zone.
    pub availability_zone: String,
    /// True if its owner asked for a config drive.
    pub config_drive: bool,
    /// True if user data can be had.
    pub has_user_data: bool,
    /// The password that the guest has posted, if it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The floating IPs that its host answers for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floating: Vec<FloatingSpec>,
}

/// A floating IP that is answered by the host of its guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingSpec {
    /// The address.
    pub address: IpAddr,
    /// The Ethernet address by which it is answered.
    pub mac: Mac,
    /// The external network.
    pub network_id: NetworkId,
    /// The physical network that this is.
    pub physical_network: String,
    /// Its VLAN there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u32>,
}

/// The image under a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// Where to get it.
    pub image_id: ImageId,
    /// SHA-512 of its bytes, in hex.
    pub sha512: String,
    /// The format of its bytes.
    pub format: String,
}

/// One port of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortSpec {
    /// The port.
    pub port_id: PortId,
    /// Its place in the guest, which stays its own while others come and go.
    #[serde(default)]
    pub slot: u32,
    /// Its network.
    pub network_id: NetworkId,
    /// Its Ethernet address.
    pub mac: Mac,
    /// The network's largest packet, in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<AddressSpec>,
}

/// One address of a port, with what the guest must know of its subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressSpec {
    /// The subnet.
    pub subnet_id: SubnetId,
    /// The address.
    pub address: IpAddr,
    /// The subnet's range.
    pub cidr: ipnet::IpNet,
    /// The subnet's router.
    pub gateway: Option<IpAddr>,
    /// Whether the subnet has DHCP.
    pub dhcp: bool,
    /// How guests get addresses of an IPv6 subnet (`slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`), if not by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_mode: Option<String>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// Routes.
    pub routes: Vec<HostRoute>,
}

/// What an agent saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The session that the last welcome gave.
    pub session: u64,
    /// Its place in the session: higher than that of every report built before it.
    pub number: u64,
    /// The life of the store that the agent's orders came from.
    pub incarnation: Incarnation,
    /// Guests with a changed observation.
    pub observations: Vec<Observation>,
    /// How far moves from here have come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<MoveProgress>,
}

/// A question that changes nothing. It comes with the answer to the agent's poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// To be repeated in the answer.
    pub id: u64,
    /// What is asked.
    pub ask: Subject,
}

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum Subject {
    /// The end of a guest's console log.
    Console {
        /// The server.
        server_id: ServerId,
        /// How many lines; `None` for all that is kept.
        lines: Option<u32>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: u64,
    /// The text asked for, or why it cannot be had.
    pub result: Result<String, String>,
}

/// What a host is to do after commit `after`, as of `state`.
///
/// An `after` that counts in another life of the store, or lies in this one's future, gets everything.
pub fn orders(state: &State, host: HostId, query: &OrdersQuery) -> Orders {
    let known = query.incarnation == state.incarnation && query.after <= state.seq;
    let after = if known { query.after } else { 0 };
    let orders =
        state.orders_after(host, after).filter_map(|(_, server)| order(state, host, server)).collect();
    Orders {
        incarnation: state.incarnation,
        after,
        upto: state.seq,
        receipt: None,
        orders,
        questions: Vec::new(),
    }
}

/// Whether a host has to do with a server that is laid over an image.
pub fn needs_image(state: &State, host: HostId, image: ImageId) -> bool {
    state.orders_after(host, 0).any(|(_, server)| {
        let base = match order(state, host, server) {
            Some(Order::Own(own)) => own.assignment.guest.base.image_id,
            Some(Order::Receive(receive)) => receive.assignment.guest.base.image_id,
            _ => return false,
        };
        base == image
    })
}

/// What this host is to do about one server; `None` if it has no business with it.
pub fn order(state: &State, host: HostId, server_id: ServerId) -> Option<Order> {
    // The host of a restored server is not known yet. Disks that the server left behind earlier are older than
    // its current disk.
    let server = state.servers.get(&server_id).filter(|s| s.restored.is_none());
    if let Some(server) = server.filter(|s| s.host_id == Some(host)) {
        return Some(match server.wanted {
            Wanted::Absent => Order::Remove { server_id, generation: server.disk.generation },
            Wanted::Running | Wanted::Stopped => Order::Own(own(state, host, server)),
        });
    }
    let ticket = |s: &Server| s.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    if let Some(server) = server.filter(|s| ticket(s)) {
        let ticket = server.ticket.as_ref()?;
        let mut assignment = assignment(state, host, server);
        assignment.generation = ticket.generation;
        assignment.guest.size = ticket.snapshot.size;
        let from = peer(state, server.host_id?)?;
        return Some(Order::Receive(Receive { assignment: assignment.into(), from, mode: ticket.mode }));
    }
    let copy = state.disk_copy_on(host, server_id)?;
    let generation = copy.generation;
    Some(match copy.fate {
        Fate::Kept { .. } => Order::Keep { server_id, generation },
        Fate::Doomed => Order::Remove { server_id, generation },
        Fate::Found { .. } => return None,
    })
}

fn own(state: &State, host: HostId, server: &Server) -> Own {
    let outgoing = server.ticket.as_ref().filter(|ticket| ticket.leg != Leg::Prepare).and_then(|ticket| {
        Some(Outgoing {
            generation: ticket.generation,
            to: peer(state, ticket.to)?,
            mode: ticket.mode,
            withdraw: ticket.leg == Leg::Withdraw,
            force: ticket.forced,
        })
    });
    Own {
        assignment: assignment(state, host, server).into(),
        run: server.wanted == Wanted::Running,
        boot_style: server.boot_style,
        disk_made: server.disk.made,
        revives: server.disk.revives,
        outgoing,
        upload: server.shelf.as_deref().and_then(|shelf| match shelf {
            Shelf::Saving { upload, .. } => Some(upload.clone()),
            Shelf::Offloaded { .. } => None,
        }),
    }
}

fn peer(state: &State, id: HostId) -> Option<Peer> {
    let host = state.hosts.get(&id)?;
    Some(Peer { host_id: id, name: host.name.clone(), address: host.peer_address.clone() })
}

fn assignment(state: &State, host: HostId, server: &Server) -> GuestAssignment {
    let ports: Vec<PortId> = state.ports_of_server(server.id).map(|port| port.id).collect();
    GuestAssignment {
        server_id: server.id,
        generation: server.disk.generation,
        boot: server.boot,
        guest: GuestSpec {
            name: server.name.clone(),
            hostname: server.hostname.clone(),
            project_id: server.project_id,
            user_id: server.user_id,
            size: server.size,
            base: Base {
                image_id: server.base_image(),
                sha512: server.base.to_string(),
                format: server.base_format.to_string(),
            },
            ports: ports.iter().filter_map(|id| port(state, *id)).collect(),
            key: server.key.as_ref().map(|key| (key.name.clone(), key.public_key.clone())),
            metadata: server.metadata.clone(),
            launch_index: server.launch_index,
            availability_zone: state.hosts.get(&host).map(|h| h.zone.clone()).unwrap_or_default(),
            config_drive: server.config_drive,
            has_user_data: server.has_user_data,
            password: server.guest_password.clone(),
            floating: ports.iter().flat_map(|id| floating(state, host, *id)).collect(),
        },
    }
}

fn floating(state: &State, host: HostId, port: PortId) -> impl Iterator<Item = FloatingSpec> + '_ {
    state.floating_ips_of_port(port).filter_map(move |floating| {
        let (physical, vlan) = state.networks.get(&floating.network_id)?.physical()?;
        Some(FloatingSpec {
            address: floating.address,
            mac: floating.mac_on(state, host)?,
            network_id: floating.network_id,
            physical_network: physical.to_owned(),
            vlan,
        })
    })
}

fn port(state: &State, id: PortId) -> Option<PortSpec> {
    let port = state.ports.get(&id)?;
    let addresses = port.fixed_ips.iter().filter_map(|ip| {
        let subnet = state.subnets.get(&ip.subnet_id)?;
        Some(AddressSpec {
            subnet_id: ip.subnet_id,
            address: ip.ip_address,
            cidr: subnet.cidr,
            gateway: subnet.gateway,
            dhcp: subnet.enable_dhcp,
            ipv6_mode: subnet.ipv6_address_mode.clone(),
            dns: subnet.dns_nameservers.clone(),
            routes: subnet.host_routes.clone(),
        })
    });
    Some(PortSpec {
        port_id: id,
        slot: port.server_index,
        network_id: port.network_id,
        mac: port.mac,
        mtu: state.networks.get(&port.network_id).map_or(1500, |n| n.mtu),
        addresses: addresses.collect(),
    })
}
