//! Security groups under Nova's names, for clients before version 2.36.

use super::{retired, server::readable};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    page,
    respond::{empty, json},
};
use axum::extract::Path;
use ipnet::IpNet;
use lenticular_control::{
    command::network::security_group::{self, NewRule},
    lifecycle::network::group_build,
};
use lenticular_model::{
    Scoped, SecurityGroupId, SecurityGroupRuleId, ServerId,
    error::{Error, Kind, Result},
    network::security_group::{Direction, Remote, SecurityGroup, SecurityGroupRule},
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{query::SECURITY_GROUPS, security_group as wire},
    request,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// Changes Neutron's conflict into a bad request, as Nova answers.
fn worded(error: Error) -> Error {
    match error.kind {
        Kind::Conflict if error.code != "OverQuota" => Error { kind: Kind::Invalid, ..error },
        Kind::Conflict => Error { kind: Kind::OverQuota, ..error },
        _ => error,
    }
}

fn id(text: &str) -> Result<SecurityGroupId> {
    text.parse().map_err(|_| SecurityGroup::missing(text))
}

/// `GET /os-security-groups`
pub async fn list(ctx: Ctx) -> Handled {
    retired(&ctx, 36)?;
    let ctx = ctx.asking(&SECURITY_GROUPS)?;
    let project = ctx.caller.need_project()?;
    policy::check(&ctx.caller, Action::SecurityGroupsRead, Some(project))?;
    let ensure =
        move |txn: &mut lenticular_model::Txn<'_>, _: &_| Ok(group_build::ensure_default(txn, project));
    let there = ctx.state.security_groups_of_project(project).any(|g| g.name == group_build::DEFAULT);
    if !there {
        ctx.commit("security group default", ensure).await?;
    }
    let state = ctx.app.store.state();
    let everywhere = ctx.query.flag("all_tenants")?.unwrap_or(false) && ctx.caller.is_admin();
    let found: Vec<&Arc<SecurityGroup>> = match everywhere {
        true => state.security_groups.values().collect(),
        false => state.security_groups_of_project(project).collect(),
    };
    let offset = usize::try_from(ctx.query.number("offset")?.unwrap_or(0)).unwrap_or(usize::MAX);
    let page = found.into_iter().skip(offset).take(page::limit(&ctx.query)?);
    let all: Vec<Value> = page.map(|g| wire::view(&state, g)).collect();
    json(200, &json!({"security_groups": all}))
}

fn answer(ctx: &Ctx, id: SecurityGroupId) -> Handled {
    let state = ctx.app.store.state();
    let group = state.visible::<SecurityGroup>(&ctx.caller, &id)?;
    json(200, &json!({"security_group": wire::view(&state, &group)}))
}

/// `GET /os-security-groups/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    answer(&ctx, id(&path)?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    name: String,
    #[serde(default)]
    description: Option<String>,
}

fn read(body: Value) -> Result<Group> {
    let group: Group = request::read(request::sole(body, "security_group")?)?;
    // As in Nova, a name may have blanks at its ends, and is kept with them.
    request::check_name("name", group.name.trim())?;
    request::check_text("name", &group.name, 255)?;
    request::check_text("description", group.description.as_deref().unwrap_or(""), 255)?;
    Ok(group)
}

/// `POST /os-security-groups`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    retired(&ctx, 36)?;
    let project = ctx.caller.need_project()?;
    let Group { name, description } = read(body)?;
    let made = ctx
        .commit("security group create", move |txn, caller| {
            security_group::create(txn, caller, project, name, description.unwrap_or_default(), true)
        })
        .await;
    answer(&ctx, made.map_err(worded)?)
}

/// `PUT /os-security-groups/{id}`
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    retired(&ctx, 36)?;
    let id = id(&path)?;
    let Group { name, description } = read(body)?;
    let done = ctx
        .commit("security group update", move |txn, caller| {
            security_group::update(txn, caller, id, Some(name), description, None)
        })
        .await;
    done.map_err(worded)?;
    answer(&ctx, id)
}

/// `DELETE /os-security-groups/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    let id = id(&path)?;
    let done =
        ctx.commit("security group delete", move |txn, caller| security_group::delete(txn, caller, id)).await;
    done.map_err(worded)?;
    empty(202)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    parent_group_id: String,
    #[serde(default)]
    ip_protocol: Option<String>,
    #[serde(default)]
    from_port: Option<Value>,
    #[serde(default)]
    to_port: Option<Value>,
    #[serde(default)]
    cidr: Option<String>,
    #[serde(default)]
    group_id: Option<String>,
}

