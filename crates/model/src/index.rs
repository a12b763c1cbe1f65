//! Secondary indexes: ways to find records other than by id, kept by the code that writes the records.

pub mod net;

use crate::{
    compute::{
        aggregate::Aggregate,
        disk_copy::DiskCopy,
        flavor::Flavor,
        keypair::Keypair,
        migration::{Migration, Progress},
        operation::Operation,
        server::Server,
        server_group::ServerGroup,
    },
    host::{
        host::{Capacity, Contact, Host},
        room::Rooms,
    },
    identity::{Domain, Project, Revocation, Role, RoleAssignment, Target, User},
    image::Image,
    network::{
        network::Network,
        port::{Mac, Port},
        security_group::SecurityGroup,
        subnet::Subnet,
    },
    quota::{Quota, Usage},
    AggregateId, AssignmentId, DiskCopyId, DomainId, FlavorId, HostId, ImageId, KeypairId, MigrationId,
    NetworkId, OperationId, PortId, ProjectId, RoleId, SecurityGroupId, SecurityGroupRuleId, ServerGroupId,
    ServerId, SubnetId, Timestamp, UserId,
};
use imbl::{OrdMap, OrdSet};
use std::{cmp::Reverse, collections::BTreeSet, net::IpAddr};

/// A server's place in listings: newest first, as Nova sorts.
pub type ServerOrder = (Reverse<Timestamp>, Reverse<ServerId>);

/// The secondary indexes of a State.
#[derive(Clone, Default)]
pub struct Index {
    /// Users by domain and name.
    pub user_names: OrdMap<(DomainId, String), UserId>,
    /// Projects by domain and name.
    pub project_names: OrdMap<(DomainId, String), ProjectId>,
    /// Domains by name.
    pub domain_names: OrdMap<String, DomainId>,
    /// Roles by name.
    pub role_names: OrdMap<String, RoleId>,
    /// Role assignments by user, target and role.
    pub user_roles: OrdMap<(UserId, Target, RoleId), AssignmentId>,
    /// Flavors by name.
    pub flavor_names: OrdMap<String, FlavorId>,
    /// Keypairs of a user.
    pub user_keypairs: OrdSet<(UserId, KeypairId)>,
    /// Images in the order of Glance's listings: newest first.
    pub image_order: OrdSet<(Reverse<Timestamp>, Reverse<ImageId>)>,
    /// Hosts by name.
    pub host_names: OrdMap<String, HostId>,
    /// Hosts as the scheduler sees them.
    pub rooms: Rooms,
    /// Aggregates by name.
    pub aggregate_names: OrdMap<String, AggregateId>,
    /// Aggregates by number.
    pub aggregate_numbers: OrdMap<u64, AggregateId>,
    /// Aggregates of a host.
    pub host_aggregates: OrdSet<(HostId, AggregateId)>,
    /// Server groups of a project.
    pub project_server_groups: OrdSet<(ProjectId, ServerGroupId)>,
    /// Servers of a server group.
    pub server_group_members: OrdSet<(ServerGroupId, ServerId)>,
    /// Servers in the order of Nova's listings.
    pub server_order: OrdSet<ServerOrder>,
    /// A project's servers in the order of Nova's listings.
    pub project_servers: OrdSet<(ProjectId, ServerOrder)>,
    /// Servers on a host.
    pub host_servers: OrdSet<(HostId, ServerId)>,
    /// What a host's servers take.
    pub host_usage: OrdMap<HostId, Taken>,
    /// What a project's servers take.
    pub project_usage: OrdMap<ProjectId, Usage>,
    /// Which hosts have orders for a server, why, and the last commit that changed them.
    pub order_refs: OrdMap<(ServerId, HostId), OrderRef>,
    /// The last commit that changed what a port means to its server's host.
    pub port_seq: OrdMap<PortId, u64>,
    /// Servers of a host in the order of those commits.
    pub order_feed: OrdSet<(HostId, u64, ServerId)>,
    /// Migrations of a server that are under way or not confirmed.
    pub server_migrations: OrdSet<(ServerId, MigrationId)>,
    /// The disk that a server left behind on a host.
    pub disk_copies: OrdMap<(HostId, ServerId), DiskCopyId>,
    /// Where a server left disks behind.
    pub server_copies: OrdSet<(ServerId, DiskCopyId)>,
    /// Operations of a server that are under way or just ended.
    pub server_operations: OrdSet<(ServerId, Timestamp, OperationId)>,
    /// Networks of a project.
    pub project_networks: OrdSet<(ProjectId, NetworkId)>,
    /// Networks that every project sees: shared or external.
    pub open_networks: OrdSet<NetworkId>,
    /// Subnets of a network.
    pub network_subnets: OrdSet<(NetworkId, SubnetId)>,
    /// Ports of a network.
    pub network_ports: OrdSet<(NetworkId, PortId)>,
    /// Ports of a project.
    pub project_ports: OrdSet<(ProjectId, PortId)>,
    /// Ports of a server, in order.
    pub server_ports: OrdSet<(ServerId, u32, PortId)>,
    /// Ports of a device.
    pub device_ports: OrdSet<(String, PortId)>,
    /// Addresses given out.
    pub addresses: OrdMap<(SubnetId, IpAddr), PortId>,
    /// Ethernet addresses given out.
    pub macs: OrdMap<(NetworkId, Mac), PortId>,
    /// Security groups of a project by name; names need not be unique.
    pub project_groups: OrdSet<(ProjectId, String, SecurityGroupId)>,
    /// Rules of a security group.
    pub group_rules: OrdSet<(SecurityGroupId, SecurityGroupRuleId)>,
    /// Ports in a security group.
    pub group_ports: OrdSet<(SecurityGroupId, PortId)>,
    /// Routers, floating IPs and what else stands beside networks.
    pub net: net::NetIndex,
}

