//! The control plane's jobs for each message and each controller, as in its API.

use crate::{
    client::Clients,
    config::Mutation,
    event::{ClientRequest, PATCH, RULED_PACKAGE, Request, Save},
};
use lenticular_control::{
    command::{
        compute::{
            migrate,
            rebuild::{self, RebuildServer},
            rescue, server, server_create,
            server_group::{self, NewServerGroup},
            shelve,
            snapshot::{self, NewSnapshot},
            suspend,
        },
        host::{host as command_host, rule},
        image,
        network::port,
        ops::plan::{self, NewGoal, NewPlan},
    },
    lifecycle::{self, archive, network::group_build, upload},
    observe::host,
    reconcile::{self, Key},
};
use lenticular_model::{
    Cause, FlavorId, HostId, HostRuleId, ImageId, PlanId, PortId, ServerId, Timestamp, Txn,
    compute::{
        flavor::{Flavor, Size},
        server::{Server, Wanted},
        server_group::Policy,
        snapshot::Rotation,
    },
    error::{Error, Result},
    host::{
        action::{ActionOrder, REBOOT},
        evidence::{BRIDGE, CANARY},
        host::{Host, Intent},
        observation::{ObservedState, StopReason},
        package::PACKAGE,
        rule::{Effect, HostRule, Scope as RuleScope, Subject},
    },
    identity::Project,
    image::{Data, Visibility},
    network::port::Port,
    ops::{
        host_step::{Act, Guests, HostStep, Stage},
        limits::Limits,
        plan::Plan,
    },
    policy::{Caller, RoleLevel, Scope},
};
use lenticular_store::Job;
use lenticular_wire::agent::{Registration, Report};
use std::{cell::RefCell, sync::Arc};

/// A job of the control plane.
pub(crate) enum Todo {
    Request(Box<Request>),
    Reconcile(Key),
}

/// The result of a job.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) created: Vec<ServerId>,
    /// The host that registered, and its new session.
    pub(crate) session: Option<(HostId, u64)>,
    pub(crate) wake: Option<Timestamp>,
}

/// The flavor that no host can hold.
const GIANT: &str = "giant";

/// The transaction for one job.
pub(crate) fn job<'j>(todo: &'j Todo, done: &'j RefCell<Done>, mutation: Option<Mutation>) -> Job<'j> {
    let cause = cause(todo);
    let run: lenticular_store::Run<'j> = match todo {
        Todo::Reconcile(key) => Box::new(move |txn| {
            done.borrow_mut().wake = reconcile_plans_too(key, txn, mutation);
            if let (Some(Mutation::BuriesEarly), Key::Server(id)) = (mutation, key) {
                bury_early(txn, *id);
            }
            Ok(())
        }),
        Todo::Request(request) => {
            Box::new(move |txn| run_request(txn, request, &mut done.borrow_mut(), mutation))
        }
    };
    Job { cause, run }
}

/// Runs a controller. The broken rules: plans know no limits, or boot hosts at once.
fn reconcile_plans_too(key: &Key, txn: &mut Txn<'_>, mutation: Option<Mutation>) -> Option<Timestamp> {
    if let (Key::Plan(id), Some(Mutation::PlansHurry)) = (key, mutation)
        && txn.plans.get(id).is_some_and(|plan| plan.limits == Limits::default())
    {
        let hurry = Limits { per_host: 99, per_zone: 99, between_servers_s: 0, ..Limits::default() };
        txn.update::<Plan>(id, |plan| plan.limits = hurry);
    }
    if let (Key::Plan(id), Some(Mutation::BootsEarly)) = (key, mutation)
        && let Some(step) = txn.host_step_of_plan(id).filter(|step| step.stage == Stage::Emptying)
    {
        let (host, number, until) = (step.id, txn.seq, Timestamp(i64::MAX));
        txn.update::<HostStep>(&host, |step| {
            let name = REBOOT.to_owned();
            step.stage = Stage::Acting { name, number, until };
        });
        txn.update::<Host>(&host, |host| {
            let (name, boot_id) = (REBOOT.to_owned(), host.boot_id.clone());
            host.order.action = Some(ActionOrder { number, name, boot_id, expect: String::new() });
        });
    }
    reconcile::reconcile(key.clone(), txn)
}

