//! Security groups and their rules.

use super::{
    fields::{Fields, bad, range, required},
    resource::{Changeable, Names, Resource},
};
use crate::ctx::Ctx;
use lenticular_control::{
    command::network::security_group::{self, NewRule},
    lifecycle::network::group_build,
};
use lenticular_model::{
    ProjectId, Scoped, SecurityGroupId, SecurityGroupRuleId, State, Txn,
    error::{Error, Result},
    network::security_group::{
        Direction, Remote, SecurityGroup as Record, SecurityGroupRule as RuleRecord, protocol_number,
    },
    policy::{Action, Caller},
};
use lenticular_wire::network as wire;
use serde_json::Value;
use std::sync::Arc;

/// Security groups.
pub struct SecurityGroup;

/// Rules of security groups.
pub struct SecurityGroupRule;

/// The state in which the caller's project has a default group: the first request creates it.
async fn with_default(ctx: &Ctx) -> Result<Arc<State>> {
    let Some(project) = ctx.caller.project_id() else { return Ok(ctx.state.clone()) };
    let there = ctx.state.security_groups_of_project(project).any(|g| g.name == group_build::DEFAULT);
    if there {
        return Ok(ctx.state.clone());
    }
    ctx.commit("security group default", move |txn, _| Ok(group_build::ensure_default(txn, project))).await?;
    Ok(ctx.app.store.state())
}

/// The parameters of a new group.
pub struct NewGroup {
    project: ProjectId,
    name: String,
    description: String,
    stateful: bool,
}

/// The parameters of a group's update.
pub struct GroupChange {
    name: Option<String>,
    description: Option<String>,
    stateful: Option<bool>,
}

impl Resource for SecurityGroup {
    type Record = Record;
    type New = NewGroup;
    const NAMES: Names = Names { one: "security_group", many: "security_groups", path: "security-groups" };
    const FIELDS: &'static [&'static str] = &["name", "description", "project_id", "tenant_id", "stateful"];

    fn missing(id: &str) -> Error {
        Record::missing(id)
    }

    fn visible(state: &State, caller: &Caller, id: &SecurityGroupId) -> Result<Arc<Record>> {
        state.visible::<Record>(caller, id)
    }

    fn view(state: &State, caller: &Caller, record: &Record) -> Value {
        wire::security_group::view(state, caller, record)
    }

    async fn prepare(ctx: &Ctx) -> Result<Arc<State>> {
        with_default(ctx).await
    }

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewGroup> {
        Ok(NewGroup {
            project: fields.project(&ctx.caller, Action::SecurityGroupWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            stateful: fields.flag("stateful")?.unwrap_or(true),
        })
    }

    fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewGroup) -> Result<SecurityGroupId> {
        security_group::create(txn, caller, new.project, new.name, new.description, new.stateful)
    }

    fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupId) -> Result<()> {
        security_group::delete(txn, caller, id)
    }
}

impl Changeable for SecurityGroup {
    type Change = GroupChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id"];