/// What servers take of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// How much.
    pub capacity: Capacity,
    /// By how many servers.
    pub servers: u64,
    /// How many of those are being made or moved.
    pub busy: u64,
}

/// Why a host has orders for a server, as of which commit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OrderRef {
    /// The last commit that changed the orders.
    pub seq: u64,
    /// The server is there, or is to go there.
    pub server: bool,
    /// The server left a disk there.
    pub copy: bool,
}

/// A record that keeps secondary indexes.
pub trait Indexed {
    /// Notes that the record went from `old` to `new` in commit `seq`.
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let _ = (index, seq, old, new);
    }
}

fn move_key<K: Ord + Clone>(set: &mut OrdSet<K>, old: Option<K>, new: Option<K>) {
    if old == new {
        return;
    }
    if let Some(key) = old {
        set.remove(&key);
    }
    if let Some(key) = new {
        set.insert(key);
    }
}

fn move_entry<K: Ord + Clone, V: Clone + PartialEq>(
    map: &mut OrdMap<K, V>,
    old: Option<(K, V)>,
    new: Option<(K, V)>,
) {
    if old == new {
        return;
    }
    if let Some((key, _)) = old {
        map.remove(&key);
    }
    if let Some((key, value)) = new {
        map.insert(key, value);
    }
}

impl Indexed for Quota {}
impl Indexed for Contact {}
impl Indexed for Progress {}
impl Indexed for Revocation {}

impl Indexed for Domain {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |d: &Self| (d.name.clone(), d.id.clone());
        move_entry(&mut index.domain_names, old.map(entry), new.map(entry));
    }
}

impl Indexed for Project {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |p: &Self| ((p.domain_id.clone(), p.name.clone()), p.id);
        move_entry(&mut index.project_names, old.map(entry), new.map(entry));
    }
}

impl Indexed for User {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |u: &Self| ((u.domain_id.clone(), u.name.clone()), u.id);
        move_entry(&mut index.user_names, old.map(entry), new.map(entry));
    }
}

impl Indexed for Role {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |r: &Self| (r.name.clone(), r.id);
        move_entry(&mut index.role_names, old.map(entry), new.map(entry));
    }
}