fn cause(todo: &Todo) -> Cause {
    let host =
        |name: &dyn std::fmt::Display, why: &str| (format!("host/{name}"), String::new(), why.to_owned());
    let (actor, request_id, why) = match todo {
        Todo::Reconcile(key) => ("controller".to_owned(), String::new(), reconcile::why(key)),
        Todo::Request(request) => match &**request {
            Request::Register(_, said) => host(&said.host_name, "host registration"),
            Request::Poll(poll) => host(&poll.host_id, "heartbeat"),
            Request::Report(_, id, _) => host(id, "host report"),
            Request::Save(_, save) => host(&save.host_id, "shelved disk"),
            Request::Client(caller, ask) => {
                (caller.user_id.to_string(), caller.request_id.clone(), ask.name().to_owned())
            }
        },
    };
    Cause { actor, request_id, why }
}

fn run_request(
    txn: &mut Txn<'_>,
    request: &Request,
    done: &mut Done,
    mutation: Option<Mutation>,
) -> Result<()> {
    match request {
        Request::Register(_, said) => {
            let Registration { version, host_name, zone, facts, evidence, incarnation, .. } =
                Registration::clone(said);
            let registration = host::Registration {
                name: host_name,
                protocol: version,
                zone,
                facts,
                evidence,
                life: incarnation,
            };
            let heartbeat = host::register(txn, registration, &said.inventory)?;
            done.session = Some((heartbeat.id, heartbeat.session));
        }
        Request::Poll(poll) => host::heartbeat(txn, poll.host_id, poll.query.session)?,
        Request::Report(_, id, report) => {
            if !txn.hosts.contains_key(id) || report.incarnation != txn.incarnation {
                return Err(Error::not_found("Host", id));
            }
            let blind = mutation == Some(Mutation::BlindToStops);
            let seen = report.guests.iter();
            let seen: Vec<_> = seen
                .filter(|o| !(blind && matches!(o.observed, ObservedState::Stopped { .. })))
                .cloned()
                .collect();
            let mut seen = seen;
            if mutation == Some(Mutation::GrantsOnReady) {
                let ready = seen.iter_mut().filter(|o| o.observed == ObservedState::Ready);
                ready.for_each(|o| o.observed = ObservedState::Stopped { why: StopReason::Ordered });
            }
            let Report { mut session, mut number, host: mut facts, mut evidence, .. } = Report::clone(report);
            if let (Some(Mutation::BelievesLateReports), Some(last)) = (mutation, txn.heartbeats.get(id)) {
                (session, number) = (last.session, last.number + 1);
            }
            if mutation == Some(Mutation::ForgetsFacts) {
                (facts, evidence) = Default::default();
            }
            let progress = Vec::new();
            let report = host::Report { session, number, guests: seen, facts, evidence, progress };
            host::report(txn, *id, report)?;
        }
        Request::Save(_, save) => run_save(txn, save)?,
        Request::Client(caller, ask) if ask.server().is_some() => {
            run_blindly(txn, mutation, |txn| run_ask(txn, caller, ask, done, mutation))?;
        }
        Request::Client(caller, ask) => run_ask(txn, caller, ask, done, mutation)?,
    }
    Ok(())
}

/// A disk arrives in the image store.
fn run_save(txn: &mut Txn<'_>, save: &Save) -> Result<()> {
    let sending = format!("sending-{}", save.number);
    upload::begin(txn, save.server, save.host_id, &save.upload, &sending)?;
    let data = Data {
        size: 1 << 20,
        virtual_size: Some(1 << 26),
        checksum: "0".repeat(32),
        sha512: format!("{:0128x}", save.content.0 << 32 | save.content.1),
        file: None,
    };
    upload::finish(txn, save.server, save.host_id, (&save.upload, &sending), data, &Default::default())
}

