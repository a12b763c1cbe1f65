//! Clients: tenants and an operator who act at random, and remember every answer.

use crate::{
    event::{ClientRequest, Event, Request},
    rng::Rng,
    world::{World, note},
};
use lenticular_control::command::compute::server_create::{Networks, NewServers};
use lenticular_model::{
    DiskId, FlavorId, HostId, ImageId, ProjectId, ServerId, UserId,
    compute::{
        maintenance::MAINTENANCE,
        server::{BootStyle, Condition},
    },
    error::{Error, Kind},
    host::host::{Host, Intent},
    ops::host_step::Guests,
    policy::{Caller, RoleLevel, Scope},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// The clients' knowledge of a server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// The client asked for a delete; the outcome may be unknown.
    pub(crate) delete_asked: bool,
    /// A delete was acknowledged.
    pub(crate) delete_acknowledged: bool,
    /// The clients know that it is gone.
    pub(crate) gone: bool,
    /// Acknowledged requests on it.
    pub(crate) requests: Vec<String>,
}

/// All clients.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    pub(crate) tenants: Vec<ProjectId>,
    pub(crate) users: Vec<UserId>,
    pub(crate) image: Option<ImageId>,
    /// Servers with an acknowledged creation.
    pub(crate) known: BTreeMap<ServerId, Known>,
    /// The content that each guest last wrote: the number of the disk's making, and the number of writes.
    pub(crate) written: BTreeMap<ServerId, (u64, u64)>,
    /// The content that guests last wrote to their other disks.
    pub(crate) written_more: BTreeMap<DiskId, (u64, u64)>,
    /// The content of shelved servers' disks in the image store.
    pub(crate) shelved: BTreeMap<ImageId, (u64, u64)>,
    /// Servers in answers since the last check of the answers.
    pub(crate) answered: BTreeSet<ServerId>,
    requests: u64,
}

impl Clients {
    /// A caller of this tenant.
    pub(crate) fn caller(&mut self, tenant: usize, level: RoleLevel) -> Caller {
        self.requests += 1;
        Caller {
            user_id: self.users[tenant],
            scope: Scope::Project(self.tenants[tenant]),
            level,
            request_id: format!("req-{}", self.requests),
        }
    }
}

/// The flavors that clients choose from: mostly small, some with several disks, some large, some too large for any
/// host.
const FLAVORS: &[&str] = &["42", "42", "84", "1", "2", "wide", "wide", "wider", "3", "4", "giant"];

impl World {
    /// A client acts, and another client soon after.
    pub(crate) fn client_acts(&mut self) {
        if !self.faulty {
            return;
        }
        // Small worlds have two tenants; large worlds have as many requests for each host.
        let tenants = self.clients.tenants.len();
        let next = self.rng.range(200 / tenants as i64, 14_000 / tenants as i64);
        self.after_ms(next, Event::Client);
        let tenant = self.rng.index(tenants);
        let ask = self.choose(tenant);
        let Some((ask, level)) = ask else { return };
        let caller = self.clients.caller(tenant, level);
        self.ask(caller, ask);
    }

    /// Sends a client's request.
    pub(crate) fn ask(&mut self, caller: Caller, ask: ClientRequest) {
        let about = ask.server().map(|id| self.name(id)).unwrap_or_default();
        note!(self, "client {} asks: {} {about}", caller.request_id, ask.name());
        if let ClientRequest::Delete(id) | ClientRequest::SoftDelete(id, _) = &ask {
            self.clients.known.entry(*id).or_default().delete_asked = true;
        }
        let delay = self.rng.range(300, 30_000);
        self.after_us(delay, Event::ToPlane(Request::Client(caller, ask)));
    }

