//! QoS policies, their rules, and the types of rules.

use super::{
    fields::{Fields, bad, required},
    resource::{self, Changeable, Names, Resource, by_name},
    view::{self, Listed},
};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::network::qos_policy::{self, DSCP_MARKS, NewQosPolicy, QosPolicyChange};
use lenticular_model::{
    QosPolicyId, QosRuleId, Txn,
    error::{Error, Result},
    network::{
        qos_policy::{QosPolicy as Record, QosRule, QosRuleKind},
        security_group::Direction,
    },
    policy::{self, Action, Caller},
};
use lenticular_wire::network::{self as wire, qos_policy::TYPES};
use serde_json::{Value, json};
use std::sync::Arc;

/// QoS policies.
pub struct QosPolicy;

impl Resource for QosPolicy {
    type Record = Record;
    type New = NewQosPolicy;
    const NAMES: Names = Names { one: "policy", many: "policies", path: "qos/policies" };
    const FIELDS: &'static [&'static str] =
        &["name", "description", "project_id", "tenant_id", "shared", "is_default"];

    by_name!(qos_policy);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewQosPolicy> {
        Ok(NewQosPolicy {
            project_id: fields.project(&ctx.caller, Action::QosPolicyWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            shared: fields.flag("shared")?.unwrap_or(false),
            is_default: fields.flag("is_default")?.unwrap_or(false),
        })
    }
}

impl Changeable for QosPolicy {
    type Change = QosPolicyChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id"];

    fn read_change(fields: &Fields) -> Result<QosPolicyChange> {
        Ok(QosPolicyChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            shared: fields.flag("shared")?,
            is_default: fields.flag("is_default")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: QosPolicyId, change: QosPolicyChange) -> Result<()> {
        qos_policy::update(txn, caller, id, change)
    }
}

/// The type of the rules in a collection (`bandwidth_limit_rules`).
fn type_of(collection: &str) -> Result<&'static str> {
    let plain = collection.strip_prefix("alias_").unwrap_or(collection);
    let named = plain.strip_suffix("_rules").unwrap_or("");
    TYPES.iter().map(|(name, _)| *name).find(|name| *name == named).ok_or_else(|| {
        Error::not_found_text(format!("The resource {collection} could not be found.")).coded("HTTPNotFound")
    })
}

/// Reads a rule; absent fields stay as in `old`.
fn read_rule(kind: &str, fields: &Fields, old: Option<QosRuleKind>) -> Result<QosRuleKind> {
    let parameters =
        TYPES.iter().find(|(name, _)| *name == kind).map_or(&[][..], |(_, parameters)| parameters);
    let known: Vec<&str> = parameters.iter().copied().chain(["project_id", "tenant_id"]).collect();
    fields.check(&known)?;
    let rate = |name: &str| -> Result<Option<u32>> {
        match fields.number::<i32>(name)? {
            Some(rate) if rate < 0 => Err(bad(format!("Invalid input for {name}. Reason: it is negative."))),
            rate => Ok(rate.map(|rate| rate as u32)),
        }
    };
    let direction = fields.get::<Direction>("direction")?;
    match kind {
        "bandwidth_limit" => {
            let (kbps, burst, way) = match old {
                Some(QosRuleKind::BandwidthLimit { max_kbps, max_burst_kbps, direction }) => {
                    (Some(max_kbps), max_burst_kbps, direction)
                }
                _ => (None, 0, Direction::Egress),
            };
            Ok(QosRuleKind::BandwidthLimit {
                max_kbps: rate("max_kbps")?.or(kbps).ok_or_else(|| required("max_kbps"))?,
                max_burst_kbps: rate("max_burst_kbps")?.unwrap_or(burst),
                direction: direction.unwrap_or(way),
            })
        }
        "dscp_marking" => {
            let dscp_mark = fields.number::<u8>("dscp_mark")?.ok_or_else(|| required("dscp_mark"))?;
            Ok(QosRuleKind::DscpMarking { dscp_mark })
        }
        _ => {
            let (kbps, way) = match old {
                Some(QosRuleKind::MinimumBandwidth { min_kbps, direction }) => (Some(min_kbps), direction),
                _ => (None, Direction::Egress),
            };
            Ok(QosRuleKind::MinimumBandwidth {
                min_kbps: rate("min_kbps")?.or(kbps).ok_or_else(|| required("min_kbps"))?,
                direction: direction.unwrap_or(way),
            })
        }
    }
}