fn run_ask(
    txn: &mut Txn<'_>,
    caller: &Caller,
    ask: &ClientRequest,
    done: &mut Done,
    mutation: Option<Mutation>,
) -> Result<()> {
    match ask {
        ClientRequest::Create(new) => {
            let mut new = (**new).clone();
            let late = if mutation == Some(Mutation::IgnoresGroups) { new.group.take() } else { None };
            done.created = server_create::create(txn, caller, new)?;
            for id in done.created.iter().filter(|_| late.is_some()) {
                txn.update::<Server>(id, |s| s.server_group = late);
            }
            if mutation == Some(Mutation::PlacesAnywhere) {
                place_anywhere(txn, &done.created);
            }
            Ok(())
        }
        ClientRequest::Migrate(id) => {
            migrate::migrate(txn, caller, *id, None)?;
            keep_generation(txn, *id, mutation);
            Ok(())
        }
        ClientRequest::LiveMigrate(id) => {
            migrate::live_migrate(txn, caller, *id, None)?;
            keep_generation(txn, *id, mutation);
            Ok(())
        }
        ClientRequest::Resize(id, flavor) => migrate::resize(txn, caller, *id, &FlavorId::from(*flavor)),
        ClientRequest::Confirm(id) => migrate::confirm(txn, caller, *id),
        ClientRequest::Revert(id) => migrate::revert(txn, caller, *id),
        ClientRequest::Abort(id) => {
            let number = txn.migrations_of_server(*id).next().map_or(0, |m| m.number);
            migrate::abort(txn, caller, *id, number)
        }
        ClientRequest::Readdress(id) => readdress(txn, caller, *id),
        ClientRequest::Intent(id, intent) => command_host::set_intent(txn, caller, *id, intent.clone()),
        ClientRequest::Check(id) => command_host::check(txn, caller, *id).map(drop),
        ClientRequest::Deny(kernel) => {
            let subject = Subject::Version("kernel".to_owned());
            add_rule(txn, caller, (Effect::Deny, subject), kernel, false)
        }
        ClientRequest::Draft(version) => {
            let subject = Subject::Version(format!("{PACKAGE}{RULED_PACKAGE}"));
            add_rule(txn, caller, (Effect::Deny, subject), version, true)
        }
        ClientRequest::Enforce => enforce_drafts(txn, caller),
        ClientRequest::RequireCanary => {
            add_rule(txn, caller, (Effect::Require, Subject::Check(CANARY.to_owned())), "*", false)
        }
        ClientRequest::Allow => {
            let rules: Vec<HostRuleId> = txn.host_rules.keys().cloned().collect();
            rules.iter().try_for_each(|id| rule::remove(txn, caller, id))
        }
        ClientRequest::Drain(_)
        | ClientRequest::BootHost(..)
        | ClientRequest::Recover(_)
        | ClientRequest::Undrain(_)
        | ClientRequest::PausePlans
        | ClientRequest::ResumePlans
        | ClientRequest::Freeze
        | ClientRequest::Skip(_) => run_plan(txn, caller, ask),
        life => run_life(txn, caller, life),
    }
}

fn enforce_drafts(txn: &mut Txn<'_>, caller: &Caller) -> Result<()> {
    let drafts = txn.host_rules.values().filter(|rule| rule.draft);
    let drafts: Vec<HostRuleId> = drafts.map(|rule| rule.id.clone()).collect();
    drafts.iter().try_for_each(|id| rule::enforce(txn, caller, id, true).map(drop))
}

/// What a host carries out in plans of clients.
fn an_act(guests: Guests) -> Act {
    let actions: &[&str] = match guests {
        Guests::Move | Guests::Stop => &[REBOOT],
        Guests::Suspend => &[PATCH, REBOOT],
        Guests::Stay => &[PATCH],
    };
    Act { guests, actions: actions.iter().map(|name| (*name).to_owned()).collect(), expect: None }
}

