//! Secondary indexes: other ways than the id to find a record. The code that writes records keeps them.

mod check;
mod net;
mod order;
mod tree;

pub use order::OrderRef;

use crate::{
    AccessRuleId, AggregateId, ApplicationCredentialId, AssignmentId, DiskId, DomainId, EndpointId, FlavorId,
    GroupId, HostId, ImageId, MigrationId, NetworkId, OperationId, PortId, ProjectId, RoleId,
    SecurityGroupId, SecurityGroupRuleId, ServerGroupId, ServerId, ServiceId, SubnetId, Timestamp, TrustId,
    UserId,
    compute::{
        aggregate::Aggregate,
        disk::Disk,
        disk_copy::DiskCopy,
        flavor::Flavor,
        keypair::Keypair,
        migration::{Migration, Progress},
        operation::Operation,
        server::Server,
        server_group::ServerGroup,
    },
    host::{
        candidate::HostTable,
        host::{Capacity, Heartbeat, Host},
    },
    id::UuidId,
    identity::{
        AccessRule, Actor, ApplicationCredential, Domain, Endpoint, Group, Membership, Project, Region,
        Revocation, Role, RoleAssignment, RoleInference, Service, Target, Trust, User,
    },
    image::{Image, ImageMember},
    network::{network::Network, port::Port, security_group::SecurityGroup, subnet::Subnet},
    ops::{freeze::Freeze, host_step::HostStep, pace::PlanPace, plan::Plan, plan_step::PlanStep},
    quota::{Quota, Usage},
};
use imbl::OrdMap;
use net::NetIndex;
use std::{collections::BTreeSet, fmt::Display, net::IpAddr, sync::Arc};
use tree::{Links, Names, Newest, Texts};

/// A server's place in listings, which are newest first, as Nova sorts.
pub type ServerOrder = (Timestamp, ServerId);

/// A role assignment's place: its holder, its target, whether projects below inherit it, and its role.
pub(crate) type HeldRole = (Actor, Target, bool, RoleId);

