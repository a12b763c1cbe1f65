//! Default rules: the rules that new security groups begin with.

use super::{
    fields::Fields,
    resource::{Names, Resource},
    security_group::{multiple_remotes, read_rule},
};
use crate::ctx::Ctx;
use lenticular_control::command::network::{
    default_security_group_rule as command, default_security_group_rule::NewDefaultRule,
};
use lenticular_model::{
    DefaultSecurityGroupRuleId, ProjectId, SecurityGroupId, State, Txn,
    error::{Error, Result},
    network::default_security_group_rule::{DefaultSecurityGroupRule as Record, all},
    policy::{self, Action, Caller},
};
use lenticular_wire::network as wire;
use serde_json::Value;
use std::sync::Arc;

/// Default rules of security groups.
pub struct DefaultSecurityGroupRule;

impl Resource for DefaultSecurityGroupRule {
    type Record = Record;
    type New = NewDefaultRule;
    const NAMES: Names = Names {
        one: "default_security_group_rule",
        many: "default_security_group_rules",
        path: "default-security-group-rules",
    };
    const FIELDS: &'static [&'static str] = &[
        "direction",
        "ethertype",
        "protocol",
        "port_range_min",
        "port_range_max",
        "remote_ip_prefix",
        "remote_group_id",
        "remote_address_group_id",
        "used_in_default_sg",
        "used_in_non_default_sg",
        "description",
        "project_id",
        "tenant_id",
    ];

    fn missing(id: &str) -> Error {
        command::missing(id)
    }

    fn visible(state: &State, caller: &Caller, id: &DefaultSecurityGroupRuleId) -> Result<Arc<Record>> {
        policy::check(caller, Action::NetworkRead, None)?;
        command::find(state, *id)
    }

    fn view(_: &State, _: &Caller, record: &Record) -> Value {
        wire::default_security_group_rule::view(record)
    }

    fn candidates(_: &Ctx, state: &State) -> Vec<Arc<Record>> {
        all(state)
    }

    fn read_new(_: &Ctx, fields: &Fields) -> Result<NewDefaultRule> {
        let mut said = fields.clone();
        let parent = said.get::<Value>("remote_group_id")?.is_some_and(|group| group == "PARENT");
        if parent {
            said.0.remove("remote_group_id");
            if ["remote_ip_prefix", "remote_address_group_id"]
                .iter()
                .any(|name| said.0.get(*name).is_some_and(|v| !v.is_null()))
            {
                return Err(multiple_remotes());
            }
        }
        Ok(NewDefaultRule {
            rule: read_rule(&said, SecurityGroupId::default(), ProjectId::default())?,
            parent,
            used_in_default_sg: fields.flag("used_in_default_sg")?.unwrap_or(false),
            used_in_non_default_sg: fields.flag("used_in_non_default_sg")?.unwrap_or(true),
        })
    }

    fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewDefaultRule) -> Result<DefaultSecurityGroupRuleId> {
        command::create(txn, caller, new)
    }

    fn delete(txn: &mut Txn<'_>, caller: &Caller, id: DefaultSecurityGroupRuleId) -> Result<()> {
        command::delete(txn, caller, id)
    }
}