    fn choose(&mut self, tenant: usize) -> Option<(ClientRequest, RoleLevel)> {
        let member = |ask| Some((ask, RoleLevel::Member));
        let admin = |ask| Some((ask, RoleLevel::Admin));
        let roll = self.rng.range(0, 100);
        let server = self.some_server(tenant);
        match (roll, server) {
            (0..=16, _) | (_, None) => {
                let flavor = FLAVORS[self.rng.index(FLAVORS.len())];
                let count = if self.rng.chance(200) { self.rng.range(2, 5) as u32 } else { 1 };
                let host = self.rng.chance(150).then(|| self.rng.index(self.hosts.len()));
                let level = if host.is_some() { RoleLevel::Admin } else { RoleLevel::Member };
                let ask = self.create(flavor, count, host);
                Some((self.in_group(tenant, ask), level))
            }
            (17..=22, Some(id)) => member(self.change_stillness(id)),
            (23..=30, Some(id)) => member(ClientRequest::Start(id)),
            (31..=38, Some(id)) => member(ClientRequest::Stop(id)),
            (39..=44, Some(id)) => member(ClientRequest::Reboot(id, BootStyle::Soft)),
            (45..=50, Some(id)) => member(ClientRequest::Reboot(id, BootStyle::Hard)),
            (51..=57, Some(id)) => member(ClientRequest::Delete(id)),
            (58..=60, Some(id)) => {
                let keep_s = NonZeroU32::MIN.saturating_add(self.rng.range(0, 300) as u32);
                member(ClientRequest::SoftDelete(id, keep_s))
            }
            (61..=66, Some(id)) => admin(ClientRequest::Migrate(id)),
            (67..=74, Some(id)) => admin(ClientRequest::LiveMigrate(id)),
            (75..=78, Some(id)) => member(ClientRequest::Resize(id, FLAVORS[self.rng.index(FLAVORS.len())])),
            (79..=82, Some(id)) => member(ClientRequest::Confirm(id)),
            (83..=85, Some(id)) => member(ClientRequest::Revert(id)),
            (86, Some(id)) => admin(ClientRequest::Abort(id)),
            (87..=89, Some(id)) => {
                member(match self.plane.published.servers.get(&id).map(|s| s.is_offloaded()) {
                    Some(true) => ClientRequest::Unshelve(id),
                    _ => ClientRequest::Shelve(id),
                })
            }
            (90..=92, _) => {
                let project = self.clients.tenants[tenant];
                let ports: Vec<_> =
                    self.plane.published.ports.values().filter(|p| p.project_id == project).collect();
                let port = self.rng.pick(&ports).map(|p| p.id);
                port.map(|id| (ClientRequest::Readdress(id), RoleLevel::Member))
            }
            _ => Some((self.operator_acts()?, RoleLevel::Admin)),
        }
    }

    /// An operator acts on hosts, rules or plans.
    fn operator_acts(&mut self) -> Option<ClientRequest> {
        let hosts: Vec<_> = self.plane.published.hosts.keys().copied().collect();
        let host = self.rng.pick(&hosts).copied()?;
        let reason = Some("the operator looks at it".to_owned());
        if self.rng.chance(300) {
            return Some(ClientRequest::Check(host));
        }
        if self.rng.chance(150) {
            let rules = &self.plane.published.host_rules;
            return Some(match rules.is_empty() {
                true if self.rng.chance(400) => ClientRequest::RequireCanary,
                true if self.rng.chance(400) => ClientRequest::Draft(format!("1.{}", self.rng.range(0, 2))),
                false if rules.values().any(|rule| rule.draft) => ClientRequest::Enforce,
                true => ClientRequest::Deny(format!("6.1.{}", self.rng.range(0, 2))),
                false => ClientRequest::Allow,
            });
        }
        if self.rng.chance(300) {
            return Some(self.about_plans(host));
        }
        let enable = self.rng.chance(600);
        Some(ClientRequest::Intent(host, if enable { Intent::Enabled } else { Intent::Disabled { reason } }))
    }

    /// Starts, stops, resumes or ends plans.
    fn about_plans(&mut self, host: HostId) -> ClientRequest {
        let state = &self.plane.published;
        let drains = |host: &&std::sync::Arc<Host>| host.intent.before_drain() != &host.intent;
        let closed = state.hosts.values().find(drains).map(|host| host.id);
        let stopped = state.freeze().is_some() || state.plans.values().any(|plan| !plan.is_running());
        match (self.rng.range(0, 100), closed) {
            (0..=39, _) if stopped => ClientRequest::ResumePlans,
            (0..=44, _) => ClientRequest::Drain(host),
            (45..=56, _) => {
                let guests = [Guests::Move, Guests::Suspend, Guests::Stop, Guests::Stay];
                ClientRequest::BootHost(host, guests[self.rng.index(4)])
            }
            (57..=62, _) => ClientRequest::Recover(host),
            (63..=84, Some(closed)) => ClientRequest::Undrain(closed),
            (85..=92, _) => ClientRequest::PausePlans,
            (93..=95, _) => ClientRequest::Freeze,
            _ => ClientRequest::Drain(host),
        }
    }

    /// An owner mostly says nothing about maintenance.
    fn some_metadata(&mut self) -> BTreeMap<String, String> {
        let words = ["live", "cold", "stop", "none"];
        let word = self.rng.chance(200).then(|| words[self.rng.index(words.len())]);
        word.map(|word| (MAINTENANCE.to_owned(), word.to_owned())).into_iter().collect()
    }

