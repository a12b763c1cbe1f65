//! The orders of a host: the part of State that the host must know, rendered for it.

use lenticular_model::{
    HostId, ImageId, Incarnation, PortId, ServerId, State,
    compute::{
        disk::{Disk, DiskKind, Fate},
        flavor::Size,
        migration::Leg,
        rescue::Rescue,
        server::{Server, Shelf, Wanted},
    },
    host::{
        guest_spec::{AddressSpec, Base, Content, DiskSpec, FloatingSpec, GuestSpec, PortSpec, RescueSpec},
        host::HostOrder,
        order::{GuestAssignment, Order, Outgoing, Own, Peer, Receive, Replaces, RunGoal},
    },
    image::Image,
};
use std::net::IpAddr;

/// The orders of a host that changed after a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderChanges {
    /// The commit that the orders follow; 0 if these are all orders.
    pub after: u64,
    /// The servers with changed orders, each order complete.
    pub servers: Vec<Order>,
    /// The order about the host itself, if it changed.
    pub host: Option<HostOrder>,
}

impl OrderChanges {
    /// True if nothing changed after commit `after`.
    pub fn is_empty(&self, after: u64) -> bool {
        self.servers.is_empty() && self.host.is_none() && self.after == after
    }
}

/// A host's changed orders after commit `after` of an incarnation of the store.
///
/// If `after` belongs to another incarnation, or lies in the future of this store, the answer has all orders.
pub fn changes(state: &State, host: HostId, incarnation: Incarnation, after: u64) -> OrderChanges {
    let known = incarnation == state.incarnation && after <= state.seq;
    let after = if known { after } else { 0 };
    let servers = state.orders_after(host, after).filter_map(|(_, server)| order(state, host, server));
    let about_host = state.hosts.get(&host).filter(|_| state.host_order_after(host, after));
    let about_host = about_host.map(|host| host.order.clone()).filter(|order| *order != HostOrder::default());
    OrderChanges { after, servers: servers.collect(), host: about_host }
}

/// Whether a host has an order for a server with this image.
pub fn needs_image(state: &State, host: HostId, image: ImageId) -> bool {
    state.orders_after(host, 0).any(|(_, server)| {
        let assignment = match order(state, host, server) {
            Some(Order::Own(own)) => own.assignment,
            Some(Order::Receive(receive)) => receive.assignment,
            _ => return false,
        };
        assignment.guest.bases().any(|base| base.image_id == image)
    })
}

