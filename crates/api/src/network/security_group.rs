//! Security groups and their rules.

use super::{bad, check_fields, field, flag, project, text, view};
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::extract::Path;
use lenticular_control::command::security_group::{self, NewRule};
use lenticular_model::{
    error::{Error, Result},
    policy::{self, Action, Caller},
    security_group::{Direction, Remote},
    SecurityGroupId, SecurityGroupRuleId, State, Txn,
};
use lenticular_wire::{network as wire, request::envelope};
use serde_json::{json, Map, Value};

fn id(text: &str) -> Result<SecurityGroupId> {
    let missing = || Error::not_found_text(format!("Security group {text} does not exist"));
    text.parse().map_err(|_| missing().coded("SecurityGroupNotFound"))
}

/// Every project has a default group as soon as anybody looks.
async fn with_default(ctx: &Ctx) -> Result<std::sync::Arc<State>> {
    let Some(project) = ctx.caller.project_id() else { return Ok(ctx.state.clone()) };
    let there = security_group::of_project(&ctx.state, project).any(|g| g.name == security_group::DEFAULT);
    if there {
        return Ok(ctx.state.clone());
    }
    ctx.commit("security group default", move |txn, _| Ok(security_group::ensure_default(txn, project)))
        .await?;
    Ok(ctx.app.store.state())
}

/// `GET /v2.0/security-groups`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let state = with_default(&ctx).await?;
    let seen = state.security_groups.values().filter(|g| ctx.caller.sees(g.project_id));
    let items = seen.map(|g| wire::security_group(&state, g)).collect();
    view::listing(&ctx, "security_groups", "security-groups", items)
}

/// `GET /v2.0/security-groups/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let group = security_group::visible(&ctx.state, &ctx.caller, id(&path)?)?;
    view::one(&ctx, "security_group", wire::security_group(&ctx.state, &group))
}

const SETTABLE: &[&str] = &["name", "description", "project_id", "tenant_id", "stateful"];

/// `POST /v2.0/security-groups`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let read = |fields: &Map<String, Value>| {
        check_fields(fields, SETTABLE)?;
        Ok((
            project(fields, &ctx.caller, Action::SecurityGroupWrite)?,
            text(fields, "name")?.unwrap_or_default(),
            text(fields, "description")?.unwrap_or_default(),
            flag(fields, "stateful")?.unwrap_or(true),
        ))
    };
    let make = |txn: &mut Txn<'_>, caller: &Caller, (project, name, description, stateful)| {
        security_group::create(txn, caller, project, name, description, stateful)
    };
    let show = |state: &State, id| Some(wire::security_group(state, state.security_groups.get(&id)?));
    super::create(&ctx, ("security_group", "security_groups"), body, read, make, show).await
}

/// `PUT /v2.0/security-groups/{id}`
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = id(&path)?;
    let fields = envelope(body, "security_group")?;
    check_fields(&fields, SETTABLE)?;
    let (name, description, stateful) =
        (text(&fields, "name")?, text(&fields, "description")?, flag(&fields, "stateful")?);
    ctx.commit("security group update", move |txn, caller| {
        security_group::update(txn, caller, id, name, description, stateful)
    })
    .await?;
    let state = ctx.app.store.state();
    let group = security_group::visible(&state, &ctx.caller, id)?;
    json(200, &json!({"security_group": wire::security_group(&state, &group)}))
}

/// `DELETE /v2.0/security-groups/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = id(&path)?;
    ctx.commit("security group delete", move |txn, caller| security_group::delete(txn, caller, id)).await?;
    empty(204)
}

/// `GET /v2.0/security-group-rules`
pub async fn list_rules(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let state = with_default(&ctx).await?;
    let seen = state.security_group_rules.values().filter(|r| ctx.caller.sees(r.project_id));
    view::listing(&ctx, "security_group_rules", "security-group-rules", seen.map(|r| wire::rule(r)).collect())
}

fn rule_id(text: &str) -> Result<SecurityGroupRuleId> {
    let missing = || Error::not_found_text(format!("Security group rule {text} does not exist"));
    text.parse().map_err(|_| missing().coded("SecurityGroupRuleNotFound"))
}

/// `GET /v2.0/security-group-rules/{id}`
pub async fn show_rule(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let rule = security_group::visible_rule(&ctx.state, &ctx.caller, rule_id(&path)?)?;
    view::one(&ctx, "security_group_rule", wire::rule(&rule))
}

const RULE_FIELDS: &[&str] = &[
    "security_group_id",
    "direction",
    "ethertype",
    "protocol",
    "port_range_min",
    "port_range_max",
    "remote_ip_prefix",
    "remote_group_id",
    "remote_address_group_id",
    "description",
    "project_id",
    "tenant_id",
];