fn start_plan(txn: &mut Txn<'_>, caller: &Caller, goal: NewGoal) -> Result<()> {
    let new = NewPlan {
        goal,
        to: None,
        reason: "a new kernel".to_owned(),
        limits: Limits::default(),
        loosened: None,
        deadline_s: None,
    };
    plan::start(txn, caller, &new).map(drop)
}

/// Requests of operators about plans.
fn run_plan(txn: &mut Txn<'_>, caller: &Caller, ask: &ClientRequest) -> Result<()> {
    let named = |txn: &Txn<'_>, runs: bool| -> Vec<PlanId> {
        txn.plans.values().filter(|plan| plan.is_running() == runs).map(|plan| plan.id.clone()).collect()
    };
    match ask {
        ClientRequest::Drain(host) => start_plan(txn, caller, NewGoal::Drain(*host)),
        ClientRequest::BootHost(host, guests) => {
            start_plan(txn, caller, NewGoal::Act(*host, an_act(*guests)))
        }
        ClientRequest::Recover(host) => start_plan(txn, caller, NewGoal::Recover(*host)),
        ClientRequest::Skip(server) => {
            let step = txn.plan_steps.get(server).ok_or_else(|| Error::not_found("Server", server))?;
            let id = step.plan_id.clone();
            plan::skip(txn, caller, (&id, *server), Some("its disk is away".to_owned()))
        }
        ClientRequest::Undrain(host) => plan::undrain(txn, caller, *host),
        ClientRequest::PausePlans => named(txn, true)
            .iter()
            .try_for_each(|id| plan::pause(txn, caller, id, "the operator looks at it")),
        ClientRequest::ResumePlans => {
            if txn.freeze().is_some() {
                plan::thaw(txn, caller)?;
            }
            named(txn, false).iter().try_for_each(|id| plan::resume(txn, caller, id, (None, None)))
        }
        _ => plan::freeze(txn, caller, "the operator looks at it"),
    }
}

/// Requests about the life of a server on its host.
fn run_life(txn: &mut Txn<'_>, caller: &Caller, ask: &ClientRequest) -> Result<()> {
    match ask {
        ClientRequest::Start(id) => server::start(txn, caller, *id),
        ClientRequest::Stop(id) => server::stop(txn, caller, *id),
        ClientRequest::Reboot(id, style) => server::reboot(txn, caller, *id, *style),
        ClientRequest::Pause(id) => suspend::pause(txn, caller, *id),
        ClientRequest::Unpause(id) => suspend::unpause(txn, caller, *id),
        ClientRequest::Suspend(id) => suspend::suspend(txn, caller, *id),
        ClientRequest::Resume(id) => suspend::resume(txn, caller, *id),
        ClientRequest::Delete(id) => server::delete(txn, caller, *id),
        ClientRequest::SoftDelete(id, keep_s) => server::soft_delete(txn, caller, *id, *keep_s),
        ClientRequest::Restore(id) => server::restore(txn, caller, *id),
        ClientRequest::Snapshot(id) => {
            let (name, metadata) = ("copy".to_owned(), Default::default());
            let new = NewSnapshot {
                name,
                metadata,
                rotation: Some(Rotation { backup_type: "daily".to_owned(), keep: 2 }),
            };
            snapshot::create(txn, caller, *id, new, &Default::default()).map(drop)
        }
        ClientRequest::Rebuild(id, preserve_ephemeral) => {
            let Some(server) = txn.servers.get(id).cloned() else {
                return Err(Error::not_found("Instance", id));
            };
            let image_id = server.image_id;
            let asked = RebuildServer {
                image_id,
                preserve_ephemeral: *preserve_ephemeral,
                ..RebuildServer::default()
            };
            rebuild::rebuild(txn, caller, *id, asked)
        }
        ClientRequest::Rescue(id) => rescue::rescue(txn, caller, *id, None),
        ClientRequest::Unrescue(id) => rescue::unrescue(txn, caller, *id),
        ClientRequest::Shelve(id) => shelve::shelve(txn, caller, *id),
        ClientRequest::Unshelve(id) => shelve::unshelve(txn, caller, *id, Default::default()),
        _ => Ok(()),
    }
}