/// Reads a port; `None` for -1, which means all ports.
fn port(field: &str, value: Option<Value>) -> Result<Option<u32>> {
    let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(None) };
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    match number {
        Some(-1) => Ok(None),
        Some(n @ 0..=65_535) => Ok(Some(n as u32)),
        _ => Err(Error::invalid(format!("Invalid input for {field}: {value} is not a port, -1 to 65535."))),
    }
}

fn remote(rule: &Rule) -> Result<Remote> {
    match (&rule.cidr, &rule.group_id) {
        (Some(_), Some(_)) => Err(Error::invalid("Either cidr or group_id may be given, not both.")),
        (None, Some(group)) => id(group).map(Remote::Group),
        (None, None) => Ok(Remote::Range(IpNet::V4(Default::default()))),
        (Some(text), None) => {
            let wrong = || Error::invalid(format!("Invalid cidr {text}"));
            text.parse::<IpNet>().map(Remote::Range).map_err(|_| wrong())
        }
    }
}

/// `POST /os-security-group-rules`
pub async fn create_rule(ctx: Ctx, Json(body): Json) -> Handled {
    retired(&ctx, 36)?;
    let rule: Rule = request::read(request::sole(body, "security_group_rule")?)?;
    let parent: SecurityGroupId =
        rule.parent_group_id.parse().map_err(|_| Error::invalid("Security group id should be uuid"))?;
    let group = ctx.state.visible::<SecurityGroup>(&ctx.caller, &parent)?;
    let protocol = rule.ip_protocol.as_ref().map(|p| p.to_ascii_lowercase());
    if let Some(other) = protocol.as_deref().filter(|p| !matches!(*p, "tcp" | "udp" | "icmp")) {
        return Err(Error::invalid(format!("Invalid IP protocol {other}.")).into());
    }
    let remote = remote(&rule)?;
    let ip_version = match remote {
        Remote::Range(IpNet::V6(_)) => 6,
        _ => 4,
    };
    let new = NewRule {
        ip_version,
        port_range_min: port("from_port", rule.from_port)?,
        port_range_max: port("to_port", rule.to_port)?,
        protocol,
        ..NewRule::open(group.id, group.project_id, Direction::Ingress, remote)
    };
    let made = ctx
        .commit("security group rule create", move |txn, caller| {
            security_group::create_rule(txn, caller, new)
        })
        .await;
    let id = made.map_err(worded)?;
    let state = ctx.app.store.state();
    let rule = state.visible::<SecurityGroupRule>(&ctx.caller, &id)?;
    json(200, &json!({"security_group_rule": wire::rule(&state, &rule)}))
}

/// `DELETE /os-security-group-rules/{id}`
pub async fn delete_rule(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    let id: SecurityGroupRuleId = path.parse().map_err(|_| SecurityGroupRule::missing(&path))?;
    ctx.commit("security group rule delete", move |txn, caller| security_group::delete_rule(txn, caller, id))
        .await?;
    empty(202)
}

/// `GET /servers/{id}/os-security-groups`
pub async fn of_server(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    let mut groups: Vec<_> =
        ctx.state.ports_of_server(server.id).flat_map(|p| p.security_groups.clone()).collect();
    groups.sort();
    groups.dedup();
    let found = groups.iter().filter_map(|id| ctx.state.security_groups.get(id));
    let views: Vec<Value> = found.map(|g| wire::view(&ctx.state, g)).collect();
    json(200, &json!({"security_groups": views}))
}

/// Adds a server to a security group, or removes it.
pub async fn change_of_server(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    use lenticular_control::command::compute::interface::{add_group, remove_group};
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Named {
        name: String,
    }
    let asked: Named = request::read_value(action, args)?;
    request::check_name("name", &asked.name)?;
    let adds = action == "addSecurityGroup";
    let why = if adds { "server add security group" } else { "server remove security group" };
    ctx.commit(why, move |txn, caller| match adds {
        true => add_group(txn, caller, id, &asked.name),
        false => remove_group(txn, caller, id, &asked.name),
    })
    .await?;
    empty(202)
}