/// The secondary indexes of a State.
#[derive(Clone, Default)]
pub struct Index {
    /// Users by `<domain>/<name>`.
    pub(crate) user_names: Names<UserId>,
    /// Projects by `<domain>/<name>`.
    pub(crate) project_names: Names<ProjectId>,
    /// Domains by name.
    pub(crate) domain_names: Names<DomainId>,
    /// Roles by `<domain>/<name>`; the domain of a role of the whole cloud is empty.
    pub(crate) role_names: Names<RoleId>,
    /// Role assignments by holder, target, whether they are inherited, and role.
    pub(crate) held_roles: OrdMap<HeldRole, AssignmentId>,
    /// Projects directly below a project.
    pub(crate) project_children: Links<ProjectId, ProjectId>,
    /// Groups by `<domain>/<name>`.
    pub(crate) group_names: Names<GroupId>,
    /// Users of a group.
    pub(crate) group_users: Links<GroupId, UserId>,
    /// Groups of a user.
    pub(crate) user_groups: Links<UserId, GroupId>,
    /// Application credentials by `<user>/<name>`.
    pub(crate) application_credential_names: Names<ApplicationCredentialId>,
    /// Application credentials in a project.
    pub(crate) project_application_credentials: Links<ProjectId, ApplicationCredentialId>,
    /// Application credentials of a user.
    pub(crate) user_application_credentials: Links<UserId, ApplicationCredentialId>,
    /// Access rules of a user.
    pub(crate) user_access_rules: Links<UserId, AccessRuleId>,
    /// Trusts of a trustor.
    pub(crate) trustor_trusts: Links<UserId, TrustId>,
    /// Trusts of a trustee.
    pub(crate) trustee_trusts: Links<UserId, TrustId>,
    /// Endpoints of a service.
    pub(crate) service_endpoints: Links<ServiceId, EndpointId>,
    /// Flavors by name.
    pub(crate) flavor_names: Names<FlavorId>,
    /// Images in the order of Glance's listings: newest first.
    pub(crate) image_order: Newest<(), ImageId>,
    /// Hosts by name.
    pub(crate) host_names: Names<HostId>,
    /// Hosts as the scheduler sees them.
    pub(crate) host_table: HostTable,
    /// Aggregates by name.
    pub(crate) aggregate_names: Names<AggregateId>,
    /// Aggregates by number.
    pub(crate) aggregate_numbers: Links<(), AggregateId>,
    /// Aggregates of a host.
    pub(crate) host_aggregates: Links<HostId, AggregateId>,
    /// Server groups of a project.
    pub(crate) project_server_groups: Links<ProjectId, ServerGroupId>,
    /// Steps of a plan that are not over, by `<plan>/<number>`.
    pub(crate) plan_steps: Texts<ServerId>,
    /// Servers of a server group.
    pub(crate) server_group_members: Links<ServerGroupId, ServerId>,
    /// Servers in the order of Nova's listings.
    pub(crate) server_order: Newest<(), ServerId>,
    /// A project's servers in the order of Nova's listings.
    pub(crate) project_servers: Newest<ProjectId, ServerId>,
    /// Servers on a host.
    pub(crate) host_servers: Links<HostId, ServerId>,
    /// The resources that a host's servers take.
    pub(crate) host_usage: OrdMap<HostId, Taken>,
    /// The resources that a project's servers take.
    pub(crate) project_usage: OrdMap<ProjectId, Usage>,
    /// The hosts that have orders for a server, the reason, and the last commit that changed the orders.
    pub(crate) order_refs: OrdMap<(ServerId, HostId), OrderRef>,
    /// The last commit that changed a port's part in the orders of its server's host.
    pub(crate) port_seq: OrdMap<PortId, u64>,
    /// Servers of a host in the order of those commits.
    pub(crate) order_feed: Links<HostId, ServerId>,
    /// The last commit that changed the orders about the host itself.
    pub(crate) host_orders: OrdMap<HostId, u64>,
    /// Migrations of a server that are under way or not confirmed.
    pub(crate) server_migrations: Links<ServerId, MigrationId>,
    /// A server's own disks, in the order of their kinds.
    pub(crate) server_disks: Links<ServerId, DiskId>,
    /// The last commit that changed a server's own disks.
    pub(crate) disk_seq: OrdMap<ServerId, u64>,
    /// The disks that a server left behind, in the order of their kinds.
    pub(crate) server_left_disks: Links<ServerId, DiskId>,
    /// The disks that servers left behind on a host.
    pub(crate) host_left_disks: Links<HostId, DiskId>,
    /// Operations of a server that are under way or just ended.
    pub(crate) server_operations: Links<ServerId, OperationId>,
    /// Networks of a project.
    pub(crate) project_networks: Links<ProjectId, NetworkId>,
    /// Networks that every project sees: shared or external.
    pub(crate) open_networks: Links<(), NetworkId>,
    /// Subnets of a network.
    pub(crate) network_subnets: Links<NetworkId, SubnetId>,
    /// Ports of a network.
    pub(crate) network_ports: Links<NetworkId, PortId>,
    /// Ports of a project.
    pub(crate) project_ports: Links<ProjectId, PortId>,
    /// Ports of a server, in order.
    pub(crate) server_ports: Links<ServerId, PortId>,
    /// Ports of a device.
    pub(crate) device_ports: Texts<PortId>,
    /// Addresses in use.
    pub(crate) addresses: OrdMap<(SubnetId, IpAddr), PortId>,
    /// Ethernet addresses in use.
    pub(crate) macs: Links<NetworkId, PortId>,
    /// Security groups under `<project>/<name>`; names need not be unique.
    pub(crate) project_groups: Texts<SecurityGroupId>,
    /// Rules of a security group.
    pub(crate) group_rules: Links<SecurityGroupId, SecurityGroupRuleId>,
    /// Ports in a security group.
    pub(crate) group_ports: Links<SecurityGroupId, PortId>,
    /// Routers, floating IPs and the other network records.
    pub(crate) net: NetIndex,
}