    /// Lets a guest stand still, or go on; or makes a backup of it.
    fn change_stillness(&mut self, id: ServerId) -> ClientRequest {
        let condition = self.plane.published.servers.get(&id).map(|server| server.condition);
        let server = self.plane.published.servers.get(&id);
        match condition {
            _ if server.is_some_and(|server| server.reclaim_at.is_some()) => ClientRequest::Restore(id),
            Some(Condition::Paused) => ClientRequest::Unpause(id),
            Some(Condition::Suspended) => ClientRequest::Resume(id),
            _ if self.plane.published.servers.get(&id).is_some_and(|s| s.rescue.is_some()) => {
                ClientRequest::Unrescue(id)
            }
            _ if self.rng.chance(150) => ClientRequest::Rescue(id),
            _ if self.rng.chance(200) => ClientRequest::Rebuild(id, self.rng.chance(500)),
            _ if self.rng.chance(300) => ClientRequest::Snapshot(id),
            _ if self.rng.chance(400) => ClientRequest::Pause(id),
            _ => ClientRequest::Suspend(id),
        }
    }

    /// A request for servers of this flavor.
    pub(crate) fn create(&mut self, flavor: &str, count: u32, host: Option<usize>) -> ClientRequest {
        let metadata = if self.faulty { self.some_metadata() } else { BTreeMap::new() };
        ClientRequest::Create(Box::new(NewServers {
            name: "guest".to_owned(),
            description: None,
            hostname: None,
            image_id: self.clients.image.unwrap_or(ImageId(Default::default())),
            flavor_id: FlavorId::from(flavor),
            key_name: None,
            networks: Networks::Auto,
            security_groups: Vec::new(),
            user_data: None,
            nic_tags: Vec::new(),
            disk_tag: None,
            files: Vec::new(),
            metadata,
            tags: Default::default(),
            config_drive: false,
            zone: None,
            host: host.map(|n| self.hosts[n].name.clone()),
            group: None,
            hints: Default::default(),
            disk_config_manual: false,
            access_ipv4: String::new(),
            access_ipv6: String::new(),
            min_count: count,
            max_count: count,
        }))
    }

    /// The same request, sometimes for servers in one of the tenant's groups.
    fn in_group(&mut self, tenant: usize, ask: ClientRequest) -> ClientRequest {
        let ClientRequest::Create(new) = ask else { return ask };
        let project = self.clients.tenants[tenant];
        let groups = self.plane.published.server_groups.values().filter(|g| g.project_id == project);
        let groups: Vec<_> = groups.map(|g| g.id).collect();
        let group = if self.rng.chance(400) { self.rng.pick(&groups).copied() } else { None };
        ClientRequest::Create(Box::new(NewServers { group, ..*new }))
    }

    /// A server of the tenant that exists by its last answer.
    fn some_server(&mut self, tenant: usize) -> Option<ServerId> {
        let project = self.clients.tenants[tenant];
        let state = &self.plane.published;
        let mine: Vec<ServerId> =
            state.servers.values().filter(|s| s.project_id == project).map(|s| s.id).collect();
        self.rng.pick(&mine).copied()
    }

    /// The control plane has answered a client's request.
    pub(crate) fn answered(
        &mut self,
        caller: &Caller,
        ask: &ClientRequest,
        answer: Result<&[ServerId], &Error>,
    ) {
        let created = match answer {
            Ok(created) => created,
            Err(error) => {
                note!(self, "client {} is refused: {:?}: {}", caller.request_id, error.kind, error.message);
                self.coverage.note("answer", answer_name(error.kind));
                if error.kind == Kind::Internal {
                    self.violate(0, format!("'{}' had an internal error: {error}", ask.name()));
                }
                return;
            }
        };
        self.coverage.note("answer", "ok");
        let names: Vec<String> = created.iter().map(|id| self.name(*id)).collect();
        note!(self, "client {} is answered: {} {}", caller.request_id, ask.name(), names.join(" "));
        for id in created {
            self.clients.answered.insert(*id);
            self.clients.known.entry(*id).or_default().requests.push(caller.request_id.clone());
        }
        let Some(id) = ask.server() else { return };
        self.clients.answered.insert(id);
        let known = self.clients.known.entry(id).or_default();
        let again = known.delete_acknowledged && matches!(ask, ClientRequest::Delete(_));
        if matches!(ask, ClientRequest::Delete(_)) {
            known.delete_acknowledged = true;
        }
        // A second delete is answered in the same way and begins nothing.
        if !again
            && !matches!(
                ask,
                ClientRequest::Delete(_) | ClientRequest::SoftDelete(..) | ClientRequest::Abort(_)
            )
        {
            known.requests.push(caller.request_id.clone());
        }
    }
}

fn answer_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Conflict => "conflict",
        Kind::NotFound => "not found",
        Kind::OverQuota => "over quota",
        Kind::Unavailable => "unavailable",
        Kind::Invalid => "invalid",
        _ => "other refusal",
    }
}

/// Ids for the tenants and their users.
pub(crate) fn tenants(rng: &mut Rng, count: usize) -> Clients {
    Clients {
        tenants: (0..count).map(|_| ProjectId::from_random(rng.bytes())).collect(),
        users: (0..count).map(|_| UserId::from_random(rng.bytes())).collect(),
        ..Clients::default()
    }
}
