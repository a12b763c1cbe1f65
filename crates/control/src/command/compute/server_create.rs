//! Creating servers: checks, ports, placement and the orders to the host, in one transaction.

use crate::schedule::{RequestSpec, Verdict, schedule};
use crate::{
    command::compute::{
        access::{TAGS_MAX, check_files, check_fit, find_flavor, find_image, find_key, image_bytes},
        nic,
    },
    lifecycle::{condition, disk, network::group_build, operation},
    quota,
};
use lenticular_model::{
    DiskId, FlavorId, ImageId, Kind, PortId, ProjectId, SecurityGroupId, ServerGroupId, ServerId, Txn,
    UserId,
    compute::{
        disk::Disk,
        flavor::{Flavor, Size},
        maintenance,
        operation::OperationKind,
        server::{BootStyle, Condition, Hints, Key, Nic, PersonalityFile, Server, Wanted},
    },
    error::{Error, Result},
    image::Image,
    network::port::Port,
    policy::{self, Action, Caller},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

pub use lenticular_model::compute::server::Networks;

/// The settings of a request to create servers, as far as they do not depend on the State.
#[derive(Debug, Clone)]
pub struct NewServers {
    /// The name; if several servers are requested, they get `-1`, `-2`, …
    pub name: String,
    /// For people.
    pub description: Option<String>,
    /// The name that the guest gets, if it differs from the server's name.
    pub hostname: Option<String>,
    /// The image.
    pub image_id: ImageId,
    /// The flavor.
    pub flavor_id: FlavorId,
    /// The keypair's name.
    pub key_name: Option<String>,
    /// Its interfaces.
    pub networks: Networks,
    /// The tags of its interfaces, in order.
    pub nic_tags: Vec<Option<String>>,
    /// The tag of its root disk.
    pub disk_tag: Option<String>,
    /// Names or ids of security groups for new ports; empty for the default one.
    pub security_groups: Vec<String>,
    /// Base64, as given.
    pub user_data: Option<String>,
    /// Files for its guest, with the number of each file's bytes.
    pub files: Vec<(PersonalityFile, usize)>,
    /// The attributes that its owner sets.
    pub metadata: BTreeMap<String, String>,
    /// Labels.
    pub tags: BTreeSet<String>,
    /// Whether a config drive is asked for.
    pub config_drive: bool,
    /// The zone.
    pub zone: Option<String>,
    /// The one host.
    pub host: Option<String>,
    /// The server group.
    pub group: Option<ServerGroupId>,
    /// Other scheduler hints.
    pub hints: Hints,
    /// `MANUAL` partitioning.
    pub disk_config_manual: bool,
    /// Shown back.
    pub access_ipv4: String,
    /// Shown back.
    pub access_ipv6: String,
    /// The least number of servers; else none are created.
    pub min_count: u32,
    /// The greatest number of servers.
    pub max_count: u32,
}

/// The most servers that one request may make.
pub const COUNT_MAX: u32 = 1_000;

/// Creates the servers. A server that finds no host is created in ERROR, with a fault that says why.
///
/// # Errors
/// Nothing is created if the request is invalid or exceeds a quota.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewServers) -> Result<Vec<ServerId>> {
    let project = caller.need_project()?;
    policy::check(caller, Action::ServerCreate, Some(project))?;
    if new.host.is_some() {
        policy::check(caller, Action::ServerCreateOnHost, None)?;
    }
    let flavor = find_flavor(txn, caller, &new.flavor_id)?;
    let image = find_image(txn, caller, new.image_id)?;
    check_fit(&image, &flavor.size)?;
    if flavor.size.disk_gb == 0 {
        // Only the image limits the size of such a disk, so only operators may ask for one, as in Nova.
        policy::check(caller, Action::ServerCreateZeroDisk, None).map_err(|_| {
            Error::forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
        })?;
    }
    if new.tags.len() > TAGS_MAX {
        return Err(Error::invalid("A server can have at most 50 tags."));
    }
    let key = new.key_name.as_ref().map(|name| find_key(txn, caller, name)).transpose()?;
    check_zone(txn, &new)?;
    check_files(txn, project, &new.files)?;
    maintenance::check(&new.metadata)?;
    let count = allowed_count(txn, project, caller.user_id, &flavor, &new)?;
    if new.hostname.is_some() && new.max_count > 1 {
        return Err(Error::invalid("Unable to allocate a single hostname to multiple instances"));
    }
    let nics = resolve_networks(txn, caller, project, &new.networks)?;
    if count > 1 && nics.iter().any(|n| !matches!(n, Nic::Network(_, None))) {
        return Err(Error::invalid(
            "A port or a fixed address can be given to one server only, not to several.",
        ));
    }
    let groups = match nics.iter().any(|n| matches!(n, Nic::Network(..))) {
        true => group_build::resolve(txn, project, &new.security_groups)?,
        false => Vec::new(),
    };
    if let Some(group) = new.group {
        quota::check_group_members(txn, project, group, count)?;
    }
    let hints = known_servers(txn, caller, &new.hints);
    let image_properties = Arc::new(image.properties.clone());
    let parts = Parts { project, flavor, image, image_properties, key, nics, groups, count, hints };
    let reservation: Arc<str> = format!("r-{}", short(txn.random())).into();
    let made = (0..count).map(|index| create_one(txn, caller, &new, &parts, reservation.clone(), index));
    let ids = made.collect::<Result<Vec<ServerId>>>()?;
    let placed = |txn: &Txn<'_>, id: &ServerId| txn.servers.get(id).filter(|s| s.host_id.is_some()).cloned();
    let found: Vec<Arc<Server>> = ids.iter().filter_map(|id| placed(txn, id)).collect();
    if found.len() < new.min_count as usize {
        let why = format!(
            "No valid host was found. Of {} servers that were asked for together, {} found a host, so none was placed.",
            new.min_count,
            found.len()
        );
        found.iter().for_each(|server| unplace(txn, server, &why));
    }
    Ok(ids)
}