fn find(policy: &Record, kind: &str, text: &str) -> Result<QosRule> {
    let missing = || qos_policy::no_rule(policy.id, text);
    let id: QosRuleId = text.parse().map_err(|_| missing())?;
    let of_kind = |r: &&QosRule| r.id == id && wire::qos_policy::type_of(&r.kind) == kind;
    policy.rules.iter().find(of_kind).copied().ok_or_else(missing)
}

fn answer(ctx: &Ctx, status: u16, kind: &str, policy: QosPolicyId, id: QosRuleId) -> Handled {
    let state = ctx.app.store.state();
    let policy = state.visible::<Record>(&ctx.caller, &policy)?;
    let rule = find(&policy, kind, &id.to_string())?;
    json(status, &json!({(format!("{kind}_rule")): wire::qos_policy::rule(&rule)}))
}

/// `GET /v2.0/qos/policies/{policy}/{kind}_rules`
pub async fn rules(ctx: Ctx, Path((policy, collection)): Path<(String, String)>) -> Handled {
    let kind = type_of(&collection)?;
    let policy = ctx.state.visible::<Record>(&ctx.caller, &resource::id::<QosPolicy>(&policy)?)?;
    let of_kind = policy.rules.iter().filter(|r| wire::qos_policy::type_of(&r.kind) == kind);
    let path = format!("qos/policies/{}/{collection}", policy.id);
    view::listing(&ctx, &Listed::plain(&collection, &path), of_kind.map(wire::qos_policy::rule).collect())
}

/// `POST /v2.0/qos/policies/{policy}/{kind}_rules`
pub async fn create_rule(
    ctx: Ctx,
    Path((policy, collection)): Path<(String, String)>,
    Json(body): Json,
) -> Handled {
    let kind = type_of(&collection)?;
    let policy = resource::id::<QosPolicy>(&policy)?;
    let fields = resource::envelope(body, &format!("{kind}_rule"))?;
    let rule = read_rule(kind, &fields, None)?;
    let create = move |txn: &mut Txn<'_>, caller: &Caller, id| qos_policy::create_rule(txn, caller, id, rule);
    let id = resource::commit::<QosPolicy, _>(&ctx, "rule create", policy, create).await?;
    answer(&ctx, 201, kind, policy, id)
}

/// `GET /v2.0/qos/policies/{policy}/{kind}_rules/{id}`
pub async fn rule(ctx: Ctx, Path((policy, collection, id)): Path<(String, String, String)>) -> Handled {
    let kind = type_of(&collection)?;
    let policy = ctx.state.visible::<Record>(&ctx.caller, &resource::id::<QosPolicy>(&policy)?)?;
    view::one(&ctx, &format!("{kind}_rule"), wire::qos_policy::rule(&find(&policy, kind, &id)?))
}

async fn change(ctx: &Ctx, policy: &Record, kind: &'static str, id: &str, body: Value) -> Handled {
    let old = find(policy, kind, id)?;
    let fields = resource::envelope(body, &format!("{kind}_rule"))?;
    let new = read_rule(kind, &fields, Some(old.kind))?;
    let update =
        move |txn: &mut Txn<'_>, caller: &Caller, of| qos_policy::update_rule(txn, caller, of, old.id, new);
    resource::commit::<QosPolicy, _>(ctx, "rule update", policy.id, update).await?;
    answer(ctx, 200, kind, policy.id, old.id)
}

async fn remove(ctx: &Ctx, policy: &Record, kind: &str, id: &str) -> Handled {
    let rule = find(policy, kind, id)?;
    let delete =
        move |txn: &mut Txn<'_>, caller: &Caller, of| qos_policy::delete_rule(txn, caller, of, rule.id);
    resource::commit::<QosPolicy, _>(ctx, "rule delete", policy.id, delete).await?;
    empty(204)
}

