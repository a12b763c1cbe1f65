//! Hosts as Nova shows them: availability zones and services.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::host::{fence, host};
use lenticular_model::identity::catalog::own_id;
use lenticular_model::{
    HostId, Timestamp,
    error::{Error, Result},
    host::{
        host::{Host, Intent},
        readiness,
    },
    policy::{self, Action},
};
use lenticular_wire::{compute::query, request::unexpected};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

pub(super) fn by_name(ctx: &Ctx) -> impl Iterator<Item = &Arc<Host>> {
    ctx.state.hosts_by_name()
}

/// When a host last made contact, as far as the cloud knows.
fn heard(ctx: &Ctx, host: &Host) -> Timestamp {
    ctx.state.heartbeats.get(&host.id).map(|c| c.at).or(host.silent_since).unwrap_or(host.created_at)
}

/// `GET /os-availability-zone`
pub async fn zones(ctx: Ctx) -> Handled {
    let mut zones: BTreeMap<&str, bool> = BTreeMap::new();
    for host in by_name(&ctx) {
        *zones.entry(&host.zone).or_default() |= readiness::is_open(&ctx.state, host);
    }
    let list: Vec<Value> = zones
        .iter()
        .map(|(name, usable)| json!({"zoneName": name, "zoneState": {"available": usable}, "hosts": null}))
        .collect();
    json(200, &json!({ "availabilityZoneInfo": list }))
}

/// `GET /os-availability-zone/detail`
pub async fn zones_detail(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::ZoneReadDetail, None)?;
    let mut zones: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for host in by_name(&ctx) {
        let service = json!({"nova-compute": {
            "available": host.is_up(),
            "active": readiness::is_open(&ctx.state, host),
            "updated_at": heard(&ctx, host).iso_naive_us(),
        }});
        zones.entry(&host.zone).or_default().insert(host.name.clone(), service);
    }
    let list: Vec<Value> = zones
        .into_iter()
        .map(|(name, hosts)| json!({"zoneName": name, "zoneState": {"available": true}, "hosts": hosts}))
        .collect();
    json(200, &json!({ "availabilityZoneInfo": list }))
}

/// The service of a host, as Nova names it beside a hypervisor.
pub(super) fn service_of(ctx: &Ctx, host: &Host) -> Value {
    let reason = match &host.intent {
        Intent::Enabled => readiness::refusal_of_host(&ctx.state, host),
        closed => closed.reason(),
    };
    json!({"host": host.name, "id": service_id(ctx, host), "disabled_reason": reason})
}

/// Nova's word for whether a host takes servers. A host that is not ready takes none, whatever its operator wants.
pub(super) fn status(ctx: &Ctx, host: &Host) -> &'static str {
    match readiness::is_open(&ctx.state, host) {
        true => "enabled",
        false => "disabled",
    }
}

fn service_id(ctx: &Ctx, host: &Host) -> Value {
    if ctx.version.has(53) { json!(host.id) } else { json!(host.number) }
}

fn service(ctx: &Ctx, host: &Host) -> Value {
    let mut view = json!({
        "id": service_id(ctx, host),
        "binary": "nova-compute",
        "host": host.name,
        "zone": host.zone,
        "status": status(ctx, host),
        "state": if host.is_up() { "up" } else { "down" },
        "updated_at": heard(ctx, host).iso_naive_us(),
        "disabled_reason": service_of(ctx, host)["disabled_reason"],
    });
    if ctx.version.has(11) {
        view["forced_down"] = json!(host.fence.is_some());
    }
    view
}

/// The control plane's own services, for tools that look for the scheduler and the conductor. Both are one
/// process here.
pub(super) const CONTROL_SERVICES: &[&str] = &["nova-conductor", "nova-scheduler"];

/// The host of these services.
pub(super) const CONTROL_HOST: &str = "lenticular";

fn control_services(ctx: &Ctx) -> Vec<Value> {
    let one = |(number, binary): (usize, &&str)| {
        let id =
            if ctx.version.has(53) { json!(own_id("service", binary)) } else { json!(1_000_000 + number) };
        let mut view = json!({
            "id": id, "binary": binary, "host": CONTROL_HOST, "zone": "internal", "status": "enabled", "state": "up",
            "updated_at": ctx.app.now().iso_naive_us(), "disabled_reason": null,
        });
        if ctx.version.has(11) {
            view["forced_down"] = json!(false);
        }
        view
    };
    CONTROL_SERVICES.iter().enumerate().map(one).collect()
}

/// `GET /os-services`
pub async fn services(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&query::SERVICES)?;
    policy::check(&ctx.caller, Action::ServiceRead, None)?;
    let mut all = control_services(&ctx);
    all.extend(by_name(&ctx).map(|h| service(&ctx, h)));
    let wanted = |name: &str, view: &Value| ctx.query.get(name).is_none_or(|text| view[name] == text);
    all.retain(|view| wanted("host", view) && wanted("binary", view));
    json(200, &json!({ "services": all }))
}