/// Runs a command. The broken rule: what is asked is judged as if there were no rules, or no dark hosts.
fn run_blindly(
    txn: &mut Txn<'_>,
    mutation: Option<Mutation>,
    command: impl FnOnce(&mut Txn<'_>) -> Result<()>,
) -> Result<()> {
    let (mut rules, mut dark) = (Vec::new(), Vec::new());
    if mutation == Some(Mutation::IgnoresRules) {
        rules.extend(txn.host_rules.values().cloned());
    }
    if mutation == Some(Mutation::IgnoresDark) {
        let all = txn.hosts.values().filter(|host| host.trouble(BRIDGE).is_some());
        dark.extend(all.map(|host| (host.id, host.evidence.clone())));
    }
    for rule in &rules {
        txn.delete::<HostRule>(&rule.id);
    }
    for (id, _) in &dark {
        txn.update::<Host>(id, |host| drop(host.evidence.remove(BRIDGE)));
    }
    command(txn)?;
    rules.iter().for_each(|rule| txn.put(HostRule::clone(rule)));
    for (id, evidence) in dark {
        txn.update::<Host>(&id, |host| host.evidence = evidence);
    }
    Ok(())
}

/// Adds a rule, however many hosts it closes.
fn add_rule(
    txn: &mut Txn<'_>,
    caller: &Caller,
    (effect, subject): (Effect, Subject),
    range: &str,
    draft: bool,
) -> Result<()> {
    let new = rule::NewRule {
        name: String::new(),
        effect,
        subject,
        range: range.parse()?,
        scope: RuleScope::All,
        reason: "guests lose time".to_owned(),
        link: None,
        draft,
    };
    rule::add(txn, caller, &new, true).map(drop)
}

/// Moves a port to another address of its subnet, computed from its current address.
fn readdress(txn: &mut Txn<'_>, caller: &Caller, id: PortId) -> Result<()> {
    let old = txn.visible::<Port>(caller, &id)?;
    let Some(first) = old.fixed_ips.first() else { return Ok(()) };
    let std::net::IpAddr::V4(address) = first.ip_address else { return Ok(()) };
    let [a, b, c, d] = address.octets();
    let address = std::net::Ipv4Addr::new(a, b, c, if d < 128 { d + 100 } else { d - 100 }).into();
    let asked = port::AskIp { subnet: Some(first.subnet_id), address: Some(address) };
    let change = port::PortChange { fixed_ips: Some(vec![asked]), ..Default::default() };
    port::update(txn, caller, id, change)
}

/// The broken rule: new servers go to a disabled host if there is one.
fn place_anywhere(txn: &mut Txn<'_>, created: &[ServerId]) {
    let disabled = txn.hosts.values().find(|h| matches!(h.intent, Intent::Disabled { .. })).map(|h| h.id);
    for id in created.iter().filter(|_| disabled.is_some()) {
        txn.update::<Server>(id, |s| s.host_id = s.host_id.and(disabled));
        let ports: Vec<PortId> = txn.ports_of_server(*id).map(|p| p.id).collect();
        for port in ports {
            txn.update::<Port>(&port, |p| p.host_id = disabled);
        }
    }
}

/// The broken rule: the ticket names no higher generation.
fn keep_generation(txn: &mut Txn<'_>, id: ServerId, mutation: Option<Mutation>) {
    if mutation == Some(Mutation::SameGeneration) {
        let generation = txn.generation_of_server(id);
        txn.update::<Server>(&id, |s| {
            s.ticket.iter_mut().for_each(|ticket| ticket.generation = generation);
        });
    }
}

/// The broken rule: a tombstone goes before its host has confirmed the removal.
fn bury_early(txn: &mut Txn<'_>, id: ServerId) {
    if txn.servers.get(&id).is_some_and(|s| s.wanted == Wanted::Absent) {
        txn.update::<Server>(&id, |s| s.host_id = None);
        archive::archive_if_gone(txn, id);
    }
}

/// Gives a tenant a server group of each policy, and a group that allows two servers on a host.
fn furnish_groups(txn: &mut Txn<'_>, clients: &Clients, tenant: usize) -> Result<()> {
    let caller = Caller {
        user_id: clients.users[tenant],
        scope: Scope::Project(clients.tenants[tenant]),
        level: RoleLevel::Member,
        request_id: "req-0".to_owned(),
    };
    let all = Policy::ALL.into_iter().map(|policy| (policy, None));
    for (policy, max_server_per_host) in all.chain([(Policy::AntiAffinity, Some(2))]) {
        let name = policy.name().to_owned();
        server_group::create(txn, &caller, NewServerGroup { name, policy, max_server_per_host })?;
    }
    Ok(())
}

fn put_flavor(txn: &mut Txn<'_>, name: &str, size: Size) {
    txn.put(Flavor {
        id: FlavorId::from(name),
        created_at: txn.now,
        updated_at: None,
        name: name.to_owned(),
        description: None,
        size,
        is_public: true,
        access: Vec::new(),
        rxtx_factor: 1.0,
        extra_specs: Arc::default(),
        unknown: Default::default(),
    });
}

/// Fills a new cloud with everything that clients need: their projects, an image, and a flavor that no host can
/// hold.
pub(crate) fn furnish(txn: &mut Txn<'_>, clients: &Clients) -> Result<ImageId> {
    // Projects with their groups.
    for (number, id) in clients.tenants.iter().enumerate() {
        txn.put(Project {
            id: *id,
            created_at: txn.now,
            updated_at: None,
            domain_id: "default".into(),
            name: format!("tenant-{number}"),
            description: String::new(),
            enabled: true,
            tokens_void_before: Default::default(),
            parent_id: None,
            tags: Vec::new(),
            extra: Default::default(),
            unknown: Default::default(),
        });
        group_build::ensure_default(txn, *id);
        furnish_groups(txn, clients, number)?;
    }
    let size = |vcpus, ram_mb, disk_gb, ephemeral_gb, swap_mb| Size {
        vcpus,
        ram_mb,
        disk_gb,
        ephemeral_gb,
        swap_mb,
        image_gb: 0,
    };
    put_flavor(txn, GIANT, size(64, 131_072, 10, 0, 0));
    put_flavor(txn, "wide", size(1, 512, 1, 1, 64));
    put_flavor(txn, "wider", size(1, 1_024, 2, 2, 128));
    // An image, uploaded as a client does.
    let admin = Caller {
        user_id: clients.users[0],
        scope: Scope::Project(clients.tenants[0]),
        level: RoleLevel::Admin,
        request_id: "req-0".to_owned(),
    };
    let new = image::NewImage {
        id: None,
        name: Some("test".to_owned()),
        owner: None,
        visibility: Visibility::Public,
        disk_format: Some("qcow2".to_owned()),
        container_format: Some("bare".to_owned()),
        min_disk: 0,
        min_ram: 0,
        protected: false,
        hidden: false,
        tags: Default::default(),
        properties: Default::default(),
    };
    let id = image::create(txn, &admin, new, &Default::default())?;
    image::begin_upload(txn, &admin, id, "upload".to_owned(), &Default::default())?;
    let data = Data {
        size: 1 << 20,
        virtual_size: Some(1 << 26),
        checksum: "0".repeat(32),
        sha512: "0".repeat(128),
        file: None,
    };
    lifecycle::image::commit_upload(txn, id, "upload", data, &Default::default())?;
    Ok(id)
}
