//! A server as Nova shows it.

use crate::microversion::Microversion;
use lenticular_model::{
    HostId, ProjectId, ServerId, State, Timestamp,
    compute::server::{Hints, Server},
    host::host::{DEFAULT_ZONE, Host},
    network::port::Port,
};
use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeSeq},
};
use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

/// Data that a view needs beside the server: the same for a whole listing.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The snapshot.
    pub state: &'a State,
    /// The cloud's public URL, without a slash at the end.
    pub url: &'a str,
    /// The requested version.
    pub version: Microversion,
    /// Whether the caller may see hosts.
    pub admin: bool,
    /// For admins: the user data of the shown servers that have any.
    pub user_data: Option<&'a BTreeMap<lenticular_model::ServerId, String>>,
    /// True for a single server, false in a listing.
    pub single: bool,
    /// True for the answer to a change of the server, which has fewer fields until 2.74.
    pub changed: bool,
}

impl Context<'_> {
    /// True if the answer has all fields of the version.
    fn whole(&self) -> bool {
        !self.changed || self.version.has(75)
    }
}

struct Links<'a>(&'a str, &'a str, &'a dyn fmt::Display);

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Links(url, what, id) = self;
        let mut list = s.serialize_seq(Some(2))?;
        list.serialize_element(&Link { rel: "self", href: &format_args!("{url}/compute/v2.1/{what}/{id}") })?;
        list.serialize_element(&Link { rel: "bookmark", href: &format_args!("{url}/compute/{what}/{id}") })?;
        list.end()
    }
}

struct Bookmark<'a>(&'a str, &'a str, &'a dyn fmt::Display);

impl Serialize for Bookmark<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Bookmark(url, what, id) = self;
        let mut list = s.serialize_seq(Some(1))?;
        list.serialize_element(&Link { rel: "bookmark", href: &format_args!("{url}/compute/{what}/{id}") })?;
        list.end()
    }
}

struct Link<'a, 'b> {
    rel: &'static str,
    href: &'a fmt::Arguments<'b>,
}

impl Serialize for Link<'_, '_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry("rel", self.rel)?;
        map.serialize_entry("href", &Text(self.href))?;
        map.end()
    }
}

/// A value written as a JSON string.
struct Text<T: fmt::Display>(T);

impl<T: fmt::Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(&self.0)
    }
}

/// A server in the short listing.
pub struct Brief<'a>(pub Context<'a>, pub &'a Server);

impl Serialize for Brief<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Brief(ctx, server) = self;
        let mut map = s.serialize_map(Some(3))?;
        map.serialize_entry("id", &server.id)?;
        map.serialize_entry("name", &server.name)?;
        map.serialize_entry("links", &Links(ctx.url, "servers", &server.id))?;
        map.end()
    }
}

/// A server with all details that the version and the caller's rights allow.
pub struct Full<'a>(pub Context<'a>, pub &'a Server);

/// Writes fields, each from its first version on.
struct Fields<M> {
    map: M,
    version: Microversion,
}

impl<M: SerializeMap> Fields<M> {
    fn put<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), M::Error> {
        self.map.serialize_entry(name, value)
    }

    fn since<T: Serialize + ?Sized>(
        &mut self,
        minor: u16,
        name: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        if self.version.has(minor) {
            self.map.serialize_entry(name, value)?;
        }
        Ok(())
    }
}

impl Serialize for Full<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let Full(ctx, server) = self;
        let host = server.host_id.and_then(|id| ctx.state.hosts.get(&id)).map(|h| &**h);
        let ports: Vec<&Arc<Port>> = ctx.state.ports_of_server(server.id).collect();
        let mut out = Fields { map: s.serialize_map(None)?, version: ctx.version };
        write_basics(&mut out, ctx, server, host)?;
        write_status(&mut out, ctx, server, host)?;
        out.put("addresses", &Addresses { state: ctx.state, ports: &ports, plain: !ctx.whole() })?;
        if !ctx.whole() {
            return out.map.end();
        }
        if let Some(groups) = groups(ctx.state, &ports) {
            out.put("security_groups", &groups)?;
        }
        if ctx.admin {
            write_admin(&mut out, ctx, server, host)?;
        } else {
            out.since(90, "OS-EXT-SRV-ATTR:hostname", &server.hostname)?;
        }
        out.map.end()
    }
}

