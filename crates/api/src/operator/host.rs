//! Hosts for operators: a list, and the details of one host.

use super::readiness::{admitted, lines};
use crate::{body::Message, ctx::Ctx, fault::Handled, operator::disk, respond::json};
use axum::extract::Path;
use lenticular_control::command::{host::host as command, ops::plan};
use lenticular_model::{
    EnrolmentId, HostId, State, Txn,
    compute::server::Server,
    error::{Error, Result},
    host::{
        action::ActionState,
        evidence::{Finding, Level},
        host::{Host, Intent},
        readiness,
    },
    policy::{self, Action, Caller},
};
use lenticular_wire::operator::{
    AdmitAsk, CordonAsk, HostDetail, HostView, LabelAsk, OverrideAsk, PackagesView,
};

/// `GET /operator/v1/hosts`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let views: Vec<HostView> = ctx.state.hosts_by_name().map(|host| view(&ctx.state, host)).collect();
    json(200, &views)
}

/// `GET /operator/v1/hosts/{host}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    let state = &ctx.state;
    let host = state.host_named(&name);
    let host = host.ok_or_else(|| Error::not_found("Host", &name))?;
    json(200, &detail(state, host))
}

/// `POST /operator/v1/hosts/{host}/check`
pub async fn check(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::HostCheck, None)?;
    let why = format!("check host {name}");
    change(&ctx, &name, (202, &why), |txn, caller, id| command::check(txn, caller, id).map(drop)).await
}

/// `POST /operator/v1/hosts/{host}/canary`
pub async fn canary(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::HostCheck, None)?;
    let why = format!("run a canary on host {name}");
    change(&ctx, &name, (202, &why), |txn, caller, id| command::run_canary(txn, caller, id).map(drop)).await
}

/// `POST /operator/v1/hosts/{host}/override`
pub async fn overrule(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<OverrideAsk>) -> Handled {
    policy::check(&ctx.caller, Action::HostOverride, None)?;
    let why = match &ask.reason {
        Some(reason) => format!("override '{}' of host {name}: {reason}", ask.line),
        None => format!("end the override of '{}' of host {name}", ask.line),
    };
    let OverrideAsk { line, reason, for_s } = ask;
    change(&ctx, &name, (200, &why), move |txn, caller, id| match reason {
        Some(reason) => command::overrule(txn, caller, id, &line, (reason, for_s)),
        None => command::end_override(txn, caller, id, &line),
    })
    .await
}

/// `POST /operator/v1/hosts/{host}/admit`
pub async fn admit(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<AdmitAsk>) -> Handled {
    policy::check(&ctx.caller, Action::HostAdmit, None)?;
    let why = format!("admit host {name}: {}", ask.reason);
    change(&ctx, &name, (200, &why), |txn, caller, id| command::admit(txn, caller, id, ask.reason)).await
}

/// `POST /operator/v1/hosts/{host}/cordon`
pub async fn cordon(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<CordonAsk>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    let (why, intent) = match ask.cordoned {
        true => (format!("cordon host {name}"), Intent::Disabled { reason: ask.reason }),
        false => (format!("uncordon host {name}"), Intent::Enabled),
    };
    change(&ctx, &name, (200, &why), |txn, caller, id| command::set_intent(txn, caller, id, intent)).await
}

/// `POST /operator/v1/hosts/{host}/labels`
pub async fn label(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<LabelAsk>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    let said = ask.labels.iter().map(|(label, value)| format!("{label}={value}"));
    let why = format!("label host {name}: {}", said.collect::<Vec<_>>().join(" "));
    change(&ctx, &name, (200, &why), |txn, caller, id| command::label(txn, caller, id, ask.labels)).await
}

/// `POST /operator/v1/hosts/{host}/undrain`
pub async fn undrain(ctx: Ctx, Path(name): Path<String>) -> Handled {
    let why = format!("undrain host {name}");
    change(&ctx, &name, (200, &why), plan::undrain).await
}