    fn read_change(fields: &Fields) -> Result<GroupChange> {
        Ok(GroupChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            stateful: fields.flag("stateful")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupId, change: GroupChange) -> Result<()> {
        security_group::update(txn, caller, id, change.name, change.description, change.stateful)
    }
}

fn read_protocol(fields: &Fields) -> Result<Option<String>> {
    let word = match fields.get::<Value>("protocol")? {
        None => return Ok(None),
        Some(Value::String(s)) => s.to_ascii_lowercase(),
        Some(Value::Number(n)) => n.to_string(),
        Some(other) => return Err(bad(format!("Invalid input for protocol: {other}."))),
    };
    match word.as_str() {
        "any" | "" => Ok(None),
        known if protocol_number(known).is_some() => Ok(Some(word)),
        _ => Err(bad(format!("Security group rule protocol {word} not supported."))
            .coded("SecurityGroupRuleInvalidProtocol")),
    }
}

fn read_remote(fields: &Fields) -> Result<Remote> {
    let prefix = fields.get::<String>("remote_ip_prefix")?;
    // As in Neutron, a group that cannot be is one that is not there.
    let group = fields.get::<String>("remote_group_id")?;
    let group = group.map(|text| text.parse().map_err(|_| SecurityGroup::missing(&text))).transpose()?;
    let addresses = fields.id("remote_address_group_id")?;
    match (prefix, group, addresses) {
        (None, None, None) => Ok(Remote::Any),
        (Some(prefix), None, None) => {
            let wrong = |_| bad(format!("Invalid CIDR {prefix} given as IP prefix.")).coded("InvalidCIDR");
            range("remote_ip_prefix", &prefix).map(Remote::Range).map_err(wrong)
        }
        (None, Some(group), None) => Ok(Remote::Group(group)),
        (None, None, Some(addresses)) => Ok(Remote::AddressGroup(addresses)),
        _ => Err(multiple_remotes()),
    }
}

/// The error for a rule with several remotes.
pub fn multiple_remotes() -> Error {
    let why = "Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.";
    bad(why).coded("SecurityGroupMultipleRemoteEntites")
}

/// Reads a rule.
pub fn read_rule(
    fields: &Fields,
    security_group_id: SecurityGroupId,
    project_id: ProjectId,
) -> Result<NewRule> {
    let direction = fields.get::<Direction>("direction")?.ok_or_else(|| required("direction"))?;
    let ethertype: Option<String> = fields.get("ethertype")?;
    let ip_version = match ethertype.as_deref().map(str::to_ascii_lowercase).as_deref() {
        None | Some("ipv4") => 4,
        Some("ipv6") => 6,
        Some(other) => {
            return Err(bad(format!(
                "Invalid input for ethertype. Reason: '{other}' is not in ['IPv4', 'IPv6']."
            )));
        }
    };
    Ok(NewRule {
        security_group_id,
        project_id,
        direction,
        ip_version,
        protocol: read_protocol(fields)?,
        port_range_min: read_number(fields, "port_range_min")?,
        port_range_max: read_number(fields, "port_range_max")?,
        remote: read_remote(fields)?,
        description: fields.text_or_empty("description")?,
    })
}

fn read_number(fields: &Fields, name: &str) -> Result<Option<u32>> {
    let Some(value) = fields.get::<Value>(name)? else { return Ok(None) };
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
    match number.and_then(|n| u16::try_from(n).ok()) {
        Some(number) => Ok(Some(u32::from(number))),
        None => Err(bad(format!("Invalid value for port {value}")).coded("SecurityGroupInvalidPortValue")),
    }
}

impl Resource for SecurityGroupRule {
    type Record = RuleRecord;
    type New = NewRule;
    const NAMES: Names =
        Names { one: "security_group_rule", many: "security_group_rules", path: "security-group-rules" };
    const FIELDS: &'static [&'static str] = &[
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

    fn missing(id: &str) -> Error {
        RuleRecord::missing(id)
    }

    fn visible(state: &State, caller: &Caller, id: &SecurityGroupRuleId) -> Result<Arc<RuleRecord>> {
        state.visible::<RuleRecord>(caller, id)
    }

    fn view(state: &State, caller: &Caller, record: &RuleRecord) -> Value {
        wire::security_group::rule(state, caller, record)
    }

    async fn prepare(ctx: &Ctx) -> Result<Arc<State>> {
        with_default(ctx).await
    }

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewRule> {
        let id = fields.id("security_group_id")?;
        let id = id.ok_or_else(|| required("security_group_id"))?;
        let group = ctx.state.visible::<Record>(&ctx.caller, &id)?;
        read_rule(fields, group.id, group.project_id)
    }

    fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewRule) -> Result<SecurityGroupRuleId> {
        security_group::create_rule(txn, caller, new)
    }

    fn delete(txn: &mut Txn<'_>, caller: &Caller, id: SecurityGroupRuleId) -> Result<()> {
        security_group::delete_rule(txn, caller, id)
    }
}