/// This host's order for one server; `None` if it has none.
pub fn order(state: &State, host: HostId, server_id: ServerId) -> Option<Order> {
    // The host of a restored server is not known yet. Disks that the server left behind earlier are older than
    // its current disk.
    let server = state.servers.get(&server_id).filter(|s| s.restored.is_none());
    // Nothing is done to a server without disks, or whose disks are not together, but its removal.
    let whole = |s: &Server| state.root_disk(s.id).is_some() && state.stray_disk(s).is_none();
    if server.is_some_and(|s| s.wanted != Wanted::Absent && !whole(s)) {
        return None;
    }
    if let Some(server) = server.filter(|s| s.host_id == Some(host)) {
        return Some(match server.wanted {
            Wanted::Absent => Order::Remove { server_id, generation: state.generation_of_server(server_id) },
            Wanted::Running | Wanted::Paused | Wanted::Suspended | Wanted::Stopped => {
                Order::Own(own(state, host, server))
            }
        });
    }
    let ticket = |s: &Server| s.ticket.as_ref().is_some_and(|ticket| ticket.to == host);
    if let Some(server) = server.filter(|s| ticket(s)) {
        let ticket = server.ticket.as_ref()?;
        let assignment = assignment(state, host, server, ticket.generation, ticket.snapshot.size);
        let from = peer(state, server.host_id?)?;
        return Some(Order::Receive(Receive {
            assignment: assignment.into(),
            layout: server.layout,
            from,
            mode: ticket.mode,
        }));
    }
    let left = state.left_disk_on(host, server_id)?;
    let generation = left.generation;
    Some(match left.fate()? {
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
    let root = state.root_disk(server.id);
    let generation = state.generation_of_server(server.id);
    Own {
        assignment: assignment(state, host, server, generation, server.size).into(),
        run: goal(server),
        boot_style: server.boot_style,
        disk_made: state.has_made_disks(server.id),
        revives: root.and_then(|disk| disk.revives),
        replaces: server
            .rebuild
            .as_deref()
            .map(|former| Replaces { generation: former.generation, keeps_data: former.keeps_data }),
        outgoing,
        upload: server.shelf.as_deref().and_then(|shelf| match shelf {
            Shelf::Saving { upload, .. } => Some(upload.clone()),
            Shelf::Offloaded { .. } => None,
        }),
        snapshot: server.snapshot.as_deref().map(|snapshot| snapshot.upload.clone()),
    }
}

fn goal(server: &Server) -> RunGoal {
    match server.wanted {
        Wanted::Running | Wanted::Paused => RunGoal::Running,
        Wanted::Suspended => RunGoal::Suspended { attempt: server.suspensions },
        Wanted::Stopped | Wanted::Absent => RunGoal::Stopped,
    }
}

fn peer(state: &State, id: HostId) -> Option<Peer> {
    let host = state.hosts.get(&id)?;
    Some(Peer { host_id: id, name: host.name.clone(), address: host.peer_address.clone() })
}

fn assignment(state: &State, host: HostId, server: &Server, generation: u64, size: Size) -> GuestAssignment {
    let ports: Vec<PortId> = state.ports_of_server(server.id).map(|port| port.id).collect();
    GuestAssignment {
        server_id: server.id,
        generation,
        boot: server.boot,
        paused: server.wanted == Wanted::Paused,
        guest: GuestSpec {
            name: server.name.clone(),
            hostname: server.hostname.clone(),
            project_id: server.project_id,
            user_id: server.user_id,
            size,
            disks: state.disks_of_server(server.id).map(|d| disk(server, d, generation, &size)).collect(),
            rescue: server.rescue.as_deref().map(rescue),
            ports: ports.iter().filter_map(|id| port(state, *id)).collect(),
            key: server.key.as_ref().map(|key| (key.name.clone(), key.public_key.clone())),
            metadata: server.metadata.clone(),
            launch_index: server.launch_index,
            availability_zone: state.hosts.get(&host).map(|h| h.zone.clone()).unwrap_or_default(),
            config_drive: server.config_drive,
            has_user_data: server.has_user_data,
            has_files: server.has_files,
            password: server.guest_password.clone(),
            public_ips: ports.iter().flat_map(|id| public_ips(state, *id)).collect(),
            flavor_name: server.flavor_name.to_string(),
            reservation_id: server.reservation_id.to_string(),
            floating: ports.iter().flat_map(|id| floating(state, host, *id)).collect(),
        },
    }
}

/// A disk with the generation and the size that it has on the host that the order is for.
fn disk(server: &Server, disk: &Disk, generation: u64, size: &Size) -> DiskSpec {
    let content = match disk.kind {
        DiskKind::Root => Content::Image(Base {
            image_id: server.base_image(),
            sha512: server.base.to_string(),
            format: server.base_format.to_string(),
        }),
        DiskKind::Ephemeral => Content::Blank,
        DiskKind::Swap => Content::Swap,
    };
    DiskSpec { id: disk.id, generation, bytes: disk.kind.bytes(size), content, tag: disk.tag.clone() }
}

/// An image as hosts fetch it; `None` while it has no data.
pub fn base_of(image: &Image) -> Option<Base> {
    let data = image.data()?;
    let format = image.disk_format.clone().unwrap_or_else(|| "raw".to_owned());
    Some(Base { image_id: image.id, sha512: data.sha512.clone(), format })
}

fn rescue(rescue: &Rescue) -> RescueSpec {
    let base = Base {
        image_id: rescue.image_id,
        sha512: rescue.base.to_string(),
        format: rescue.base_format.to_string(),
    };
    RescueSpec { base, stable: rescue.stable }
}

fn public_ips(state: &State, port: PortId) -> impl Iterator<Item = IpAddr> + '_ {
    state.floating_ips_of_port(port).map(|floating| floating.address)
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
        tag: port.device_tag.clone(),
    })
}