/// The resources that servers take of a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// The amounts.
    pub capacity: Capacity,
    /// The number of servers.
    pub servers: u64,
    /// The number of those servers that are made or moved now.
    pub busy: u64,
}

/// A record that keeps secondary indexes.
pub trait Indexed {
    /// Notes that the record went from `old` to `new` in commit `seq`.
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let _ = (index, seq, old, new);
    }
}

/// Moves a pair of ids.
fn move_key<A: UuidId, B: UuidId>(links: &mut Links<A, B>, old: Option<(A, B)>, new: Option<(A, B)>) {
    let entry = |(a, b): (A, B)| (a, 0, b);
    links.set(old.map(entry), new.map(entry));
}

/// A name within a domain, a project or the like, whose id has no slash.
pub(crate) fn scoped(scope: impl Display, name: &str) -> Arc<str> {
    format!("{scope}/{name}").into()
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
impl Indexed for Heartbeat {}
impl Indexed for Keypair {}
impl Indexed for Progress {}
impl Indexed for Revocation {}
impl Indexed for Region {}
impl Indexed for RoleInference {}
impl Indexed for Service {}
impl Indexed for ImageMember {}

impl Indexed for Group {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |g: &Self| (scoped(&g.domain_id, &g.name), g.id);
        index.group_names.set(old.map(entry), new.map(entry));
    }
}

impl Indexed for Membership {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let of_group = |m: &Self| (m.group_id, m.user_id);
        move_key(&mut index.group_users, old.map(of_group), new.map(of_group));
        let of_user = |m: &Self| (m.user_id, m.group_id);
        move_key(&mut index.user_groups, old.map(of_user), new.map(of_user));
    }
}

impl Indexed for ApplicationCredential {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let name = |c: &Self| (scoped(c.user_id, &c.name), c.id);
        index.application_credential_names.set(old.map(name), new.map(name));
        let project = |c: &Self| (c.project_id, c.id);
        move_key(&mut index.project_application_credentials, old.map(project), new.map(project));
        let user = |c: &Self| (c.user_id, c.id);
        move_key(&mut index.user_application_credentials, old.map(user), new.map(user));
    }
}

impl Indexed for AccessRule {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let user = |r: &Self| (r.user_id, r.id);
        move_key(&mut index.user_access_rules, old.map(user), new.map(user));
    }
}

impl Indexed for Trust {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let trustor = |t: &Self| (t.trustor_user_id, t.id);
        move_key(&mut index.trustor_trusts, old.map(trustor), new.map(trustor));
        let trustee = |t: &Self| (t.trustee_user_id, t.id);
        move_key(&mut index.trustee_trusts, old.map(trustee), new.map(trustee));
    }
}

impl Indexed for Endpoint {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let service = |e: &Self| (e.service_id, e.id);
        move_key(&mut index.service_endpoints, old.map(service), new.map(service));
    }
}

impl Indexed for Domain {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |d: &Self| (d.name.as_str().into(), d.id.clone());
        index.domain_names.set(old.map(entry), new.map(entry));
    }
}

impl Indexed for Project {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |p: &Self| (scoped(&p.domain_id, &p.name), p.id);
        index.project_names.set(old.map(entry), new.map(entry));
        let parent = |p: &Self| p.parent_id.map(|parent| (parent, p.id));
        move_key(&mut index.project_children, old.and_then(parent), new.and_then(parent));
    }
}

impl Indexed for User {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |u: &Self| (scoped(&u.domain_id, &u.name), u.id);
        index.user_names.set(old.map(entry), new.map(entry));
    }
}

