//! Hosts as Nova shows them: availability zones, hypervisors, services.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::host::{fence, host};
use lenticular_model::{
    HostId, Timestamp,
    error::{Error, Result},
    host::host::{Host, Intent},
    index::Taken,
    policy::{self, Action},
};
use lenticular_wire::{compute::query, identity::derived_id, request::unexpected};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn by_name(ctx: &Ctx) -> impl Iterator<Item = &Arc<Host>> {
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
        *zones.entry(&host.zone).or_default() |= host.is_enabled();
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
            "active": host.is_enabled(),
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

fn hypervisor_id(ctx: &Ctx, host: &Host) -> Value {
    if ctx.version.has(53) { json!(host.id) } else { json!(host.number) }
}

fn brief_hypervisor(ctx: &Ctx, host: &Host) -> Value {
    json!({
        "id": hypervisor_id(ctx, host),
        "hypervisor_hostname": host.name,
        "state": if host.is_up() { "up" } else { "down" },
        "status": if host.is_enabled() { "enabled" } else { "disabled" },
    })
}

/// The used resources of a host: its servers' and, as Nova counts, the resources reserved for the host itself.
fn used(ctx: &Ctx, host: &Host) -> Taken {
    let mut used = ctx.state.taken_of_host(host.id);
    used.capacity.vcpus += host.share.reserved.vcpus;
    used.capacity.memory_mb += host.share.reserved.memory_mb;
    used.capacity.disk_gb += host.share.reserved.disk_gb;
    used
}

fn service_of(ctx: &Ctx, host: &Host) -> Value {
    let reason = match &host.intent {
        Intent::Disabled { reason } => reason.clone(),
        Intent::Enabled => None,
    };
    json!({"host": host.name, "id": service_id(ctx, host), "disabled_reason": reason})
}

fn full_hypervisor(ctx: &Ctx, host: &Host) -> Value {
    let mut view = brief_hypervisor(ctx, host);
    view["hypervisor_type"] = json!(host.hypervisor.kind());
    view["hypervisor_version"] = json!(host.hypervisor.version);
    view["host_ip"] = json!(host.address);
    view["service"] = service_of(ctx, host);
    let cpu = json!({"arch": host.hypervisor.arch, "model": host.hypervisor.cpu_model, "vendor": "", "features": []});
    if ctx.version.has(88) {
        view["uptime"] = Value::Null;
    } else {
        let (all, used) = (host.capacity, used(ctx, host));
        view["vcpus"] = json!(all.vcpus);
        view["vcpus_used"] = json!(used.capacity.vcpus);
        view["memory_mb"] = json!(all.memory_mb);
        view["memory_mb_used"] = json!(used.capacity.memory_mb);
        view["free_ram_mb"] = json!(all.memory_mb as i64 - used.capacity.memory_mb as i64);
        view["local_gb"] = json!(all.disk_gb);
        view["local_gb_used"] = json!(used.capacity.disk_gb);
        view["free_disk_gb"] = json!(all.disk_gb as i64 - used.capacity.disk_gb as i64);
        view["disk_available_least"] = view["free_disk_gb"].clone();
        view["running_vms"] = json!(used.servers);
        view["current_workload"] = json!(used.busy);
        // A text before 2.28, an object from 2.28.
        view["cpu_info"] = if ctx.version.has(28) { cpu } else { json!(cpu.to_string()) };
    }
    if ctx.version.has(53) && ctx.query.flag("with_servers").ok().flatten() == Some(true) {
        view["servers"] = servers_on(ctx, host.id);
    }
    view
}

fn servers_on(ctx: &Ctx, host: HostId) -> Value {
    ctx.state.servers_on_host(host).map(|s| json!({"uuid": s.id, "name": s.name})).collect()
}

fn matching(ctx: &Ctx) -> Result<(Vec<Arc<Host>>, bool)> {
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    let pattern = ctx.query.get("hypervisor_hostname_pattern");
    if pattern.is_some() && ["limit", "marker"].iter().any(|name| ctx.query.get(name).is_some()) {
        return Err(Error::invalid(
            "Paging over hypervisors with the hypervisor_hostname_pattern query parameter is not supported.",
        ));
    }
    let all: Vec<Arc<Host>> =
        by_name(ctx).filter(|h| pattern.is_none_or(|p| h.name.contains(p))).cloned().collect();
    if let Some(pattern) = pattern.filter(|_| all.is_empty()) {
        return Err(Error::not_found_text(format!("No hypervisor matching '{pattern}' could be found.")));
    }
    if ctx.version.has(33) { page::cut(all, &ctx.query, |h| h.id.to_string()) } else { Ok((all, false)) }
}

fn listing(ctx: &Ctx, path: &str, view: impl Fn(&Ctx, &Host) -> Value) -> Handled {
    let (hosts, more) = matching(ctx)?;
    let mut body = json!({"hypervisors": hosts.iter().map(|h| view(ctx, h)).collect::<Vec<_>>()});
    if let Some(last) = hosts.last().filter(|_| more) {
        let url = format!("{}/compute/v2.1/{path}", ctx.url());
        body["hypervisors_links"] =
            json!([{"rel": "next", "href": page::next(&url, &ctx.query, &last.id.to_string())}]);
    }
    json(200, &body)
}

/// `GET /os-hypervisors`
pub async fn hypervisors(ctx: Ctx) -> Handled {
    listing(&ctx.asking(&query::HYPERVISORS)?, "os-hypervisors", brief_hypervisor)
}

/// `GET /os-hypervisors/detail`
pub async fn hypervisors_detail(ctx: Ctx) -> Handled {
    listing(&ctx.asking(&query::HYPERVISORS)?, "os-hypervisors/detail", full_hypervisor)
}

/// `GET /os-hypervisors/statistics` (until 2.87)
pub async fn statistics(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    if ctx.version.has(88) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let mut sum: BTreeMap<&str, i64> = BTreeMap::new();
    for host in by_name(&ctx) {
        let (all, used) = (host.capacity, used(&ctx, host));
        let mut add = |name, n: u64| *sum.entry(name).or_default() += n as i64;
        add("count", 1);
        add("vcpus", all.vcpus);
        add("vcpus_used", used.capacity.vcpus);
        add("memory_mb", all.memory_mb);
        add("memory_mb_used", used.capacity.memory_mb);
        add("free_ram_mb", all.memory_mb.saturating_sub(used.capacity.memory_mb));
        add("local_gb", all.disk_gb);
        add("local_gb_used", used.capacity.disk_gb);
        add("free_disk_gb", all.disk_gb.saturating_sub(used.capacity.disk_gb));
        add("disk_available_least", all.disk_gb.saturating_sub(used.capacity.disk_gb));
        add("running_vms", used.servers);
        add("current_workload", used.busy);
    }
    json(200, &json!({ "hypervisor_statistics": sum }))
}

/// `GET /os-hypervisors/{id}`
pub async fn hypervisor(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let ctx = ctx.asking(&query::HYPERVISOR)?;
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    let found = by_name(&ctx)
        .find(|h| if ctx.version.has(53) { h.id.to_string() == id } else { h.number.to_string() == id });
    let host = found
        .ok_or_else(|| Error::not_found_text(format!("Hypervisor with ID '{id}' could not be found.")))?;
    json(200, &json!({"hypervisor": full_hypervisor(&ctx, host)}))
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
        "status": if host.is_enabled() { "enabled" } else { "disabled" },
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
fn control_services(ctx: &Ctx) -> Vec<Value> {
    let names = ["nova-conductor", "nova-scheduler"];
    let one = |(number, binary): (usize, &&str)| {
        let id = if ctx.version.has(53) {
            let hex = derived_id("service", binary);
            json!(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
        } else {
            json!(1_000_000 + number)
        };
        let mut view = json!({
            "id": id, "binary": binary, "host": "lenticular", "zone": "internal", "status": "enabled", "state": "up",
            "updated_at": ctx.app.now().iso_naive_us(), "disabled_reason": null,
        });
        if ctx.version.has(11) {
            view["forced_down"] = json!(false);
        }
        view
    };
    names.iter().enumerate().map(one).collect()
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
