//! The operators' API: where servers are, why they are there, and what happened.

pub mod fencing;
mod host;
mod journal;
mod project;
mod route;

use crate::{
    app::App,
    body::Message,
    ctx::Ctx,
    fault::Handled,
    operator::{
        host as operator_host, journal as operator_journal, project as operator_project, route::Route,
    },
    respond::json,
};
use axum::{extract::Path, Router};
use lenticular_control::{
    command::{
        compute::evacuate,
        host::{enrolment, fence},
    },
    schedule::{self, Ask, Moves, Verdict},
};
use lenticular_model::{
    compute::{
        disk_copy::{DiskCopy, Fate},
        migration::Leg,
        server::Server,
    },
    error::{Error, Result},
    host::host::{Host, Intent, Proof},
    policy::{self, Action},
    Cause, EnrolmentId, HostId, Kind, ServerId, State,
};
use lenticular_wire::operator::{
    DiskView, EnrolAsk, EnrolToken, Explanation, FenceAsk, HostDetail, HostView, HostWord, JournalLine,
    MoveView, Nothing, PurgeAsk, Purged, Refusal, RestoreAsk, RetireAsk, RetiredView, WeigherView, Where,
};
use std::sync::Arc;

/// Of so many hosts every filter's word is told, if the caller does not say how many.
const EXPLAINED_HOSTS: u64 = 20;

/// The routes.
pub fn routes() -> Router<App> {
    route::router(table())
}

/// The document that describes the routes.
async fn openapi() -> Handled {
    json(200, &route::document(table())?)
}

fn table() -> Vec<Route> {
    vec![
        Route::get("describe", "/operator/v1/openapi.json", openapi).tells_everyone("This document."),
        Route::get("where_server", "/operator/v1/servers/{server}/where", whereabouts)
            .answers::<Where>(200, "Where a server is, and where it was."),
        Route::get("explain_server", "/operator/v1/servers/{server}/explain", explain)
            .query("host", "string", "Only this host of those that there are now.")
            .query("hosts", "integer", "At most so many hosts of those that there are now.")
            .answers::<Explanation>(200, "Why a server is where it is, or nowhere."),
        Route::get("journal_server", "/operator/v1/servers/{server}/journal", operator_journal::show)
            .lists::<JournalLine>("All that ever changed a server."),
        Route::post("restore_disk", "/operator/v1/servers/{server}/disks/restore", restore_disk)
            .asks::<RestoreAsk>()
            .lists::<DiskView>("A server goes back to a disk that it left behind; its other such disks."),
        Route::post("fence_host", "/operator/v1/hosts/{host}/fence", fence_host)
            .asks::<FenceAsk>()
            .answers::<HostView>(200, "A host is declared off, or no longer."),
        Route::get("list_hosts", "/operator/v1/hosts", hosts).lists::<HostView>("All hosts."),
        Route::get("show_host", "/operator/v1/hosts/{host}", operator_host::show)
            .answers::<HostDetail>(200, "All that is known of a host."),
        Route::post("give_up_disk", "/operator/v1/disks/{disk}/give-up", operator_host::give_up)
            .answers::<Nothing>(200, "A disk that no record explains is given up."),
        Route::post("enrol_host", "/operator/v1/hosts/enrol", enrol)
            .asks::<EnrolAsk>()
            .answers::<EnrolToken>(201, "A token with which a host joins."),
        Route::post("retire_host", "/operator/v1/hosts/{host}/retire", retire)
            .asks::<RetireAsk>()
            .answers::<RetiredView>(200, "A host is taken out for good."),
        Route::post("purge_project", "/operator/v1/projects/{project}/purge", operator_project::purge)
            .asks::<PurgeAsk>()
            .answers::<Purged>(200, "Removes what a project has, and the project; says what is left."),
        Route::get("list_refusals", "/operator/v1/refusals", operator_journal::refusals)
            .lists::<JournalLine>("Agents that were refused for the sake of security."),
    ]
}