const PROTOCOLS: &[&str] = &[
    "ah",
    "dccp",
    "egp",
    "esp",
    "gre",
    "hopopt",
    "icmp",
    "icmpv6",
    "igmp",
    "ip",
    "ipip",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "ospf",
    "pgm",
    "rsvp",
    "sctp",
    "tcp",
    "udp",
    "udplite",
    "vrrp",
];

fn read_protocol(fields: &Map<String, Value>) -> Result<Option<String>> {
    let word = match fields.get("protocol") {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::String(s)) => s.to_ascii_lowercase(),
        Some(Value::Number(n)) => n.to_string(),
        Some(other) => return Err(bad(&format!("Invalid input for protocol: {other}."))),
    };
    match word.as_str() {
        "any" | "" => Ok(None),
        known if PROTOCOLS.contains(&known) || known.parse::<u8>().is_ok() => Ok(Some(word)),
        _ => Err(bad(&format!("Security group rule protocol {word} not supported."))
            .coded("SecurityGroupRuleInvalidProtocol")),
    }
}

fn read_rule(ctx: &Ctx, fields: &Map<String, Value>) -> Result<NewRule> {
    check_fields(fields, RULE_FIELDS)?;
    let required =
        |name: &str| bad(&format!("Failed to parse request. Required attribute '{name}' not specified"));
    let group: String = field(fields, "security_group_id")?.ok_or_else(|| required("security_group_id"))?;
    let group = security_group::visible(&ctx.state, &ctx.caller, id(&group)?)?;
    let direction: Direction = field(fields, "direction")?.ok_or_else(|| required("direction"))?;
    let ethertype: Option<String> = field(fields, "ethertype")?;
    let ip_version = match ethertype.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("ipv4") => 4,
        Some("ipv6") => 6,
        Some(other) => {
            let why = format!("Invalid input for ethertype. Reason: '{other}' is not in ['IPv4', 'IPv6'].");
            return Err(bad(&why));
        }
    };
    if field::<String>(fields, "remote_address_group_id")?.is_some() {
        return Err(bad("Address groups are not supported by this cloud yet."));
    }
    let remote =
        match (field::<String>(fields, "remote_ip_prefix")?, field::<String>(fields, "remote_group_id")?) {
            (Some(_), Some(_)) => {
                let why = "Only remote_ip_prefix or remote_group_id may be provided.";
                return Err(bad(why).coded("SecurityGroupMultipleRemoteEntites"));
            }
            (Some(prefix), None) => {
                let parsed = prefix
                    .parse::<ipnet::IpNet>()
                    .or_else(|e| prefix.parse::<std::net::IpAddr>().map(Into::into).map_err(|_| e));
                let why = format!(
                    "Invalid input for remote_ip_prefix. Reason: '{prefix}' is not a valid IP subnet."
                );
                Remote::Range(parsed.map_err(|_| bad(&why))?.trunc())
            }
            (None, Some(group)) => Remote::Group(id(&group)?),
            (None, None) => Remote::Any,
        };
    let number = |name: &str| -> Result<Option<u32>> {
        match fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let number = value
                    .as_i64()
                    .or_else(|| value.as_str()?.parse().ok())
                    .filter(|n| (0..=65_535).contains(n));
                let number = number.ok_or_else(|| {
                    bad(&format!("Invalid value for port {value}")).coded("SecurityGroupInvalidPortValue")
                })?;
                Ok(Some(number as u32))
            }
        }
    };
    Ok(NewRule {
        security_group_id: group.id,
        project_id: group.project_id,
        direction,
        ip_version,
        protocol: read_protocol(fields)?,
        port_range_min: number("port_range_min")?,
        port_range_max: number("port_range_max")?,
        remote,
        description: text(fields, "description")?.unwrap_or_default(),
    })
}

/// `POST /v2.0/security-group-rules`
pub async fn create_rule(ctx: Ctx, Json(body): Json) -> Handled {
    let names = ("security_group_rule", "security_group_rules");
    let read = |fields: &Map<String, Value>| read_rule(&ctx, fields);
    let show = |state: &State, id| state.security_group_rules.get(&id).map(|r| wire::rule(r));
    super::create(&ctx, names, body, read, security_group::create_rule, show).await
}

/// `DELETE /v2.0/security-group-rules/{id}`
pub async fn delete_rule(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = rule_id(&path)?;
    ctx.commit("security group rule delete", move |txn, caller| security_group::delete_rule(txn, caller, id))
        .await?;
    empty(204)
}
