//! Limits and quotas, as Nova shows them.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::{
    command,
    quota::{self, Service},
};
use lenticular_model::{
    ProjectId,
    compute::{server::Wanted, server_group::ServerGroup},
    error::{Error, Result},
    policy::{self, Action},
    quota::{COMPUTE_DEFAULTS, Limits, Usage},
};
use lenticular_wire::{
    compute::query::{LIMITS, QUOTA_SET},
    microversion::{Field, Microversion, until},
    request,
};
use serde_json::{Map, Value, json};

/// The project of a path. Only callers with the right to this action learn whether the project exists.
fn project(ctx: &Ctx, text: &str, action: Action) -> Result<ProjectId> {
    let id: Option<ProjectId> = text.parse().ok();
    policy::check(&ctx.caller, action, Some(id.unwrap_or_default()))?;
    id.filter(|id| ctx.state.projects.contains_key(id))
        .ok_or_else(|| Error::invalid(format!("Project ID {text} is not a valid project.")))
}

/// Refuses a user's limits. Limits belong to a project: a request for one user must not change them for all.
fn refuse_user(ctx: &Ctx) -> Result<()> {
    match ctx.query.get("user_id") {
        Some(_) => Err(Error::invalid(
            "Quotas of single users are not supported by this cloud: leave out user_id to change the project's.",
        )),
        None => Ok(()),
    }
}

/// Nova's old quota names, which clients of the oldest versions still look for. Neutron's quotas limit these
/// resources now, or the resources do not exist. Here the value is "no limit", and setting it changes nothing.
const OLD_NAMES: &[Field] = &[
    until("fixed_ips", 36),
    until("floating_ips", 36),
    until("security_groups", 36),
    until("security_group_rules", 36),
    until("injected_files", 57),
    until("injected_file_content_bytes", 57),
    until("injected_file_path_bytes", 57),
];

fn view(ctx: &Ctx, limits: &[(&'static str, i64)]) -> Map<String, Value> {
    let old = OLD_NAMES.iter().filter(|field| field.is_in(ctx.version)).map(|field| (field.name, -1));
    let now = limits.iter().copied();
    now.chain(old).map(|(name, limit)| (name.to_owned(), json!(limit))).collect()
}

/// The limits that a request sets.
fn read(fields: &Map<String, Value>, version: Microversion) -> Result<Limits> {
    request::check_version(fields, OLD_NAMES, version)?;
    let mut new = Limits::new();
    for (name, value) in fields {
        let is_old = OLD_NAMES.iter().any(|field| field.name == name);
        match name.as_str() {
            "force" => {
                let flag = request::lenient_bool(value);
                flag.ok_or_else(|| {
                    Error::invalid("Invalid input for field/attribute force. It must be a boolean.")
                })?;
            }
            "tenant_id" => {}
            _ if is_old || COMPUTE_DEFAULTS.iter().any(|(known, _)| known == name) => {
                let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
                let number = number.filter(|n| (-1..=i64::from(i32::MAX)).contains(n)).ok_or_else(|| {
                    Error::invalid(format!("Invalid input for field/attribute {name}. Value: {value}."))
                })?;
                if !is_old {
                    new.insert(name.clone(), number);
                }
            }
            _ => return Err(request::unexpected(name)),
        }
    }
    Ok(new)
}

/// `GET /os-quota-sets/{project}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaRead)?;
    let mut set = view(&ctx, &quota::limits(&ctx.state, Service::Compute, id));
    set.insert("id".to_owned(), json!(text));
    json(200, &json!({ "quota_set": set }))
}

/// `GET /os-quota-sets/{project}/defaults`
pub async fn defaults(ctx: Ctx, Path(text): Path<String>) -> Handled {
    if ctx.caller.is_admin() {
        project(&ctx, &text, Action::QuotaRead)?;
    }
    let mut set = view(&ctx, COMPUTE_DEFAULTS);
    set.insert("id".to_owned(), json!(text));
    json(200, &json!({ "quota_set": set }))
}

/// `GET /os-quota-sets/{project}/detail`
pub async fn detail(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaRead)?;
    let user = ctx.query.get("user_id");
    let used = match user {
        Some(user) => used_by(&ctx, id, user),
        None => ctx.state.usage_of_project(id),
    };
    let is_theirs = |group: &ServerGroup| user.is_none_or(|user| group.user_id.to_string() == user);
    let groups = ctx.state.server_groups_of_project(id);
    let groups = groups.filter(|group| is_theirs(group)).count();
    let in_use = |name: &str| match name {
        "instances" => used.instances,
        "cores" => used.cores,
        "ram" => used.ram,
        "server_groups" => groups as i64,
        _ => 0,
    };
    let set = view(&ctx, &quota::limits(&ctx.state, Service::Compute, id));
    let mut detail: Map<String, Value> = set
        .into_iter()
        .map(|(name, limit)| {
            let line = json!({"limit": limit, "in_use": in_use(&name), "reserved": 0});
            (name, line)
        })
        .collect();
    detail.insert("id".to_owned(), json!(text));
    json(200, &json!({ "quota_set": detail }))
}