impl Indexed for RoleAssignment {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |a: &Self| ((a.user_id, a.target.clone(), a.role_id), a.id);
        move_entry(&mut index.user_roles, old.map(entry), new.map(entry));
    }
}

impl Indexed for Flavor {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |f: &Self| (f.name.clone(), f.id.clone());
        move_entry(&mut index.flavor_names, old.map(entry), new.map(entry));
    }
}

impl Indexed for Keypair {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |k: &Self| (k.user_id, k.id.clone());
        move_key(&mut index.user_keypairs, old.map(key), new.map(key));
    }
}

impl Indexed for Image {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |i: &Self| (Reverse(i.created_at), Reverse(i.id));
        move_key(&mut index.image_order, old.map(key), new.map(key));
    }
}

impl Indexed for Host {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |h: &Self| (h.name.clone(), h.id);
        move_entry(&mut index.host_names, old.map(entry), new.map(entry));
        match (old, new) {
            (_, Some(new)) => {
                let aggregates = index.aggregates_of(new.id).collect();
                let taken = index.host_usage.get(&new.id).copied().unwrap_or_default();
                index.rooms.set(new, aggregates, taken);
            }
            (Some(old), None) => index.rooms.remove(old.id),
            (None, None) => {}
        }
    }
}

impl Indexed for Aggregate {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let name = |a: &Self| (a.name.clone(), a.id);
        move_entry(&mut index.aggregate_names, old.map(name), new.map(name));
        let number = |a: &Self| (a.number, a.id);
        move_entry(&mut index.aggregate_numbers, old.map(number), new.map(number));
        let hosts = |a: Option<&Self>| a.map(|a| a.hosts.iter().copied().collect()).unwrap_or_default();
        let (before, after): (BTreeSet<HostId>, BTreeSet<HostId>) = (hosts(old), hosts(new));
        let Some(id) = new.or(old).map(|a| a.id) else { return };
        for host in before.symmetric_difference(&after) {
            match after.contains(host) {
                true => drop(index.host_aggregates.insert((*host, id))),
                false => drop(index.host_aggregates.remove(&(*host, id))),
            }
            let aggregates = index.aggregates_of(*host).collect();
            index.rooms.regroup(*host, aggregates);
        }
    }
}

impl Indexed for ServerGroup {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |g: &Self| (g.project_id, g.id);
        move_key(&mut index.project_server_groups, old.map(key), new.map(key));
    }
}

impl Indexed for Operation {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |o: &Self| (o.server_id, o.created_at, o.id);
        move_key(&mut index.server_operations, old.map(key), new.map(key));
    }
}

impl Indexed for Network {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |n: &Self| (n.project_id, n.id);
        move_key(&mut index.project_networks, old.map(key), new.map(key));
        let open = |n: &Self| (n.shared || (n.external && !n.external_restricted)).then_some(n.id);
        move_key(&mut index.open_networks, old.and_then(open), new.and_then(open));
        let qos = |n: &Self| n.qos_policy_id.map(|q| (q, n.id));
        move_key(&mut index.net.qos_networks, old.and_then(qos), new.and_then(qos));
    }
}

impl Indexed for Subnet {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |s: &Self| (s.network_id, s.id);
        move_key(&mut index.network_subnets, old.map(key), new.map(key));
        let project = |s: &Self| (s.project_id, s.id);
        move_key(&mut index.net.project_subnets, old.map(project), new.map(project));
        let pool = |s: &Self| s.subnet_pool_id.map(|p| (p, s.id));
        move_key(&mut index.net.pool_subnets, old.and_then(pool), new.and_then(pool));
    }
}

impl Indexed for SecurityGroup {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |g: &Self| (g.project_id, g.name.clone(), g.id);
        move_key(&mut index.project_groups, old.map(key), new.map(key));
    }
}

