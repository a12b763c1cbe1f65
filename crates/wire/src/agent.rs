//! The agent protocol: hosts pull orders and push observations; the control plane never calls a host.
//!
//! ```text
//! POST /agent/v1/hello                        Hello        → Welcome   host's name, capacity and guests
//! GET  /agent/v1/hosts/H/orders?…             OrdersQuery  → Orders    long poll: the changes after a commit
//! POST /agent/v1/hosts/H/observations         Report       → 204       durable when answered
//! POST /agent/v1/hosts/H/answers              Answer       → 204       to a question that came with orders
//! GET  /agent/v1/images/I/data                             → bytes     an image, for the base cache
//! GET  /agent/v1/servers/S/user-data                       → bytes     (404: there is none)
//! PUT  /agent/v1/servers/S/disk?upload=U      bytes        → 204       a whole qcow2 disk, for the image store
//! ```
//!
//! A lost, late or repeated message does no harm. Orders name the commit that they follow (`after`), and an agent
//! applies only orders that follow its applied commit. Observations are levels, not edges, and name generation
//! and boot. A missing order never means removal: a guest is removed only on an order to remove it.
//!
//! A hello begins a session, and ends the session before. Reports are numbered within their session: a report
//! that arrives after a later report is answered and changes nothing. Polls and reports of any other session get
//! 404, and then the agent says hello again. So if a late or repeated hello ended the agent's session, the agent's
//! next call fails. Then its new hello corrects the old hello's content.

pub use lenticular_model::compute::migration::MoveProgress;
use lenticular_model::{
    HostId, ImageId, Incarnation, NetworkId, PortId, ProjectId, ServerId, State, SubnetId, UserId,
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
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// The version of this protocol. A peer with another version is refused, and the error names the version.
pub const VERSION: u32 = 2;

/// The longest wait of a poll for orders, in milliseconds.
pub const WAIT_MS_MAX: u64 = 20_000;

/// An agent introduces its host: at its start, and whenever the control plane does not know it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The agent's protocol version.
    pub version: u32,
    /// The host's name, unique in the cloud.
    pub host_name: String,
    /// The kernel's boot id.
    pub boot_id: String,
    /// The host's address, for operators.
    pub address: String,
    /// `address:port` where the agent listens for other hosts' agents; empty if it does not listen.
    #[serde(default)]
    pub peer_address: String,
    /// The availability zone of a new host.
    pub zone: String,
    /// The host's capacity.
    pub capacity: Capacity,
    /// The host's hypervisor.
    pub hypervisor: Hypervisor,
    /// The incarnation of the store that the host has entered; `None` if none. Before a host enters the current
    /// incarnation, its observations may follow orders of another, and are ignored. The answer names the current
    /// incarnation, and the agent says hello again.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// The last commit of that incarnation with applied orders. A store that has not reached this commit is an
    /// older copy of itself.
    #[serde(default)]
    pub applied_upto: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// Every guest on the host.
    pub inventory: Vec<Observation>,
}

/// The control plane's answer to a hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// The host's id.
    pub host_id: HostId,
    /// The incarnation of the store that answers. Its orders must not be mixed with another's.
    pub incarnation: Incarnation,
    /// The new session, which polls and reports must name. It ends with the next hello, or with the control
    /// plane's process.
    pub session: u64,
}

/// A poll for orders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrdersQuery {
    /// The session from the last welcome.
    pub session: u64,
    /// The incarnation of the store that `after` belongs to.
    pub incarnation: Incarnation,
    /// The last commit with applied orders; 0 asks for all orders.
    pub after: u64,
    /// How long to wait for changes, in milliseconds.
    #[serde(default)]
    pub wait_ms: u64,
    /// The receipt that came with the orders of that commit.
    #[serde(default)]
    pub receipt: Option<String>,
}

/// The changed orders of a host after a commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// The incarnation of the store. If it differs from the agent's, `after` is 0 and all orders are included.
    pub incarnation: Incarnation,
    /// The commit that these orders follow.
    pub after: u64,
    /// The commit that these orders lead to.
    pub upto: u64,
    /// The proof that the control plane told of `upto`. The agent keeps the receipt, and shows it with that
    /// commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
    /// The servers with changed orders, each order complete.
    pub orders: Vec<Order>,
    /// Questions that wait for an answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Question>,
}