/// The usage of one user's servers in a project.
fn used_by(ctx: &Ctx, project: ProjectId, user: &str) -> Usage {
    let mut used = Usage::default();
    let of_project = ctx.state.servers.values().filter(|s| s.project_id == project);
    for server in of_project.filter(|s| s.user_id.to_string() == user && s.wanted != Wanted::Absent) {
        used.instances += 1;
        used.cores += i64::from(server.size.vcpus);
        used.ram += i64::from(server.size.ram_mb);
    }
    used
}

/// `PUT /os-quota-sets/{project}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaWrite)?;
    refuse_user(&ctx)?;
    let fields = request::sole(body, "quota_set")?;
    let new = read(&fields, ctx.version)?;
    ctx.commit("quota update", move |txn, caller| {
        command::quota::set(txn, caller, Service::Compute, id, new)
    })
    .await?;
    let state = ctx.app.store.state();
    json(200, &json!({"quota_set": view(&ctx, &quota::limits(&state, Service::Compute, id))}))
}

/// `DELETE /os-quota-sets/{project}`
pub async fn reset(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaWrite)?;
    refuse_user(&ctx)?;
    ctx.commit("quota reset", move |txn, caller| command::quota::reset(txn, caller, Service::Compute, id))
        .await?;
    empty(202)
}

/// `GET /limits`
pub async fn limits(ctx: Ctx) -> Handled {
    let ctx = ctx.asking(&LIMITS)?;
    let id = match ctx.query.get("tenant_id") {
        Some(text) => project(&ctx, text, Action::LimitsRead)?,
        None => ctx.caller.need_project()?,
    };
    policy::check(&ctx.caller, Action::LimitsRead, Some(id))?;
    let limits = quota::limits(&ctx.state, Service::Compute, id);
    let limit = |name: &str| limits.iter().find(|(n, _)| *n == name).map_or(-1, |(_, limit)| *limit);
    let used = ctx.state.usage_of_project(id);
    let mut absolute = json!({
        "maxTotalInstances": limit("instances"),
        "maxTotalCores": limit("cores"),
        "maxTotalRAMSize": limit("ram"),
        "maxServerMeta": limit("metadata_items"),
        "maxTotalKeypairs": limit("key_pairs"),
        "maxServerGroups": limit("server_groups"),
        "maxServerGroupMembers": limit("server_group_members"),
        "totalInstancesUsed": used.instances,
        "totalCoresUsed": used.cores,
        "totalRAMUsed": used.ram,
        "totalServerGroupsUsed": ctx.state.server_groups_of_project(id).count(),
    });
    if !ctx.version.has(36) {
        for name in ["maxSecurityGroups", "maxSecurityGroupRules", "maxTotalFloatingIps"] {
            absolute[name] = json!(-1);
        }
        absolute["totalSecurityGroupsUsed"] = json!(0);
        absolute["totalFloatingIpsUsed"] = json!(0);
    }
    if !ctx.version.has(39) {
        absolute["maxImageMeta"] = json!(128);
    }
    if !ctx.version.has(57) {
        for name in ["maxPersonality", "maxPersonalitySize"] {
            absolute[name] = json!(-1);
        }
    }
    json(200, &json!({"limits": {"rate": [], "absolute": absolute}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_names_are_taken_until_their_version_and_change_nothing() {
        let read = |body: Value, version| {
            let Value::Object(fields) = body else { unreachable!() };
            read(&fields, Microversion(version))
        };
        let old = |name: &str| json!({name: 5, "cores": "7", "force": "True"});
        for (name, until) in [("fixed_ips", 36), ("security_group_rules", 36), ("injected_files", 57)] {
            assert_eq!(read(old(name), until - 1).unwrap(), Limits::from([("cores".to_owned(), 7)]));
            assert!(read(old(name), until).is_err(), "{name}");
        }
        for bad in
            [json!({"colour": 1}), json!({"ram": -2}), json!({"ram": "x"}), json!({"ram": 1_i64 << 31})]
        {
            assert!(read(bad.clone(), 1).is_err(), "{bad}");
        }
    }
}