/// Takes back the placement of a new server.
fn unplace(txn: &mut Txn<'_>, server: &Server, why: &str) {
    disk::set_host(txn, server.id, None);
    let mut server = server.clone();
    server.host_id = None;
    fail(txn, &mut server, why.to_owned());
    let zone = nic::zone_of(txn, None);
    let ports: Vec<PortId> = txn.ports_of_server(server.id).map(|port| port.id).collect();
    for port in ports {
        txn.update::<Port>(&port, |port| {
            port.host_id = None;
            port.device_owner = format!("compute:{zone}");
        });
    }
    txn.put(server);
}

/// The records that the servers of one request share.
struct Parts {
    project: ProjectId,
    flavor: Arc<Flavor>,
    image: Arc<Image>,
    /// The image's properties, one copy for all servers.
    image_properties: Arc<BTreeMap<String, String>>,
    key: Option<Key>,
    nics: Vec<Nic>,
    groups: Vec<SecurityGroupId>,
    count: u32,
    hints: Option<Box<Hints>>,
}

fn create_one(
    txn: &mut Txn<'_>,
    caller: &Caller,
    new: &NewServers,
    parts: &Parts,
    reservation: Arc<str>,
    index: u32,
) -> Result<ServerId> {
    let id = ServerId::from_random(txn.random());
    let mut server = describe(txn, caller, new, parts, id);
    server.reservation_id = reservation;
    server.launch_index = index;
    if parts.count > 1 {
        server.name = format!("{}-{}", new.name, index + 1);
        server.hostname = hostname_of(&server.name, id);
    }
    let ask = RequestSpec {
        host: new.host.clone(),
        image: Some(parts.image.clone()),
        ..RequestSpec::of_server(txn, &server)
    };
    let (host, verdict) = schedule(txn, &ask);
    server.host_id = host;
    let mut ports = nic::make_ports(txn, caller, &parts.nics, &parts.groups, &server, host)?;
    for (port, tag) in ports.iter_mut().zip(&new.nic_tags) {
        port.device_tag = tag.clone();
    }
    if let Some(user_data) = &new.user_data {
        txn.put_cold(Kind::UserData, id.to_string(), user_data.clone());
    }
    if !new.files.is_empty() {
        let files: Vec<PersonalityFile> = new.files.iter().map(|(file, _)| file.clone()).collect();
        txn.put_cold(Kind::Personality, id.to_string(), files);
    }
    server.task = Some(operation::begin(txn, &server, OperationKind::Create, Some(caller)));
    if host.is_none() {
        refuse(txn, &mut server, &verdict);
    }
    txn.put_cold(Kind::Verdict, id.to_string(), verdict);
    disk::create(txn, &server);
    if new.disk_tag.is_some() {
        txn.update::<Disk>(&DiskId::root_of(id), |disk| disk.tag = new.disk_tag.clone());
    }
    txn.put(server);
    ports.into_iter().for_each(|port| txn.put(port));
    Ok(id)
}