/// A server by its id, or by a name that only one has.
pub(super) fn find(ctx: &Ctx, text: &str) -> Result<Arc<Server>> {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    if let Some(server) = text.parse().ok().and_then(|id: ServerId| ctx.state.servers.get(&id)) {
        return Ok(server.clone());
    }
    let mut named = ctx.state.servers.values().filter(|s| s.name == text);
    match (named.next(), named.next()) {
        (Some(server), None) => Ok(server.clone()),
        (None, _) => Err(Error::not_found("Server", text)),
        _ => Err(Error::conflict(format!("Several servers are called {text}; name one by its id."))),
    }
}

pub(super) fn host_name(state: &State, id: Option<HostId>) -> Option<String> {
    id.map(|id| state.hosts.get(&id).map_or_else(|| id.to_string(), |h| h.name.clone()))
}

async fn whereabouts(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let server = find(&ctx, &text)?;
    let host = server.host_id.and_then(|id| ctx.state.hosts.get(&id));
    let history = moves(&ctx, &server).await?;
    let addresses = ctx
        .state
        .ports_of_server(server.id)
        .flat_map(|p| p.fixed_ips.iter().map(|ip| ip.ip_address.to_string()));
    let view = Where {
        id: server.id.to_string(),
        name: server.name.clone(),
        status: server.status().to_owned(),
        wanted: format!("{:?}", server.wanted).to_lowercase(),
        host: host.map(|h| h.name.clone()),
        disk_generation: server.disk.generation,
        powered: server.powered,
        host_heard_at: host.and_then(|h| ctx.state.contacts.get(&h.id)).map(|c| c.at.iso()),
        host_silent_since: host.and_then(|h| h.silent_since).map(|t| t.iso()),
        addresses: addresses.collect(),
        ssh_forward: server.ssh_forward.clone(),
        history,
        moving: moving(&ctx.state, &server),
        left_behind: left_behind(&ctx.state, server.id),
    };
    json(200, &view)
}

fn moving(state: &State, server: &Server) -> Option<MoveView> {
    let ticket = server.ticket.as_ref()?;
    let migration = state.migrations.get(&ticket.migration_id)?;
    let progress = state.migration_progress.get(&ticket.migration_id);
    let silent = |id: &HostId| state.hosts.get(id).filter(|h| !h.is_up()).map(|h| h.name.clone());
    let step = match (ticket.leg, progress) {
        (Leg::Prepare, _) => format!("{} makes itself ready", migration.to_name),
        (Leg::Withdraw, _) => match silent(&migration.from) {
            Some(host) => format!("{host} is silent; only it knows whether the guest has left"),
            None => format!("{} is asked to keep the guest", migration.from_name),
        },
        (Leg::Send, Some(progress)) => progress.seen.step.clone(),
        (Leg::Send, None) => format!("{} begins to send", migration.from_name),
    };
    let seen = progress.map(|p| &p.seen);
    let sum = |n: usize| seen.map_or(0, |s| s.memory[n].saturating_add(s.disk[n]));
    Some(MoveView {
        to: migration.to_name.clone(),
        status: migration.phase.name(migration.purpose).to_owned(),
        step,
        bytes: (sum(1), sum(0)),
        dirty_bytes_per_s: seen.map_or(0, |s| s.dirty_bytes_per_s),
        expected_end: progress.and_then(|p| p.expected_end).map(|at| at.iso()),
        deadline: migration.deadline.iso(),
    })
}

fn left_behind(state: &State, server: ServerId) -> Vec<DiskView> {
    let view = |copy: &DiskCopy| DiskView {
        id: copy.id.to_string(),
        host: host_name(state, Some(copy.host_id)).unwrap_or_default(),
        generation: copy.generation,
        kept_until: match copy.fate {
            Fate::Kept { until } => Some(until.iso()),
            Fate::Doomed | Fate::Found { .. } => None,
        },
        why: copy.why.clone(),
    };
    state.disk_copies_of_server(server).map(|copy| view(copy)).collect()
}