fn write_basics<M: SerializeMap>(
    out: &mut Fields<M>,
    ctx: &Context<'_>,
    server: &Server,
    host: Option<&Host>,
) -> Result<(), M::Error> {
    out.put("id", &server.id)?;
    out.put("name", &server.name)?;
    out.put("tenant_id", &server.project_id)?;
    out.put("user_id", &server.user_id)?;
    out.put("metadata", &server.metadata)?;
    out.put("hostId", &host.map(|h| host_hash(h.id, server.project_id)).unwrap_or_default())?;
    out.put("image", &Image { url: ctx.url, server, version: ctx.version })?;
    out.put("flavor", &Flavor { url: ctx.url, server, version: ctx.version })?;
    out.put("created", &server.created_at.iso())?;
    out.put("updated", &server.changed_at().iso())?;
    out.put("accessIPv4", &server.access_ipv4)?;
    out.put("accessIPv6", &server.access_ipv6)?;
    out.put("links", &Links(ctx.url, "servers", &server.id))?;
    out.put("OS-DCF:diskConfig", if server.disk_config_manual { "MANUAL" } else { "AUTO" })?;
    if ctx.whole() {
        write_extended(out, ctx, server, host)?;
    }
    out.since(9, "locked", &server.locked.is_some())?;
    out.since(73, "locked_reason", &server.locked.as_ref().and_then(|l| l.reason.as_ref()))?;
    out.since(19, "description", &server.description)?;
    out.since(26, "tags", &server.tags)?;
    out.since(63, "trusted_image_certificates", &None::<&str>)?;
    out.since(100, "scheduler_hints", &SchedulerHints(server))?;
    if ctx.single {
        let group: Vec<_> = server.server_group.into_iter().collect();
        out.since(71, "server_groups", &group)?;
    }
    Ok(())
}

/// The fields of what were extensions of Nova.
fn write_extended<M: SerializeMap>(
    out: &mut Fields<M>,
    ctx: &Context<'_>,
    server: &Server,
    host: Option<&Host>,
) -> Result<(), M::Error> {
    let zone = host.map_or("", |h| &h.zone);
    out.put("OS-EXT-AZ:availability_zone", zone)?;
    out.since(96, "pinned_availability_zone", &server.wanted_zone)?;
    out.put("config_drive", if server.has_config_drive(ctx.state) { "True" } else { "" })?;
    out.put("key_name", &server.key.as_ref().map(|k| &k.name))?;
    out.put("OS-SRV-USG:launched_at", &server.launched_at.map(Timestamp::iso_naive_us))?;
    out.put("OS-SRV-USG:terminated_at", &server.terminated_at.map(Timestamp::iso_naive_us))?;
    out.put("os-extended-volumes:volumes_attached", &[(); 0])
}

fn write_status<M: SerializeMap>(
    out: &mut Fields<M>,
    ctx: &Context<'_>,
    server: &Server,
    host: Option<&Host>,
) -> Result<(), M::Error> {
    let status = server.status();
    out.put("status", status)?;
    if let "ACTIVE" | "BUILD" | "REBOOT" | "HARD_REBOOT" = status {
        out.put("progress", &server.progress())?;
    }
    if ctx.whole() {
        out.put("OS-EXT-STS:task_state", &server.task.as_ref().map(|t| t.action.task_state()))?;
        out.put("OS-EXT-STS:vm_state", server.vm_state())?;
        out.put("OS-EXT-STS:power_state", &server.power_state())?;
    }
    if let Some(fault) = server.fault.as_ref().filter(|_| status == "ERROR") {
        out.put("fault", &Fault { fault, admin: ctx.admin })?;
    }
    if ctx.admin && ctx.whole() {
        let host_status = host.map_or("", |h| match (h.is_up(), h.is_enabled()) {
            (false, _) => "UNKNOWN",
            (true, true) => "UP",
            (true, false) => "MAINTENANCE",
        });
        out.since(16, "host_status", host_status)?;
    }
    Ok(())
}