/// Puts a server that no host accepts into ERROR, as Nova does: the request was accepted, and the fault says why.
fn refuse(txn: &mut Txn<'_>, server: &mut Server, verdict: &Verdict) {
    fail(txn, server, verdict.summary());
}

fn fail(txn: &mut Txn<'_>, server: &mut Server, message: String) {
    if let Some(task) = server.task.take() {
        operation::finish(txn, task.operation_id, Some(message.clone()));
    }
    server.wanted = Wanted::Stopped;
    let details = format!("lenticular server explain {} names each host and its reason", server.id);
    condition::set_error(server, condition::fault(message, Some(details), txn.now));
}

fn describe(txn: &Txn<'_>, caller: &Caller, new: &NewServers, parts: &Parts, id: ServerId) -> Server {
    let data = parts.image.data();
    Server {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: parts.project,
        user_id: caller.user_id,
        name: new.name.clone(),
        description: new.description.clone(),
        hostname: new.hostname.clone().unwrap_or_else(|| hostname_of(&new.name, id)),
        flavor_id: parts.flavor.id.clone(),
        flavor_name: parts.flavor.name.as_str().into(),
        size: Size { image_gb: image_gb(&parts.image, &parts.flavor), ..parts.flavor.size },
        extra_specs: parts.flavor.extra_specs.clone(),
        image_id: parts.image.id,
        base: data.map_or("", |d| d.sha512.as_str()).into(),
        base_format: parts.image.disk_format.as_deref().unwrap_or("raw").into(),
        base_image: None,
        image_properties: parts.image_properties.clone(),
        shelf: None,
        interfaces: 0,
        key: parts.key.clone(),
        metadata: new.metadata.clone(),
        tags: new.tags.clone(),
        locked: None,
        config_drive: new.config_drive,
        guest_password: None,
        has_user_data: new.user_data.is_some(),
        has_files: !new.files.is_empty(),
        disk_config_manual: new.disk_config_manual,
        access_ipv4: new.access_ipv4.clone(),
        access_ipv6: new.access_ipv6.clone(),
        wanted_zone: new.zone.clone(),
        server_group: new.group,
        hints: parts.hints.clone(),
        reservation_id: "".into(),
        launch_index: 0,
        host_id: None,
        restored: None,
        former_disk: None,
        layout: 0,
        layout_boot: 0,
        ticket: None,
        unconfirmed: None,
        wanted: Wanted::Running,
        boot: 1,
        boot_style: BootStyle::Hard,
        suspensions: 0,
        snapshot: None,
        rebuild: None,
        rescue: None,
        condition: Condition::Building,
        task: None,
        fault: None,
        powered: false,
        awaits_ports: None,
        launched_at: None,
        reclaim_at: None,
        terminated_at: None,
        ssh_forward: None,
        unknown: Default::default(),
    }
}

/// The disk space in GiB that the image takes of a host if its flavor sets no limit.
fn image_gb(image: &Image, flavor: &Flavor) -> u32 {
    let whole = u32::try_from(image_bytes(image).div_ceil(1 << 30)).unwrap_or(u32::MAX);
    if flavor.size.disk_gb == 0 { whole } else { 0 }
}

fn check_zone(txn: &Txn<'_>, new: &NewServers) -> Result<()> {
    if let Some(zone) = &new.zone
        && !txn.host_table().has_zone(zone)
    {
        return Err(Error::invalid("The requested availability zone is not available"));
    }
    match &new.host {
        Some(host) if txn.host_named(host).is_none() => {
            Err(Error::invalid(format!("Compute host {host} could not be found.")))
        }
        _ => Ok(()),
    }
}