impl Indexed for Role {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let domain = |r: &Self| r.domain_id.as_ref().map_or_else(String::new, |d| d.to_string());
        let entry = |r: &Self| (scoped(domain(r), &r.name), r.id);
        index.role_names.set(old.map(entry), new.map(entry));
    }
}

impl Indexed for RoleAssignment {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |a: &Self| ((a.actor, a.target.clone(), a.inherited, a.role_id), a.id);
        move_entry(&mut index.held_roles, old.map(entry), new.map(entry));
    }
}

impl Indexed for Flavor {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |f: &Self| (f.name.as_str().into(), f.id.clone());
        index.flavor_names.set(old.map(entry), new.map(entry));
    }
}

impl Indexed for Image {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |i: &Self| ((), i.created_at, i.id);
        index.image_order.set(old.map(key), new.map(key));
    }
}

impl Indexed for Host {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let entry = |h: &Self| (h.name.as_str().into(), h.id);
        index.host_names.set(old.map(entry), new.map(entry));
        match (old, new) {
            (_, Some(new)) => {
                let aggregates = index.host_aggregates.of(new.id).collect();
                let taken = index.host_usage.get(&new.id).copied().unwrap_or_default();
                index.host_table.set(new, aggregates, taken);
                if old.is_none_or(|old| old.order != new.order) {
                    index.host_orders.insert(new.id, seq);
                }
            }
            (Some(old), None) => {
                index.host_table.remove(old.id);
                index.host_orders.remove(&old.id);
            }
            (None, None) => {}
        }
    }
}

impl Indexed for Aggregate {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let name = |a: &Self| (a.name.as_str().into(), a.id);
        index.aggregate_names.set(old.map(name), new.map(name));
        let number = |a: &Self| ((), a.number, a.id);
        index.aggregate_numbers.set(old.map(number), new.map(number));
        let hosts = |a: Option<&Self>| a.map(|a| a.hosts.iter().copied().collect()).unwrap_or_default();
        let (before, after): (BTreeSet<HostId>, BTreeSet<HostId>) = (hosts(old), hosts(new));
        let Some(id) = new.or(old).map(|a| a.id) else { return };
        for host in before.symmetric_difference(&after) {
            match after.contains(host) {
                true => move_key(&mut index.host_aggregates, None, Some((*host, id))),
                false => move_key(&mut index.host_aggregates, Some((*host, id)), None),
            }
            let aggregates = index.host_aggregates.of(*host).collect();
            index.host_table.regroup(*host, aggregates);
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
        let key = |o: &Self| (o.server_id, o.created_at.ordered(), o.id);
        index.server_operations.set(old.map(key), new.map(key));
    }
}

impl Indexed for Network {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let key = |n: &Self| (n.project_id, n.id);
        move_key(&mut index.project_networks, old.map(key), new.map(key));
        let open = |n: &Self| (n.shared || (n.external && !n.external_restricted)).then_some(((), n.id));
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
        let key = |g: &Self| (scoped(g.project_id, &g.name), g.id);
        index.project_groups.set(old.map(key), new.map(key));
    }
}