/// Runs a command on the host of this name, and answers with the host as it is then.
async fn change(
    ctx: &Ctx,
    name: &str,
    (status, why): (u16, &str),
    command: impl FnOnce(&mut Txn<'_>, &Caller, HostId) -> Result<()> + Send + 'static,
) -> Handled {
    let missing = || Error::not_found("Host", name);
    let id = ctx.state.host_named(name).ok_or_else(missing)?.id;
    ctx.commit(why, move |txn, caller| command(txn, caller, id)).await?;
    let state = ctx.app.store.state();
    json(status, &detail(&state, state.hosts.get(&id).ok_or_else(missing)?))
}

/// A host in a list.
pub fn view(state: &State, host: &Host) -> HostView {
    let taken = state.taken_of_host(host.id);
    let give = host.to_give();
    let (word, reason) = match (&host.intent, host.silent_since, host.hypervisor_trouble()) {
        _ if host.fence.is_some() => ("off", host.fence.as_ref().map(|f| format!("since {}", f.at.iso()))),
        (_, Some(since), _) => ("silent", Some(format!("since {}", since.iso()))),
        (Intent::Disabled { reason }, ..) => ("disabled", reason.clone()),
        (Intent::Draining { .. }, ..) => ("draining", host.intent.reason()),
        (Intent::Drained { aborted: false, .. }, ..) => ("drained", host.intent.reason()),
        (Intent::Drained { aborted: true, .. }, ..) => ("closed", host.intent.reason()),
        (_, _, Some(trouble)) => ("out of order", Some(trouble.to_owned())),
        _ => match readiness::of_host(state, host).into_iter().find(|line| !line.overruled) {
            Some(line) => ("not ready", Some(line.text)),
            None => ("up", host.network_trouble().map(str::to_owned)),
        },
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

/// What a check found, with its level; `None` if the host passed.
fn trouble(found: &Finding) -> Option<String> {
    let text = found.trouble.as_ref()?;
    Some(match found.level {
        Level::Warn => format!("warning: {text}"),
        Level::Unknown | Level::Pending => format!("unknown: {text}"),
        Level::Fail => text.clone(),
    })
}

/// The last action that was ordered: its name, how it stands, and the end of its output.
fn last_action(host: &Host) -> Option<(String, String, String)> {
    let order = host.order.action.as_ref()?;
    let result = host.action.as_ref().filter(|action| action.number == order.number);
    let (stands, output) = match result.map(|action| &action.state) {
        None if order.boot_id != host.boot_id => ("the host has booted", ""),
        None => ("ordered", ""),
        Some(ActionState::Running) => ("running", ""),
        Some(ActionState::Interrupted) => ("interrupted: the agent ended while it ran", ""),
        Some(ActionState::Ended { trouble, output }) => {
            (trouble.as_deref().unwrap_or("ended well"), output.as_str())
        }
    };
    Some((order.name.clone(), stands.to_owned(), output.to_owned()))
}

/// The details of a host.
fn detail(state: &State, host: &Host) -> HostDetail {
    let here = state.servers_on_host(host.id);
    let comes = |s: &Server| s.ticket.as_ref().is_some_and(|t| t.to == host.id);
    let coming = state.servers.values().filter(|s| comes(s));
    let left = state.left_disks_on_host(host.id);
    let fence = host.fence.as_ref().map(|fence| {
        let lost = if fence.disks_lost { ", and its disks lost," } else { "" };
        let how = match &fence.proof {
            Some(proof) => format!("by the driver {}: {}", proof.driver, proof.said.trim()),
            None => format!("on the word of {}", fence.by),
        };
        format!("declared off{lost} at {} {how}", fence.at.iso())
    });
    HostDetail {
        host: view(state, host),
        address: host.address.clone(),
        peer_address: host.peer_address.clone(),
        boot_id: host.boot_id.clone(),
        kernel: host.kernel.clone(),
        agent: host.agent.clone(),
        protocol: host.protocol,
        versions: host.versions.clone(),
        packages: host.packages.as_ref().map(|packages| PackagesView {
            digest: packages.digest.clone(),
            installed: packages.installed,
            updates: packages.updates,
            security_updates: packages.security_updates,
        }),
        labels: host.labels.clone(),
        admitted: admitted(state, host),
        readiness: lines(state, host),
        checks: host
            .evidence
            .iter()
            .map(|(check, found)| (check.clone(), trouble(found), found.since.iso()))
            .collect(),
        checks_asked: host.order.check,
        checks_done: host.checked,
        canaries_asked: host.order.canary.as_ref().map_or(0, |order| order.number),
        canaries_ended: host.canaries.ended,
        canaries_passed: host.canaries.passed,
        actions: host.actions.clone(),
        last_action: last_action(host),
        cpu_model: host.hypervisor.cpu_model.clone(),
        heard_at: state.heartbeats.get(&host.id).map(|heartbeat| heartbeat.at.iso()),
        fence,
        aggregates: state.aggregates_of_host(host.id).map(|aggregate| aggregate.name.clone()).collect(),
        servers_here: here.map(|s| (s.id.to_string(), s.name.clone(), s.status().to_owned())).collect(),
        coming: coming.map(|s| (s.id.to_string(), s.name.clone())).collect(),
        left_behind: left
            .filter_map(|d| Some((d.id.to_string(), d.server_id.to_string(), disk::fate(d.fate()?))))
            .collect(),
    }
}