/// The hosts that a server left, with the time at which it did.
async fn moves(ctx: &Ctx, server: &Server) -> Result<Vec<(String, String)>> {
    let mut stays: Vec<(Option<String>, Option<HostId>)> = Vec::new();
    for entry in ctx.app.store.history(Kind::Server, &server.id.to_string()).await? {
        let before: Option<Server> = entry.before.as_deref().and_then(|doc| serde_json::from_str(doc).ok());
        stays.extend(before.map(|s| (Some(entry.at.iso()), s.host_id)));
    }
    stays.push((None, server.host_id));
    let left = stays.windows(2).filter(|pair| pair[0].1 != pair[1].1);
    Ok(left.filter_map(|pair| Some((pair[0].0.clone()?, host_name(&ctx.state, pair[0].1)?))).collect())
}

async fn explain(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let server = find(&ctx, &text)?;
    let doc = ctx.app.store.get(Kind::Verdict, &server.id.to_string()).await?;
    let doc = doc.ok_or_else(|| {
        Error::not_found_text("The scheduler's decision about this server is not recorded.")
    })?;
    let verdict: Verdict = serde_json::from_str(&doc).map_err(Error::internal)?;
    let counts = verdict.counts().into_iter().map(|(filter, n)| (filter.to_owned(), n)).collect();
    let refused = verdict.refused.into_iter();
    // What it has where it is, it need not find there again.
    let moves = server.host_id.map(|from| Moves { from, live: false, may_stay: true, has: server.size });
    let words = schedule::explain(&ctx.state, &Ask { moves, ..Ask::of_server(&ctx.state, &server) });
    let now_count = words.len();
    let now_passed = words.iter().filter(|word| word.weight.is_some()).count();
    let (only, most) =
        (ctx.query.get("host"), ctx.query.number("hosts")?.unwrap_or(EXPLAINED_HOSTS) as usize);
    let now = words.into_iter().filter(|word| only.is_none_or(|name| word.name == name)).take(most);
    let view = Explanation {
        id: server.id.to_string(),
        name: server.name.clone(),
        chosen: verdict.chosen,
        accepted: verdict.accepted,
        accepted_count: verdict.accepted_count,
        refused: refused.map(|r| Refusal { filter: r.filter, reason: r.reason, hosts: r.hosts }).collect(),
        counts,
        now: now.map(word_view).collect(),
        now_count,
        now_passed,
    };
    json(200, &view)
}

fn word_view(word: schedule::HostWord) -> HostWord {
    let words = word.words.into_iter().map(|w| (w.filter.to_owned(), w.refusal)).collect();
    let weighers = word.weighers.into_iter().map(|w| WeigherView {
        name: w.name.to_owned(),
        measured: w.measured,
        unit: w.unit.to_owned(),
        adds: w.adds,
    });
    HostWord { host: word.name, weight: word.weight, weighers: weighers.collect(), words }
}

/// Makes a token that lets a host in.
async fn enrol(ctx: Ctx, Message(ask): Message<EnrolAsk>) -> Handled {
    let caller = ctx.caller.clone();
    let why = match &ask.name {
        Some(name) => format!("make a join token for {name}"),
        None => "make a join token".to_owned(),
    };
    let cause = Cause { actor: caller.user_id.to_string(), request_id: caller.request_id.clone(), why };
    let made =
        ctx.app.join_token(cause, Some(caller), ask.name.clone(), ask.replace, ask.valid_for_s).await?;
    let view = EnrolToken {
        token: made.0.to_string(),
        expires_at: made.1.iso(),
        join: ctx.app.config.agent_url.clone(),
        name: ask.name,
    };
    json(201, &view)
}

/// Takes a host out for good.
async fn retire(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<RetireAsk>) -> Handled {
    let of = name.clone();
    let why = format!("retire host {}{}", name, if ask.force { " by force" } else { "" });
    let retired = ctx.commit(&why, move |txn, caller| enrolment::retire(txn, caller, &of, ask.force)).await?;
    json(200, &RetiredView { name, lost: retired.lost.iter().map(ToString::to_string).collect() })
}