impl Indexed for Port {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let network = |p: &Self| (p.network_id, p.id);
        move_key(&mut index.network_ports, old.map(network), new.map(network));
        let project = |p: &Self| (p.project_id, p.id);
        move_key(&mut index.project_ports, old.map(project), new.map(project));
        let server = |p: &Self| p.server_id.map(|s| (s, p.server_index.into(), p.id));
        index.server_ports.set(old.and_then(server), new.and_then(server));
        let device = |p: &Self| (!p.device_id.is_empty()).then(|| (p.device_id.as_str().into(), p.id));
        index.device_ports.set(old.and_then(device), new.and_then(device));
        let mac = |p: &Self| (p.network_id, p.mac.number(), p.id);
        index.macs.set(old.map(mac), new.map(mac));
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

impl Indexed for Disk {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let own = |d: &Self| d.left.is_none().then_some((d.server_id, d.kind as u64, d.id));
        index.server_disks.set(old.and_then(own), new.and_then(own));
        let left_by = |d: &Self| d.left.is_some().then_some((d.server_id, d.kind as u64, d.id));
        index.server_left_disks.set(old.and_then(left_by), new.and_then(left_by));
        let left_on = |d: &Self| d.host_id.filter(|_| d.left.is_some()).map(|host| (host, d.server_id));
        let (before, after) = (old.and_then(left_on), new.and_then(left_on));
        let entry = |(host, _), disk: Option<&Self>| disk.map(|disk| (host, 0, disk.id));
        index.host_left_disks.set(before.and_then(|at| entry(at, old)), after.and_then(|at| entry(at, new)));
        if let Some((host, server)) = after {
            index.order(host, server, seq, |r| r.left += u32::from(before != after));
        }
        if let Some((host, server)) = before.filter(|_| before != after) {
            index.unorder(host, server, |r| r.left -= 1);
        }
        let same = old.zip(new).is_some_and(|(old, new)| !old.orders_differ(new));
        let Some((server, ..)) = new.or(old).and_then(own).filter(|_| !same) else { return };
        match index.server_disks.of(server).next() {
            Some(_) => {
                let newest = index.disk_seq.get(&server).copied().unwrap_or_default().max(seq);
                index.disk_seq.insert(server, newest);
            }
            None => drop(index.disk_seq.remove(&server)),
        }
        index.reorder(server, seq);
    }
}

impl Indexed for DiskCopy {}
impl Indexed for Plan {}
impl Indexed for HostStep {}
impl Indexed for Freeze {}
impl Indexed for PlanPace {}

impl Indexed for PlanStep {
    fn index(index: &mut Index, _: u64, old: Option<&Self>, new: Option<&Self>) {
        let text = |step: &Self| (step.index_text().into(), step.id);
        index.plan_steps.set(old.map(text), new.map(text));
    }
}

impl Indexed for Server {
    fn index(index: &mut Index, seq: u64, old: Option<&Self>, new: Option<&Self>) {
        let order = |s: &Self| ((), s.created_at, s.id);
        index.server_order.set(old.map(order), new.map(order));
        let project = |s: &Self| (s.project_id, s.created_at, s.id);
        index.project_servers.set(old.map(project), new.map(project));
        let host = |s: &Self| s.host_id.map(|h| (h, s.id));
        move_key(&mut index.host_servers, old.and_then(host), new.and_then(host));
        let group = |s: &Self| s.server_group.map(|g| (g, s.id));
        move_key(&mut index.server_group_members, old.and_then(group), new.and_then(group));
        let same_claims = match (old, new) {
            (Some(old), Some(new)) => {
                let counts = |s: &Self| (s.size, s.is_busy(), s.reclaim_at.is_some());
                old.claims().eq(new.claims()) && counts(old) == counts(new)
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
            move_key(&mut self.group_ports, Some((group, port)), None);
        }
        for (port, group) in new.iter().flat_map(|p| p.security_groups.iter().map(move |g| (p.id, *g))) {
            move_key(&mut self.group_ports, None, Some((group, port)));
        }
    }

    fn take(&mut self, old: Option<&Server>, new: Option<&Server>) {
        for (server, sign) in [(old, -1_i64), (new, 1)] {
            let Some(server) = server else { continue };
            // As in Nova, a soft-deleted server does not count for its project. It keeps its room on its host.
            if server.reclaim_at.is_none() {
                let usage = self.project_usage.entry(server.project_id).or_default();
                usage.instances += sign;
                usage.cores += sign * i64::from(server.size.vcpus);
                usage.ram += sign * i64::from(server.size.ram_mb);
                if *usage == Usage::default() {
                    self.project_usage.remove(&server.project_id);
                }
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
                self.host_table.take(host, taken);
            }
        }
    }
}