fn write_admin<M: SerializeMap>(
    out: &mut Fields<M>,
    ctx: &Context<'_>,
    server: &Server,
    host: Option<&Host>,
) -> Result<(), M::Error> {
    let name = host.map(|h| &h.name);
    out.put("OS-EXT-SRV-ATTR:host", &name)?;
    out.put("OS-EXT-SRV-ATTR:hypervisor_hostname", &name)?;
    out.put("OS-EXT-SRV-ATTR:instance_name", &Text(format_args!("instance-{}", server.id)))?;
    out.since(3, "OS-EXT-SRV-ATTR:reservation_id", &server.reservation_id)?;
    out.since(3, "OS-EXT-SRV-ATTR:launch_index", &server.launch_index)?;
    out.since(3, "OS-EXT-SRV-ATTR:hostname", &server.hostname)?;
    out.since(3, "OS-EXT-SRV-ATTR:kernel_id", "")?;
    out.since(3, "OS-EXT-SRV-ATTR:ramdisk_id", "")?;
    out.since(3, "OS-EXT-SRV-ATTR:root_device_name", "/dev/vda")?;
    let user_data = ctx.user_data.and_then(|all| all.get(&server.id));
    out.since(3, "OS-EXT-SRV-ATTR:user_data", &user_data)
}

/// `hostId`: an opaque name of the host that differs between projects. So a tenant learns only whether two of its
/// own servers share a host.
pub fn host_hash(host: HostId, project: ProjectId) -> String {
    // FNV-1a, four times with different seeds: opaque enough, and stable for ever.
    let mix = |salt: u64| {
        let seed = 0xcbf2_9ce4_8422_2325_u64 ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let bytes = project.0.as_bytes().iter().chain(host.0.as_bytes());
        bytes.fold(seed, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
    };
    format!("{:016x}{:016x}{:016x}{:08x}", mix(1), mix(2), mix(3), mix(4) >> 32)
}

/// The scheduler hints that hold for a server, each a list.
struct SchedulerHints<'a>(&'a Server);

impl Serialize for SchedulerHints<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let hints = self.0.hints.as_deref();
        let servers = |of: fn(&Hints) -> &Vec<ServerId>| {
            hints.map(of).into_iter().flatten().filter(|id| **id != ServerId::default()).collect::<Vec<_>>()
        };
        let all =
            [("same_host", servers(|h| &h.same_host)), ("different_host", servers(|h| &h.different_host))];
        let mut map = s.serialize_map(None)?;
        if let Some(group) = self.0.server_group {
            map.serialize_entry("group", &[group])?;
        }
        for (name, list) in all.iter().filter(|(_, list)| !list.is_empty()) {
            map.serialize_entry(name, list)?;
        }
        map.end()
    }
}

struct Image<'a> {
    url: &'a str,
    server: &'a Server,
    version: Microversion,
}

impl Serialize for Image<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(Some(2))?;
        map.serialize_entry("id", &self.server.image_id)?;
        map.serialize_entry("links", &Bookmark(self.url, "images", &self.server.image_id))?;
        if self.version.has(98) {
            map.serialize_entry("properties", &self.server.image_properties)?;
        }
        map.end()
    }
}

struct Flavor<'a> {
    url: &'a str,
    server: &'a Server,
    version: Microversion,
}

impl Serialize for Flavor<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let server = self.server;
        let mut map = s.serialize_map(None)?;
        if !self.version.has(47) {
            map.serialize_entry("id", &server.flavor_id)?;
            map.serialize_entry("links", &Bookmark(self.url, "flavors", &server.flavor_id))?;
            return map.end();
        }
        map.serialize_entry("vcpus", &server.size.vcpus)?;
        map.serialize_entry("ram", &server.size.ram_mb)?;
        map.serialize_entry("disk", &server.size.disk_gb)?;
        map.serialize_entry("ephemeral", &server.size.ephemeral_gb)?;
        map.serialize_entry("swap", &server.size.swap_mb)?;
        map.serialize_entry("original_name", &server.flavor_name)?;
        map.serialize_entry("extra_specs", &server.extra_specs)?;
        map.end()
    }
}