async fn fence_host(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<FenceAsk>) -> Handled {
    let id =
        ctx.state.host_named(&name).map(|host| host.id).ok_or_else(|| Error::not_found("Host", &name))?;
    let proof = match &ask.driver {
        Some(driver) if !ask.lift => Some(switch_off(&ctx, id, driver).await?),
        _ => None,
    };
    let (verb, lost) =
        (if ask.lift { "unfence" } else { "fence" }, if ask.disks_lost { ", disks lost" } else { "" });
    let by = ask.driver.as_ref().map(|driver| format!(", by {driver}")).unwrap_or_default();
    let why = format!("{verb} host {name}{lost}{by}");
    ctx.commit(&why, move |txn, caller| match ask.lift {
        true => fence::lift(txn, caller, id),
        false => fence::fence(txn, caller, id, ask.disks_lost, proof),
    })
    .await?;
    let state = ctx.app.store.state();
    let host = state.hosts.get(&id).ok_or_else(|| Error::not_found("Host", &name))?;
    json(200, &host_view(&state, host))
}

/// Has a driver switch a host off.
async fn switch_off(ctx: &Ctx, id: HostId, name: &str) -> Result<Proof> {
    policy::check(&ctx.caller, Action::HostFence, None)?;
    let driver = ctx.app.config.fencing.get(name).ok_or_else(|| {
        let known: Vec<&str> = ctx.app.config.fencing.keys().map(String::as_str).collect();
        Error::invalid(format!(
            "There is no fencing driver '{name}'; the control plane's configuration has: {}.",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
    })?;
    let host = ctx.state.hosts.get(&id).ok_or_else(|| Error::not_found("Host", id))?;
    let said = driver.off(host).await.map_err(|why| {
        Error::conflict(format!(
            "It is not certain that host {} is off, so nothing was changed. The driver '{name}' says: {why}",
            host.name
        ))
    })?;
    tracing::warn!(host = host.name, driver = name, said, "a host was switched off");
    Ok(Proof { driver: name.to_owned(), said })
}

async fn restore_disk(ctx: Ctx, Path(text): Path<String>, Message(ask): Message<RestoreAsk>) -> Handled {
    let id = find(&ctx, &text)?.id;
    let disk = ask.disk.parse().map_err(|_| Error::not_found("Disk", &ask.disk))?;
    ctx.commit("server disk restore", move |txn, caller| evacuate::restore_disk(txn, caller, id, disk))
        .await?;
    json(200, &left_behind(&ctx.app.store.state(), id))
}

async fn hosts(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let views: Vec<HostView> = ctx.state.hosts_by_name().map(|host| host_view(&ctx.state, host)).collect();
    json(200, &views)
}

pub(super) fn host_view(state: &State, host: &Host) -> HostView {
    let taken = state.taken_of_host(host.id);
    let give = host.to_give();
    let (word, reason) = match (&host.intent, host.silent_since, &host.hypervisor.trouble) {
        _ if host.fence.is_some() => ("off", host.fence.as_ref().map(|f| format!("since {}", f.at.iso()))),
        (_, Some(since), _) => ("silent", Some(format!("since {}", since.iso()))),
        (Intent::Disabled { reason }, ..) => ("disabled", reason.clone()),
        (_, _, Some(trouble)) => ("out of order", Some(trouble.clone())),
        _ => ("up", host.hypervisor.wiring.trouble.clone()),
    };
    HostView {
        id: host.id.to_string(),
        name: host.name.clone(),
        zone: host.zone.clone(),
        state: word.to_owned(),
        reason,
        hypervisor: format!("{}/{}", host.hypervisor.driver, host.hypervisor.acceleration),
        vcpus: (taken.capacity.vcpus, give.vcpus),
        memory_mb: (taken.capacity.memory_mb, give.memory_mb),
        disk_gb: (taken.capacity.disk_gb, give.disk_gb),
        servers: taken.servers,
        certificate_ends: state
            .enrolments
            .get(&EnrolmentId::from(host.name.as_str()))
            .map(|enrolment| enrolment.current.expires_at.iso()),
    }
}
