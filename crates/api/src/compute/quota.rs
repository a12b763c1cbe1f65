//! Limits and quotas, as Nova shows them.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::{
    command::{self, quota::Whose},
    quota::{self, Service},
};
use lenticular_model::{
    ProjectId, State, UserId,
    compute::server_group::ServerGroup,
    error::{Error, Result},
    policy::{self, Action},
    quota::{COMPUTE_DEFAULTS, Limits},
};
use lenticular_wire::{
    compute::query::{LIMITS, QUOTA_SET},
    microversion::{Field, Microversion, since, until},
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

/// The user that the query names.
fn user(ctx: &Ctx) -> Result<Option<UserId>> {
    let Some(text) = ctx.query.get("user_id") else { return Ok(None) };
    let id: Option<UserId> = text.parse().ok();
    let id = id.filter(|id| ctx.state.users.contains_key(id));
    id.map(Some).ok_or_else(|| Error::invalid(format!("User ID {text} is not a valid user.")))
}

/// The limits of a project, or those of a user in it.
fn limits_of(state: &State, id: ProjectId, user: Option<UserId>) -> Vec<(&'static str, i64)> {
    match user {
        Some(user) => quota::user_limits(state, id, user),
        None => quota::limits(state, Service::Compute, id),
    }
}

fn whose(id: ProjectId, user: Option<UserId>) -> Whose {
    user.map_or(Whose::Project(id), |user| Whose::User(id, user))
}

/// Nova's old quota names, which clients of the oldest versions still look for. Neutron's quotas limit these
/// resources now. Here the value is "no limit", and setting it changes nothing.
const OLD_NAMES: &[Field] = &[
    until("fixed_ips", 36),
    until("floating_ips", 36),
    until("security_groups", 36),
    until("security_group_rules", 36),
];

/// Limits that went with a version.
const RETIRED: &[Field] = &[
    until("injected_files", 57),
    until("injected_file_content_bytes", 57),
    until("injected_file_path_bytes", 57),
];

/// Names that a quota class has later than a quota set, or not at all.
const CLASS_NAMES: &[Field] = &[
    until("fixed_ips", 50),
    until("floating_ips", 50),
    until("security_groups", 50),
    until("security_group_rules", 50),
    since("server_groups", 50),
    since("server_group_members", 50),
];

/// True if a version has the limit.
fn is_in(name: &str, tables: &[&[Field]], version: Microversion) -> bool {
    tables.iter().flat_map(|table| table.iter()).all(|field| field.name != name || field.is_in(version))
}

fn all_names<'l>(limits: &'l [(&'static str, i64)]) -> impl Iterator<Item = (&'static str, i64)> + 'l {
    limits.iter().copied().chain(OLD_NAMES.iter().map(|field| (field.name, -1)))
}

fn view(ctx: &Ctx, limits: &[(&'static str, i64)]) -> Map<String, Value> {
    let shown = all_names(limits).filter(|(name, _)| is_in(name, &[OLD_NAMES, RETIRED], ctx.version));
    shown.map(|(name, limit)| (name.to_owned(), json!(limit))).collect()
}

/// The limits that a request sets, and whether they may be below what is used.
fn read(fields: &Map<String, Value>, tables: &[&[Field]], version: Microversion) -> Result<(Limits, bool)> {
    tables.iter().try_for_each(|table| request::check_version(fields, table, version))?;
    let (mut new, mut force) = (Limits::new(), false);
    for (name, value) in fields {
        let is_old = OLD_NAMES.iter().any(|field| field.name == name);
        match name.as_str() {
            "force" => {
                let flag = request::lenient_bool(value);
                force = flag.ok_or_else(|| {
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
    Ok((new, force))
}

/// `GET /os-quota-sets/{project}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaRead)?;
    let mut set = view(&ctx, &limits_of(&ctx.state, id, user(&ctx)?));
    set.insert("id".to_owned(), json!(text));
    json(200, &json!({ "quota_set": set }))
}

/// `GET /os-quota-sets/{project}/defaults`
pub async fn defaults(ctx: Ctx, Path(text): Path<String>) -> Handled {
    if ctx.caller.is_admin() {
        project(&ctx, &text, Action::QuotaRead)?;
    }
    let mut set = view(&ctx, &quota::default_limits(&ctx.state));
    set.insert("id".to_owned(), json!(text));
    json(200, &json!({ "quota_set": set }))
}

/// `GET /os-quota-sets/{project}/detail`
pub async fn detail(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaRead)?;
    let user = user(&ctx)?;
    let used = match user {
        Some(user) => quota::user_usage(&ctx.state, id, user),
        None => ctx.state.usage_of_project(id),
    };
    let is_theirs = |group: &ServerGroup| user.is_none_or(|user| group.user_id == user);
    let groups = ctx.state.server_groups_of_project(id);
    let groups = groups.filter(|group| is_theirs(group)).count();
    let in_use = |name: &str| match name {
        "instances" => used.instances,
        "cores" => used.cores,
        "ram" => used.ram,
        "server_groups" => groups as i64,
        _ => 0,
    };
    let set = view(&ctx, &limits_of(&ctx.state, id, user));
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

/// `PUT /os-quota-sets/{project}`
pub async fn update(ctx: Ctx, Path(text): Path<String>, Json(body): Json) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaWrite)?;
    let user = user(&ctx)?;
    let fields = request::sole(body, "quota_set")?;
    let (new, force) = read(&fields, &[OLD_NAMES, RETIRED], ctx.version)?;
    ctx.commit("quota update", move |txn, caller| {
        command::quota::set(txn, caller, Service::Compute, whose(id, user), new, force)
    })
    .await?;
    let state = ctx.app.store.state();
    json(200, &json!({"quota_set": view(&ctx, &limits_of(&state, id, user))}))
}

/// `DELETE /os-quota-sets/{project}`
pub async fn reset(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let ctx = ctx.asking(&QUOTA_SET)?;
    let id = project(&ctx, &text, Action::QuotaWrite)?;
    let whose = whose(id, user(&ctx)?);
    ctx.commit("quota reset", move |txn, caller| command::quota::reset(txn, caller, Service::Compute, whose))
        .await?;
    empty(202)
}

/// The only class that counts: its limits are the defaults of all projects.
const DEFAULT_CLASS: &str = "default";

fn check_class(name: &str) -> Result<()> {
    match name == DEFAULT_CLASS {
        true => Ok(()),
        false => Err(Error::not_found_text(format!(
            "There is no quota class {name}. The class default has the limits of projects without their own."
        ))),
    }
}

fn class_view(ctx: &Ctx, state: &State) -> Map<String, Value> {
    let all = quota::default_limits(state);
    let shown = all_names(&all).filter(|(name, _)| is_in(name, &[CLASS_NAMES, RETIRED], ctx.version));
    let kept = |name: &str| state.quotas.get(&ProjectId::CLOUD)?.compute.get(name).copied();
    let shown = shown.map(|(name, limit)| (name, kept(name).unwrap_or(limit)));
    shown.map(|(name, limit)| (name.to_owned(), json!(limit))).collect()
}

/// `GET /os-quota-class-sets/{class}`
pub async fn show_class(ctx: Ctx, Path(name): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::QuotaClassRead, None)?;
    check_class(&name)?;
    let mut set = class_view(&ctx, &ctx.state);
    set.insert("id".to_owned(), json!(name));
    json(200, &json!({ "quota_class_set": set }))
}

/// `PUT /os-quota-class-sets/{class}`
pub async fn update_class(ctx: Ctx, Path(name): Path<String>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::QuotaClassWrite, None)?;
    check_class(&name)?;
    let fields = request::sole(body, "quota_class_set")?;
    if let Some(name) = ["force", "tenant_id"].iter().find(|name| fields.contains_key(**name)) {
        return Err(request::unexpected(name).into());
    }
    let (mut new, _) = read(&fields, &[CLASS_NAMES, RETIRED], ctx.version)?;
    for name in quota::NETWORK_NAMES {
        let value =
            fields.get(*name).and_then(|value| value.as_i64().or_else(|| value.as_str()?.parse().ok()));
        new.extend(value.map(|value| ((*name).to_owned(), value)));
    }
    ctx.commit("quota class update", move |txn, caller| {
        command::quota::set(txn, caller, Service::Compute, Whose::Default, new, false)
    })
    .await?;
    let state = ctx.app.store.state();
    json(200, &json!({"quota_class_set": class_view(&ctx, &state)}))
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
        // Neutron's limits hold for these.
        let network = quota::limits(&ctx.state, Service::Network, id);
        let limit = |name: &str| network.iter().find(|(n, _)| *n == name).map_or(-1, |(_, limit)| *limit);
        let used = |name: &str| quota::network_usage(&ctx.state, id, name);
        absolute["maxSecurityGroups"] = json!(limit("security_group"));
        absolute["maxSecurityGroupRules"] = json!(limit("security_group_rule"));
        absolute["maxTotalFloatingIps"] = json!(limit("floatingip"));
        absolute["totalSecurityGroupsUsed"] = json!(used("security_group"));
        absolute["totalFloatingIpsUsed"] = json!(used("floatingip"));
    }
    if !ctx.version.has(39) {
        absolute["maxImageMeta"] = json!(128);
    }
    if !ctx.version.has(57) {
        absolute["maxPersonality"] = json!(limit("injected_files"));
        absolute["maxPersonalitySize"] = json!(limit("injected_file_content_bytes"));
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
            read(&fields, &[OLD_NAMES, RETIRED], Microversion(version)).map(|(limits, _)| limits)
        };
        let old = |name: &str| json!({name: 5, "cores": "7", "force": "True"});
        for (name, until) in [("fixed_ips", 36), ("security_group_rules", 36)] {
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