/// A host's order for one server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    /// This host may write the server's disk and run its guest.
    Own(Own),
    /// The guest will come from another host.
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
        /// The last generation to remove.
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

    /// The generation of the order's disk.
    pub fn generation(&self) -> u64 {
        match self {
            Self::Own(own) => own.assignment.generation,
            Self::Receive(receive) => receive.assignment.generation,
            Self::Keep { generation, .. } | Self::Remove { generation, .. } => *generation,
        }
    }
}

/// A guest, the generation of its disk, and the boot to reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestAssignment {
    /// The guest's server.
    pub server_id: ServerId,
    /// The generation of its disk.
    pub generation: u64,
    /// If higher than the last boot that the agent carried out, the guest is rebooted.
    pub boot: u64,
    /// The guest to run.
    pub guest: GuestSpec,
}

/// A guest that belongs to this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Own {
    /// The guest.
    #[serde(flatten)]
    pub assignment: Arc<GuestAssignment>,
    /// True if the guest must run.
    pub run: bool,
    /// How the guest is rebooted, if it runs.
    pub boot_style: BootStyle,
    /// True if the disk was made already. If such a disk is missing, it is lost, and the host must not make a new
    /// disk.
    pub disk_made: bool,
    /// The older generation of the disk here, if the server returns to that disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revives: Option<u64>,
    /// The guest's move to another host.
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
    /// The target.
    pub to: Peer,
    /// Live or cold.
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
    /// Live or cold.
    #[serde(rename = "manner")]
    pub mode: Mode,
}

/// Another host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The host's id.
    pub host_id: HostId,
    /// The host's name: its certificate must have this name.
    pub name: String,
    /// `address:port` where its agent listens for others; empty if it does not listen.
    pub address: String,
}

/// A guest's specification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GuestSpec {
    /// The server's name.
    pub name: String,
    /// The host name inside the guest.
    pub hostname: String,
    /// Its project.
    pub project_id: ProjectId,
    /// The user who created the server.
    pub user_id: UserId,
    /// Its CPUs, memory and disk.
    pub size: Size,
    /// The image below its disk.
    pub base: Base,
    /// Its ports, in order.
    pub ports: Vec<PortSpec>,
    /// Its keypair: the name and the public key.
    pub key: Option<(String, String)>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Its index among the servers of one request.
    pub launch_index: u32,
    /// Its availability zone.
    pub availability_zone: String,
    /// True if the user asked for a config drive.
    pub config_drive: bool,
    /// True if the server has user data.
    pub has_user_data: bool,
    /// The password that the guest has posted, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// The floating IPs that its host answers for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub floating: Vec<FloatingSpec>,
}

/// A floating IP that the guest's host answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingSpec {
    /// The address.
    pub address: IpAddr,
    /// The Ethernet address in the answers.
    pub mac: Mac,
    /// The external network.
    pub network_id: NetworkId,
    /// The physical network of the external network.
    pub physical_network: String,
    /// The VLAN in the physical network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u32>,
}

/// The image under a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The image's id.
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
    /// The index of the interface in the guest. It stays the same while other interfaces change.
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

/// An address of a port, with the data of its subnet that the guest needs.
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
    /// How guests get addresses of an IPv6 subnet (`slaac`, `dhcpv6-stateful`, `dhcpv6-stateless`); `None` means
    /// manually.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_mode: Option<String>,
    /// DNS servers.
    pub dns: Vec<IpAddr>,
    /// Routes.
    pub routes: Vec<HostRoute>,
}

/// An agent's report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The session from the last welcome.
    pub session: u64,
    /// Its number in the session: higher than the number of every report made before it.
    pub number: u64,
    /// The incarnation of the store that the agent's orders came from.
    pub incarnation: Incarnation,
    /// Guests with a changed observation.
    pub observations: Vec<Observation>,
    /// The progress of moves from this host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub progress: Vec<MoveProgress>,
}

/// A question that changes nothing. It comes with the answer to the agent's poll.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// The question's id; the answer repeats it.
    pub id: u64,
    /// The subject.
    pub ask: Subject,
}

/// The subjects of questions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "about")]
pub enum Subject {
    /// The end of a guest's console log.
    Console {
        /// The server.
        server_id: ServerId,
        /// How many lines; `None` for all lines that the host keeps.
        lines: Option<u32>,
    },
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: u64,
    /// The text, or why there is none.
    pub result: Result<String, String>,
}

/// A host's changed orders after commit `after`, as of `state`.
///
/// If `after` belongs to another incarnation of the store, or lies in the future of this store, the answer has
/// all orders.
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

/// Whether a host has an order for a server with this image.
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

/// This host's order for one server; `None` if it has none.
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