struct Fault<'a> {
    fault: &'a lenticular_model::compute::server::Fault,
    admin: bool,
}

impl Serialize for Fault<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut map = s.serialize_map(None)?;
        map.serialize_entry("code", &self.fault.code)?;
        map.serialize_entry("created", &self.fault.at.iso())?;
        map.serialize_entry("message", &self.fault.message)?;
        if self.admin {
            map.serialize_entry("details", self.fault.details.as_deref().unwrap_or(""))?;
        }
        map.end()
    }
}

/// A server's addresses by network name.
pub struct Addresses<'a, 'p> {
    /// The snapshot.
    pub state: &'a State,
    /// The server's ports.
    pub ports: &'p [&'a Arc<Port>],
    /// True leaves out the type and the Ethernet address of each address.
    pub plain: bool,
}

impl Serialize for Addresses<'_, '_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let mut networks: Vec<(&str, Vec<&Arc<Port>>)> = Vec::new();
        for port in self.ports {
            let name = self.state.networks.get(&port.network_id).map_or("", |n| n.name.as_str());
            match networks.iter_mut().find(|(known, _)| *known == name) {
                Some((_, ports)) => ports.push(port),
                None => networks.push((name, vec![port])),
            }
        }
        let mut map = s.serialize_map(Some(networks.len()))?;
        for (name, ports) in &networks {
            map.serialize_entry(name, &AddressList(self.state, ports, self.plain))?;
        }
        map.end()
    }
}

struct AddressList<'a>(&'a State, &'a [&'a Arc<Port>], bool);

/// The floating IPs that are associated with an address of a port.
fn floating<'a>(state: &'a State, port: &'a Port, fixed: IpAddr) -> impl Iterator<Item = IpAddr> + 'a {
    let all = state.floating_ips_of_port(port.id);
    all.filter(move |f| f.fixed.is_some_and(|a| a.fixed_ip == fixed)).map(|f| f.address)
}

impl Serialize for AddressList<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let AddressList(state, ports, plain) = self;
        let line = |addr: IpAddr, kind, mac| Address {
            version: if addr.is_ipv4() { 4 } else { 6 },
            addr,
            kind: (!plain).then_some(kind),
            mac: (!plain).then_some(mac),
        };
        s.collect_seq(ports.iter().flat_map(|port| {
            port.fixed_ips.iter().flat_map(move |ip| {
                let floating =
                    floating(state, port, ip.ip_address).map(move |addr| line(addr, "floating", port.mac));
                std::iter::once(line(ip.ip_address, "fixed", port.mac)).chain(floating)
            })
        }))
    }
}

#[derive(Serialize)]
struct Address {
    version: u8,
    addr: IpAddr,
    #[serde(rename = "OS-EXT-IPS:type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    #[serde(rename = "OS-EXT-IPS-MAC:mac_addr", skip_serializing_if = "Option::is_none")]
    mac: Option<lenticular_model::network::mac::Mac>,
}

#[derive(Serialize)]
struct GroupName<'a> {
    name: &'a str,
}

/// The names of the ports' security groups. As in Nova, nothing for a server without groups.
fn groups<'a>(state: &'a State, ports: &[&'a Arc<Port>]) -> Option<Vec<GroupName<'a>>> {
    let mut names: Vec<&str> = Vec::new();
    for id in ports.iter().flat_map(|p| &p.security_groups) {
        if let Some(group) = state.security_groups.get(id).filter(|g| !names.contains(&g.name.as_str())) {
            names.push(&group.name);
        }
    }
    (!names.is_empty()).then(|| names.into_iter().map(|name| GroupName { name }).collect())
}

/// The zone shown for a host without a zone.
pub fn zone_of(host: Option<&Host>) -> &str {
    host.map_or(DEFAULT_ZONE, |h| &h.zone)
}