/// The hints about servers that the caller may know. Hints about other servers are dropped, as if they did not
/// exist.
fn known_servers(txn: &Txn<'_>, caller: &Caller, hints: &Hints) -> Option<Box<Hints>> {
    let known = |id: &ServerId| txn.visible::<Server>(caller, id).is_ok();
    let only = |ids: &[ServerId]| ids.iter().copied().filter(known).collect::<Vec<_>>();
    let mut left = Hints { same_host: only(&hints.same_host), different_host: only(&hints.different_host) };
    if left.same_host.is_empty() && !hints.same_host.is_empty() {
        // No server that the hint names exists, so no host fits.
        left.same_host.push(ServerId::default());
    }
    (left != Hints::default()).then(|| Box::new(left))
}

/// The number of servers to create: as many as requested within the quota, and at least the requested minimum.
fn allowed_count(
    txn: &Txn<'_>,
    project: ProjectId,
    user: UserId,
    flavor: &Flavor,
    new: &NewServers,
) -> Result<u32> {
    if new.max_count > COUNT_MAX {
        return Err(Error::invalid(format!("At most {COUNT_MAX} servers can be created by one request.")));
    }
    let fits = |n: u32| quota::check_servers(txn, project, user, i64::from(n), &flavor.size);
    let mut count = new.max_count;
    while count > new.min_count && fits(count).is_err() {
        count -= 1;
    }
    fits(count)?;
    if !new.metadata.is_empty() {
        let limit = quota::own_limit(txn, project, "metadata_items");
        if limit >= 0 && new.metadata.len() as i64 > limit {
            return Err(Error::over_quota(format!("Maximum number of metadata items exceeds {limit}")));
        }
    }
    Ok(count)
}

/// The interfaces of new servers: those of the request, or the project's network.
fn resolve_networks(
    txn: &mut Txn<'_>,
    caller: &Caller,
    project: ProjectId,
    wanted: &Networks,
) -> Result<Vec<Nic>> {
    match wanted {
        Networks::None => Ok(Vec::new()),
        Networks::These(nics) => {
            nics.iter().try_for_each(|nic| nic::check_nic(txn, caller, nic))?;
            Ok(nics.clone())
        }
        Networks::Unsaid | Networks::Auto => {
            let usable = nic::usable_networks(txn, project);
            match (&usable[..], wanted) {
                ([], Networks::Unsaid) => Ok(Vec::new()),
                ([], _) => Ok(vec![Nic::Network(
                    crate::command::network::auto_allocated_topology::ensure(txn, caller, project)?,
                    None,
                )]),
                ([one], _) => Ok(vec![Nic::Network(*one, None)]),
                _ => Err(Error::conflict(
                    "Multiple possible networks found, use a Network ID to be more specific.",
                )),
            }
        }
    }
}

/// The name that the guest gets: the server's name as a host name, else a name made from its id.
pub fn hostname_of(name: &str, id: ServerId) -> String {
    let mut out = String::new();
    for c in name.chars().take(200) {
        match c {
            'a'..='z' | '0'..='9' | '-' => out.push(c),
            'A'..='Z' => out.push(c.to_ascii_lowercase()),
            ' ' | '_' | '.' => out.push('-'),
            _ => {}
        }
    }
    let out: String = out.trim_matches('-').chars().take(63).collect();
    match out.trim_end_matches('-') {
        "" => format!("server-{id}"),
        host => host.to_owned(),
    }
}

fn short(bytes: [u8; 16]) -> String {
    bytes
        .iter()
        .take(8)
        .map(|b| char::from(b"abcdefghijklmnopqrstuvwxyz012345"[usize::from(b & 31)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames_are_what_a_resolver_takes() {
        let id = ServerId::from_random([3; 16]);
        assert_eq!(hostname_of("Web 01_a.b", id), "web-01-a-b");
        assert_eq!(hostname_of("-é-", id), format!("server-{id}"));
        assert_eq!(hostname_of(&"x".repeat(100), id).len(), 63);
    }
}