/// `PUT /v2.0/qos/policies/{policy}/{kind}_rules/{id}`
pub async fn update_rule(
    ctx: Ctx,
    Path((policy, collection, id)): Path<(String, String, String)>,
    Json(body): Json,
) -> Handled {
    let kind = type_of(&collection)?;
    let policy = ctx.state.visible::<Record>(&ctx.caller, &resource::id::<QosPolicy>(&policy)?)?;
    change(&ctx, &policy, kind, &id, body).await
}

/// `DELETE /v2.0/qos/policies/{policy}/{kind}_rules/{id}`
pub async fn delete_rule(
    ctx: Ctx,
    Path((policy, collection, id)): Path<(String, String, String)>,
) -> Handled {
    let kind = type_of(&collection)?;
    let policy = ctx.state.visible::<Record>(&ctx.caller, &resource::id::<QosPolicy>(&policy)?)?;
    remove(&ctx, &policy, kind, &id).await
}

/// The policy of a rule. A path under an alias does not name the policy.
fn policy_of(ctx: &Ctx, kind: &str, id: &str) -> Result<Arc<Record>> {
    let missing =
        || Error::not_found_text(format!("QoS rule {id} could not be found.")).coded("QosRuleNotFound");
    let seen = |p: &&Arc<Record>| ctx.state.visible::<Record>(&ctx.caller, &p.id).is_ok();
    let mut all = ctx.state.qos_policies.values().filter(seen);
    all.find(|p| find(p, kind, id).is_ok()).cloned().ok_or_else(missing)
}

/// `GET /v2.0/qos/alias_{kind}_rules/{id}`
pub async fn alias(ctx: Ctx, Path((collection, id)): Path<(String, String)>) -> Handled {
    if collection == "rule-types" {
        return rule_type(&ctx, &id);
    }
    let kind = type_of(&collection)?;
    let policy = policy_of(&ctx, kind, &id)?;
    view::one(&ctx, &format!("{kind}_rule"), wire::qos_policy::rule(&find(&policy, kind, &id)?))
}

/// `PUT /v2.0/qos/alias_{kind}_rules/{id}`
pub async fn update_alias(
    ctx: Ctx,
    Path((collection, id)): Path<(String, String)>,
    Json(body): Json,
) -> Handled {
    let kind = type_of(&collection)?;
    let policy = policy_of(&ctx, kind, &id)?;
    // Under an alias, the name in the body is the alias's, too.
    let body = match body {
        Value::Object(mut map) => {
            let alias = map.remove(&format!("alias_{kind}_rule"));
            alias.map_or(Value::Object(map), |rule| json!({(format!("{kind}_rule")): rule}))
        }
        other => other,
    };
    change(&ctx, &policy, kind, &id, body).await
}

/// `DELETE /v2.0/qos/alias_{kind}_rules/{id}`
pub async fn delete_alias(ctx: Ctx, Path((collection, id)): Path<(String, String)>) -> Handled {
    let kind = type_of(&collection)?;
    let policy = policy_of(&ctx, kind, &id)?;
    remove(&ctx, &policy, kind, &id).await
}

/// `GET /v2.0/qos/rule-types`
pub async fn rule_types(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let items = TYPES.iter().map(|(name, _)| json!({"type": name})).collect();
    view::listing(&ctx, &Listed::plain("rule_types", "qos/rule-types"), items)
}

/// The allowed values of a rule's parameter.
fn parameter(name: &str) -> Value {
    let (kind, values) = match name {
        "direction" => ("choices", json!(["ingress", "egress"])),
        "dscp_mark" => ("choices", json!(DSCP_MARKS)),
        _ => ("range", json!({"start": 0, "end": i32::MAX})),
    };
    json!({"parameter_name": name, "parameter_type": kind, "parameter_values": values})
}

fn rule_type(ctx: &Ctx, name: &str) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let found = TYPES.iter().find(|(known, _)| *known == name);
    let missing = || {
        Error::not_found_text(format!("Rule type {name} could not be found.")).coded("QosRuleTypeNotFound")
    };
    let (name, parameters) = found.ok_or_else(missing)?;
    let parameters: Vec<Value> = parameters.iter().map(|p| parameter(p)).collect();
    let drivers = json!([{"name": "ovn", "supported_parameters": parameters}]);
    view::one(ctx, "rule_type", json!({"type": name, "drivers": drivers}))
}