impl Indexed for Port {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let network = |p: &Self| (p.network_id, p.id);
        move_key(&mut index.network_ports, old.map(network), new.map(network));
        let project = |p: &Self| (p.project_id, p.id);
        move_key(&mut index.project_ports, old.map(project), new.map(project));
        let server = |p: &Self| p.server_id.map(|s| (s, p.server_index, p.id));
        move_key(&mut index.server_ports, old.and_then(server), new.and_then(server));
        let device = |p: &Self| (!p.device_id.is_empty()).then(|| (p.device_id.clone(), p.id));
        move_key(&mut index.device_ports, old.and_then(device), new.and_then(device));
        let mac = |p: &Self| ((p.network_id, p.mac), p.id);
        move_entry(&mut index.macs, old.map(mac), new.map(mac));
        let qos = |p: &Self| p.qos_policy_id.map(|q| (q, p.id));
        move_key(&mut index.net.qos_ports, old.and_then(qos), new.and_then(qos));
        index.move_addresses(old, new);
        index.move_port_groups(old, new);
        let orders = |p: &Self| (p.server_id, p.mac, p.fixed_ips.clone());
        if old.map(orders) != new.map(orders) {
            for server in [old, new].into_iter().flatten().filter_map(|p| p.server_id) {
                index.reorder(server, seq);
            }
            if let Some(port) = new.filter(|p| p.server_id.is_some()) {
                index.port_seq.insert(port.id, seq);
            }
        }
        if new.is_none_or(|p| p.server_id.is_none()) {
            old.map(|port| index.port_seq.remove(&port.id));
        }
    }
}

impl Indexed for Migration {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |m: &Self| (m.server_id, m.id);
        move_key(&mut index.server_migrations, old.map(key), new.map(key));
    }
}

impl Indexed for DiskCopy {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |c: &Self| ((c.host_id, c.server_id), c.id);
        move_entry(&mut index.disk_copies, old.map(entry), new.map(entry));
        let key = |c: &Self| (c.server_id, c.id);
        move_key(&mut index.server_copies, old.map(key), new.map(key));
        match (old, new) {
            (Some(old), None) => index.unorder(old.host_id, old.server_id, |r| r.copy = false),
            (_, Some(new)) => index.order(new.host_id, new.server_id, seq, |r| r.copy = true),
            (None, None) => {}
        }
    }
}

impl Indexed for Server {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let order = |s: &Self| (Reverse(s.created_at), Reverse(s.id));
        move_key(&mut index.server_order, old.map(order), new.map(order));
        let project = |s: &Self| (s.project_id, order(s));
        move_key(&mut index.project_servers, old.map(project), new.map(project));
        let host = |s: &Self| s.host_id.map(|h| (h, s.id));
        move_key(&mut index.host_servers, old.and_then(host), new.and_then(host));
        let group = |s: &Self| s.server_group.map(|g| (g, s.id));
        move_key(&mut index.server_group_members, old.and_then(group), new.and_then(group));
        let same_claims = match (old, new) {
            (Some(old), Some(new)) => {
                old.claims().eq(new.claims()) && old.size == new.size && old.is_busy() == new.is_busy()
            }
            _ => false,
        };
        if !same_claims {
            index.take(old, new);
        }
        let differ = match (old, new) {
            (Some(old), Some(new)) => old.orders_differ(new),
            _ => true,
        };
        if differ {
            let now = |host: HostId| new.is_some_and(|s| s.hosts().any(|h| h == host));
            for (host, server) in old.iter().flat_map(|s| s.hosts().map(|h| (h, s.id))) {
                if !now(host) {
                    index.unorder(host, server, |r| r.server = false);
                }
            }
            for (host, server) in new.iter().flat_map(|s| s.hosts().map(|h| (h, s.id))) {
                index.order(host, server, seq, |r| r.server = true);
            }
        }
    }
}