/// Refuses fields that this version's update of a service does not have.
fn check_update(ctx: &Ctx, body: &Value) -> Result<()> {
    let fields =
        body.as_object().ok_or_else(|| Error::invalid("The request's body must be a JSON object."))?;
    let known: &[&str] = match (ctx.version.has(53), ctx.version.has(11)) {
        (true, _) => &["status", "disabled_reason", "forced_down"],
        (_, true) => &["host", "binary", "disabled_reason", "forced_down"],
        _ => &["host", "binary", "disabled_reason"],
    };
    fields.keys().find(|key| !known.contains(&key.as_str())).map_or(Ok(()), |key| Err(unexpected(key)))
}

/// `PUT /os-services/{id}`: by id from 2.53, before that `enable`, `disable` and `disable-log-reason` by host.
pub async fn update_service(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    check_update(&ctx, &body)?;
    let down = match ctx.version.has(11) {
        true => body.get("forced_down").map(|v| v.as_bool().ok_or_else(not_bool)).transpose()?,
        false => None,
    };
    let (host, intent) =
        if ctx.version.has(53) { modern_intent(&ctx, &id, &body)? } else { old_intent(&ctx, &id, &body)? };
    let id = host.id;
    let host = ctx
        .commit("service update", move |txn, caller| {
            if let Some(intent) = intent {
                host::set_intent(txn, caller, id, intent)?;
            }
            match down {
                Some(true) => fence::fence(txn, caller, id, false, None)?,
                Some(false) => fence::lift(txn, caller, id)?,
                None => {}
            }
            txn.need::<Host>(&id, || Error::not_found("Service", id))
        })
        .await?;
    json(200, &json!({"service": service(&ctx, &host)}))
}

fn not_bool() -> Error {
    Error::invalid("Invalid input for field/attribute forced_down. It must be true or false.")
}

fn disabled(reason: Option<&str>) -> Result<Intent> {
    if let Some(reason) = reason {
        lenticular_wire::request::check_text("disabled_reason", reason, 255)?;
    }
    Ok(Intent::Disabled { reason: reason.map(str::to_owned) })
}

fn modern_intent(ctx: &Ctx, id: &str, body: &Value) -> Result<(Arc<Host>, Option<Intent>)> {
    let id: HostId = id.parse().map_err(|_| Error::invalid(format!("Invalid uuid {id}")))?;
    let host = ctx.state.hosts.get(&id).cloned().ok_or_else(|| Error::not_found("Service", id))?;
    let reason = body.get("disabled_reason").and_then(Value::as_str);
    match body.get("status").and_then(Value::as_str) {
        Some("enabled") if reason.is_some() => {
            Err(Error::invalid("Specifying disabled_reason with status 'enabled' is invalid."))
        }
        Some("enabled") => Ok((host, Some(Intent::Enabled))),
        Some("disabled") => Ok((host, Some(disabled(reason)?))),
        None if body.get("forced_down").is_some() => Ok((host, None)),
        _ => Err(Error::invalid("Invalid input for field/attribute status. It must be enabled or disabled.")),
    }
}

fn old_intent(ctx: &Ctx, action: &str, body: &Value) -> Result<(Arc<Host>, Option<Intent>)> {
    let name = body.get("host").and_then(Value::as_str);
    let name = name.ok_or_else(|| Error::invalid("'host' is a required property"))?;
    let host = ctx.state.host_named(name).cloned();
    let host = host.ok_or_else(|| Error::not_found_text(format!("Host '{name}' could not be found.")))?;
    let reason = body.get("disabled_reason").and_then(Value::as_str);
    match action {
        "enable" => Ok((host, Some(Intent::Enabled))),
        "disable" => Ok((host, Some(disabled(None)?))),
        "disable-log-reason" if reason.is_some() => Ok((host, Some(disabled(reason)?))),
        "force-down" if ctx.version.has(11) => Ok((host, None)),
        "disable-log-reason" => Err(Error::invalid("Missing disabled reason field")),
        other => Err(Error::not_found_text(format!("Unknown action {other}"))),
    }
}

/// `DELETE /os-services/{id}`: refused for a host with servers.
pub async fn delete_service(ctx: Ctx, Path(id): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    let id: HostId = id.parse().map_err(|_| Error::invalid(format!("Invalid uuid {id}")))?;
    ctx.commit("service delete", move |txn, _| {
        let host = txn.need::<Host>(&id, || Error::not_found("Service", id))?;
        if txn.taken_of_host(id).servers > 0 || host.is_up() {
            return Err(Error::conflict(format!(
                "Unable to delete compute service on host {}: it is up, or has servers. Stop its agent and move its \
                 servers first.",
                host.name
            )));
        }
        lenticular_control::lifecycle::host::leave_aggregates(txn, id);
        txn.delete::<Host>(&id);
        Ok(())
    })
    .await?;
    empty(204)
}
