//! Hosts under `/os-hosts` (until 2.42): the services of each host, and what its servers take of it.

use super::{
    host::{CONTROL_HOST, CONTROL_SERVICES, by_name},
    retired,
};
use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::host::host;
use lenticular_model::{
    ProjectId,
    error::{Error, Result},
    host::host::{Capacity, Host, Intent},
    policy::{self, Action},
};
use lenticular_wire::{compute::query, request};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc};

/// The first version without these paths.
const RETIRED: u16 = 43;

/// `GET /os-hosts`
pub async fn list(ctx: Ctx) -> Handled {
    retired(&ctx, RETIRED)?;
    let ctx = ctx.asking(&query::HOSTS)?;
    policy::check(&ctx.caller, Action::HostRead, None)?;
    let line =
        |name: &str, service: &str, zone: &str| json!({"host_name": name, "service": service, "zone": zone});
    let control = CONTROL_SERVICES.iter();
    let control = control.map(|binary| line(CONTROL_HOST, binary.trim_start_matches("nova-"), "internal"));
    let computes = by_name(&ctx).map(|host| line(&host.name, "compute", &host.zone));
    let wanted = |view: &Value| {
        ["zone", "service"]
            .iter()
            .all(|name| ctx.query.get(name).is_none_or(|text| text.is_empty() || view[*name] == text))
    };
    let hosts: Vec<Value> = control.chain(computes).filter(wanted).collect();
    json(200, &json!({ "hosts": hosts }))
}

fn find<'c>(ctx: &'c Ctx, name: &str) -> Result<&'c Arc<Host>> {
    let found = ctx.state.host_named(name);
    found.ok_or_else(|| Error::not_found_text(format!("Compute host {name} could not be found.")))
}

/// `GET /os-hosts/{name}`
pub async fn show(ctx: Ctx, Path(name): Path<String>) -> Handled {
    retired(&ctx, RETIRED)?;
    policy::check(&ctx.caller, Action::HostRead, None)?;
    let host = find(&ctx, &name)?;
    let line = |project: String, of: Capacity| {
        json!({"resource": {
            "host": host.name, "project": project, "cpu": of.vcpus, "memory_mb": of.memory_mb, "disk_gb": of.disk_gb,
        }})
    };
    let mut projects: BTreeMap<ProjectId, Capacity> = BTreeMap::new();
    for server in ctx.state.servers_on_host(host.id) {
        let (sum, size) = (projects.entry(server.project_id).or_default(), server.size);
        sum.vcpus += u64::from(size.vcpus);
        sum.memory_mb += u64::from(size.ram_mb);
        sum.disk_gb += u64::from(size.disk_gb) + u64::from(size.ephemeral_gb);
    }
    let total = projects.values().fold(Capacity::default(), |sum, one| Capacity {
        vcpus: sum.vcpus + one.vcpus,
        memory_mb: sum.memory_mb + one.memory_mb,
        disk_gb: sum.disk_gb + one.disk_gb,
    });
    let taken = ctx.state.taken_of_host(host.id).capacity;
    let mut lines = vec![
        line("(total)".to_owned(), host.capacity),
        line("(used_now)".to_owned(), taken),
        line("(used_max)".to_owned(), total),
    ];
    lines.extend(projects.into_iter().map(|(project, sum)| line(project.to_string(), sum)));
    json(200, &json!({ "host": lines }))
}

/// What a request does to a host.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Setting {
    Enable,
    Disable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateHost {
    #[serde(default, deserialize_with = "request::de_given")]
    status: Option<Setting>,
    #[serde(default, deserialize_with = "request::de_given")]
    maintenance_mode: Option<Setting>,
}

/// `PUT /os-hosts/{name}`
pub async fn update(ctx: Ctx, Path(name): Path<String>, Json(body): Json) -> Handled {
    retired(&ctx, RETIRED)?;
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    let asked: UpdateHost = request::read_value("", body)?;
    let id = find(&ctx, &name)?.id;
    if asked.maintenance_mode.is_some() {
        let why =
            "Hosts have no maintenance mode. Disable the host, and then migrate its servers to other hosts.";
        return Err(Error::not_implemented(why).into());
    }
    let (intent, word) = match asked.status {
        Some(Setting::Enable) => (Intent::Enabled, "enabled"),
        Some(Setting::Disable) => (Intent::Disabled { reason: None }, "disabled"),
        None => return Err(Error::invalid("The request's body must have status or maintenance_mode.").into()),
    };
    ctx.commit("host update", move |txn, caller| host::set_intent(txn, caller, id, intent)).await?;
    json(200, &json!({"host": name, "status": word}))
}

/// `GET /os-hosts/{name}/startup`, `/shutdown` and `/reboot`: agents do not switch their own machines.
pub async fn power(ctx: Ctx, Path((name, _)): Path<(String, String)>) -> Handled {
    retired(&ctx, RETIRED)?;
    policy::check(&ctx.caller, Action::ServiceWrite, None)?;
    let host = find(&ctx, &name)?;
    let why = format!(
        "The agent of host {} does not switch the host's power. Use the host's own management.",
        host.name
    );
    Err(Error::not_implemented(why).into())
}