impl Index {
    /// Servers whose orders for this host changed after commit `after`, oldest change first.
    pub fn orders_after(&self, host: HostId, after: u64) -> impl Iterator<Item = (u64, ServerId)> + '_ {
        let from = (host, after.saturating_add(1), ServerId(uuid::Uuid::nil()));
        self.order_feed
            .range(from..)
            .take_while(move |(h, ..)| *h == host)
            .map(|(_, seq, server)| (*seq, *server))
    }

    /// The hosts whose orders for a server changed in a commit.
    pub fn ordered_at(&self, server: ServerId, seq: u64) -> impl Iterator<Item = HostId> + '_ {
        let refs = self.order_refs.range((server, HostId(uuid::Uuid::nil()))..);
        let refs = refs.take_while(move |((s, _), _)| *s == server);
        refs.filter(move |(_, order)| order.seq >= seq).map(|((_, host), _)| *host)
    }

    /// The aggregates of a host.
    pub fn aggregates_of(&self, host: HostId) -> impl Iterator<Item = AggregateId> + '_ {
        let all = self.host_aggregates.range((host, AggregateId::default())..);
        all.take_while(move |(h, _)| *h == host).map(|(_, aggregate)| *aggregate)
    }

    /// The servers of a server group.
    pub fn members_of(&self, group: ServerGroupId) -> impl Iterator<Item = ServerId> + '_ {
        let all = self.server_group_members.range((group, ServerId::default())..);
        all.take_while(move |(g, _)| *g == group).map(|(_, server)| *server)
    }

    /// How many server groups a project has.
    pub fn server_group_count(&self, project: ProjectId) -> usize {
        let all = self.project_server_groups.range((project, ServerGroupId::default())..);
        all.take_while(|(p, _)| *p == project).count()
    }

    /// The highest address given out between two.
    pub fn highest_address(&self, subnet: SubnetId, start: IpAddr, end: IpAddr) -> Option<IpAddr> {
        self.addresses.range((subnet, start)..=(subnet, end)).next_back().map(|((_, address), _)| *address)
    }

    /// The addresses given out between two, lowest first.
    pub fn addresses_between(
        &self,
        subnet: SubnetId,
        start: IpAddr,
        end: IpAddr,
    ) -> impl Iterator<Item = IpAddr> + '_ {
        self.addresses.range((subnet, start)..=(subnet, end)).map(|((_, address), _)| *address)
    }

    /// Orders only grow newer. When a store is loaded, records come in the order of their kinds: a port that was
    /// changed last may come before its server, and an agent that has not heard of the change must still be told.
    fn order(&mut self, host: HostId, server: ServerId, seq: u64, set: impl FnOnce(&mut OrderRef)) {
        let old = self.order_refs.get(&(server, host)).copied();
        let mut now = old.unwrap_or_default();
        now.seq = now.seq.max(seq);
        set(&mut now);
        if now.server {
            let ports = self.server_ports.range((server, 0, PortId(uuid::Uuid::nil()))..);
            let ports = ports.take_while(|(s, ..)| *s == server);
            let changed = ports.filter_map(|(_, _, id)| self.port_seq.get(id)).copied().max();
            now.seq = now.seq.max(changed.unwrap_or_default());
        }
        self.set_order(host, server, old, Some(now));
    }

    fn unorder(&mut self, host: HostId, server: ServerId, clear: impl FnOnce(&mut OrderRef)) {
        let Some(old) = self.order_refs.get(&(server, host)).copied() else { return };
        let mut now = old;
        clear(&mut now);
        let now = Some(now).filter(|now| now.server || now.copy);
        self.set_order(host, server, Some(old), now);
    }

    /// The hosts that the server is on, or goes to, have new orders.
    fn reorder(&mut self, server: ServerId, seq: u64) {
        let refs = self.order_refs.range((server, HostId(uuid::Uuid::nil()))..);
        let refs = refs.take_while(|((s, _), _)| *s == server).filter(|(_, order)| order.server);
        let refs: Vec<(HostId, OrderRef)> = refs.map(|((_, host), order)| (*host, *order)).collect();
        for (host, old) in refs {
            let now = OrderRef { seq: old.seq.max(seq), ..old };
            self.set_order(host, server, Some(old), Some(now));
        }
    }

    fn set_order(&mut self, host: HostId, server: ServerId, old: Option<OrderRef>, new: Option<OrderRef>) {
        let feed = |order: OrderRef| (host, order.seq, server);
        move_key(&mut self.order_feed, old.map(feed), new.map(feed));
        match new {
            Some(new) => drop(self.order_refs.insert((server, host), new)),
            None => drop(self.order_refs.remove(&(server, host))),
        }
    }

    fn move_addresses(&mut self, old: Option<&Port>, new: Option<&Port>) {
        if old.map(|p| &p.fixed_ips) == new.map(|p| &p.fixed_ips) {
            return;
        }
        for ip in old.iter().flat_map(|p| &p.fixed_ips) {
            self.addresses.remove(&(ip.subnet_id, ip.ip_address));
        }
        for (port, ip) in new.iter().flat_map(|p| p.fixed_ips.iter().map(move |ip| (p.id, ip))) {
            self.addresses.insert((ip.subnet_id, ip.ip_address), port);
        }
    }

    fn move_port_groups(&mut self, old: Option<&Port>, new: Option<&Port>) {
        if old.map(|p| &p.security_groups) == new.map(|p| &p.security_groups) {
            return;
        }
        for (port, group) in old.iter().flat_map(|p| p.security_groups.iter().map(move |g| (p.id, *g))) {
            self.group_ports.remove(&(group, port));
        }
        for (port, group) in new.iter().flat_map(|p| p.security_groups.iter().map(move |g| (p.id, *g))) {
            self.group_ports.insert((group, port));
        }
    }

    fn take(&mut self, old: Option<&Server>, new: Option<&Server>) {
        for (server, sign) in [(old, -1_i64), (new, 1)] {
            let Some(server) = server else { continue };
            let usage = self.project_usage.entry(server.project_id).or_default();
            usage.instances += sign;
            usage.cores += sign * i64::from(server.size.vcpus);
            usage.ram += sign * i64::from(server.size.ram_mb);
            if *usage == Usage::default() {
                self.project_usage.remove(&server.project_id);
            }
            for (host, size) in server.claims() {
                let taken = self.host_usage.entry(host).or_default();
                let add =
                    |field: &mut u64, amount: u64| *field = field.saturating_add_signed(sign * amount as i64);
                add(&mut taken.servers, 1);
                add(&mut taken.busy, u64::from(server.is_busy()));
                add(&mut taken.capacity.vcpus, u64::from(size.vcpus));
                add(&mut taken.capacity.memory_mb, u64::from(size.ram_mb));
                add(&mut taken.capacity.disk_gb, size.all_disk_gb());
                let taken = *taken;
                self.rooms.take(host, taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_never_look_older_when_a_port_is_loaded_before_its_server() {
        let (host, server) = (HostId::from_random([1; 16]), ServerId::from_random([2; 16]));
        let mut index = Index::default();
        let set = |r: &mut OrderRef| r.server = true;
        let port = PortId::from_random([3; 16]);
        index.server_ports.insert((server, 0, port));
        index.port_seq.insert(port, 9);
        index.order(host, server, 5, set);
        assert_eq!(index.orders_after(host, 8).collect::<Vec<_>>(), [(9, server)]);
        assert_eq!(index.order_feed.len(), 1);
        index.order(host, server, 12, set);
        assert_eq!(index.orders_after(host, 0).collect::<Vec<_>>(), [(12, server)]);
        index.reorder(server, 15);
        assert_eq!(index.orders_after(host, 12).collect::<Vec<_>>(), [(15, server)]);
    }

    #[test]
    fn a_host_has_orders_as_long_as_anything_of_the_server_is_there() {
        let (host, server) = (HostId::from_random([1; 16]), ServerId::from_random([2; 16]));
        let mut index = Index::default();
        index.order(host, server, 1, |r| r.server = true);
        index.order(host, server, 2, |r| r.copy = true);
        index.unorder(host, server, |r| r.server = false);
        assert_eq!(index.orders_after(host, 0).collect::<Vec<_>>(), [(2, server)]);
        index.unorder(host, server, |r| r.copy = false);
        assert!(index.order_feed.is_empty() && index.order_refs.is_empty());
    }
}
