//! Hypervisors: Nova's view of what each host has and what its servers take.

use super::{
    host::{by_name, service_of},
    retired,
};
use crate::{ctx::Ctx, fault::Handled, page, respond::json};
use axum::extract::Path;
use lenticular_model::{
    HostId,
    error::{Error, Result},
    host::host::Host,
    index::Taken,
    policy::{self, Action},
};
use lenticular_wire::compute::query;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

fn hypervisor_id(ctx: &Ctx, host: &Host) -> Value {
    if ctx.version.has(53) { json!(host.id) } else { json!(host.number) }
}

fn brief_hypervisor(ctx: &Ctx, host: &Host) -> Value {
    json!({
        "id": hypervisor_id(ctx, host),
        "hypervisor_hostname": host.name,
        "state": if host.is_up() { "up" } else { "down" },
        "status": super::host::status(ctx, host),
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

fn full_hypervisor(ctx: &Ctx, host: &Host) -> Value {
    let mut view = brief_hypervisor(ctx, host);
    view["hypervisor_type"] = json!(host.hypervisor.kind());
    view["hypervisor_version"] = json!(host.hypervisor.version);
    view["host_ip"] = json!(host.address);
    view["service"] = service_of(ctx, host);
    let cpu = json!({"arch": host.hypervisor.arch, "model": host.hypervisor.cpu_model, "vendor": "", "features": []});
    if ctx.version.has(88) {
        view["uptime"] = json!(uptime_of(ctx, host));
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
    retired(&ctx, 88)?;
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

/// The hypervisor with this id: a UUID from 2.53 on, a number before.
fn find<'c>(ctx: &'c Ctx, id: &str) -> Result<&'c Arc<Host>> {
    let found = match ctx.version.has(53) {
        true => id.parse().ok().and_then(|id: HostId| ctx.state.hosts.get(&id)),
        false => by_name(ctx).find(|host| host.number.to_string() == id),
    };
    found.ok_or_else(|| Error::not_found_text(format!("Hypervisor with ID '{id}' could not be found.")))
}

/// `GET /os-hypervisors/{id}`
pub async fn hypervisor(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let ctx = ctx.asking(&query::HYPERVISOR)?;
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    json(200, &json!({"hypervisor": full_hypervisor(&ctx, find(&ctx, &id)?)}))
}

/// How long the host has been up, in the words of the command `uptime`; `None` if the host is down or does not say.
fn uptime_of(ctx: &Ctx, host: &Host) -> Option<String> {
    let up_s = ctx.app.now().unix_s() - host.booted_at.filter(|_| host.is_up())?.unix_s();
    Some(uptime(up_s.max(0)))
}

fn uptime(up_s: i64) -> String {
    let (days, hours, minutes) = (up_s / 86_400, up_s / 3_600 % 24, up_s / 60 % 60);
    match days {
        0 => format!("up {hours}:{minutes:02}"),
        1 => format!("up 1 day, {hours}:{minutes:02}"),
        days => format!("up {days} days, {hours}:{minutes:02}"),
    }
}

/// `GET /os-hypervisors/{id}/uptime` (until 2.87)
pub async fn show_uptime(ctx: Ctx, Path(id): Path<String>) -> Handled {
    retired(&ctx, 88)?;
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    let host = find(&ctx, &id)?;
    if !host.is_up() {
        return Err(
            Error::invalid(format!("Compute service of {} is unavailable at this time.", host.name)).into()
        );
    }
    let uptime = uptime_of(&ctx, host).ok_or_else(|| {
        Error::not_implemented(format!(
            "The agent of host {} does not say since when the host runs.",
            host.name
        ))
    })?;
    let mut view = brief_hypervisor(&ctx, host);
    view["uptime"] = json!(uptime);
    json(200, &json!({ "hypervisor": view }))
}

/// The hypervisors with a part of a name, for the paths that 2.53 replaced by a query.
fn named(ctx: &Ctx, part: &str) -> Result<Vec<Arc<Host>>> {
    retired(ctx, 53)?;
    policy::check(&ctx.caller, Action::HypervisorRead, None)?;
    let found: Vec<Arc<Host>> = by_name(ctx).filter(|host| host.name.contains(part)).cloned().collect();
    match found.is_empty() {
        true => Err(Error::not_found_text(format!("No hypervisor matching '{part}' could be found."))),
        false => Ok(found),
    }
}

/// `GET /os-hypervisors/{part of a name}/search` (until 2.52)
pub async fn search(ctx: Ctx, Path(part): Path<String>) -> Handled {
    let found = named(&ctx, &part)?;
    let views: Vec<Value> = found.iter().map(|host| brief_hypervisor(&ctx, host)).collect();
    json(200, &json!({ "hypervisors": views }))
}

/// `GET /os-hypervisors/{part of a name}/servers` (until 2.52)
pub async fn servers(ctx: Ctx, Path(part): Path<String>) -> Handled {
    let found = named(&ctx, &part)?;
    let with_servers = |host: &Arc<Host>| {
        let mut view = brief_hypervisor(&ctx, host);
        // As in Nova, a hypervisor without servers has no such list.
        if ctx.state.servers_on_host(host.id).next().is_some() {
            view["servers"] = servers_on(&ctx, host.id);
        }
        view
    };
    let views: Vec<Value> = found.iter().map(with_servers).collect();
    json(200, &json!({ "hypervisors": views }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_uptime_is_said_as_the_command_says_it() {
        assert_eq!(uptime(59), "up 0:00");
        assert_eq!(uptime(3_661), "up 1:01");
        assert_eq!(uptime(86_400), "up 1 day, 0:00");
        assert_eq!(uptime(93 * 86_400 + 18 * 3_600 + 25 * 60), "up 93 days, 18:25");
    }
}
