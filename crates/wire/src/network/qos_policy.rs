//! QoS policies, their rules, and the types of rules, as Neutron shows them.

use super::{shared, stamp};
use lenticular_model::{
    State,
    network::{
        qos_policy::{QosPolicy, QosRule, QosRuleKind},
        rbac_policy::RbacObject,
    },
    policy::Caller,
};
use serde_json::{Value, json};

/// The rule types, each with its parameters and their values.
pub const TYPES: &[(&str, &[&str])] = &[
    ("bandwidth_limit", &["max_kbps", "max_burst_kbps", "direction"]),
    ("dscp_marking", &["dscp_mark"]),
    ("minimum_bandwidth", &["min_kbps", "direction"]),
];

/// The name of a rule's type.
pub fn type_of(kind: &QosRuleKind) -> &'static str {
    match kind {
        QosRuleKind::BandwidthLimit { .. } => "bandwidth_limit",
        QosRuleKind::DscpMarking { .. } => "dscp_marking",
        QosRuleKind::MinimumBandwidth { .. } => "minimum_bandwidth",
    }
}

/// A single rule.
pub fn rule(rule: &QosRule) -> Value {
    match rule.kind {
        QosRuleKind::BandwidthLimit { max_kbps, max_burst_kbps, direction } => json!({
            "id": rule.id, "max_kbps": max_kbps, "max_burst_kbps": max_burst_kbps, "direction": direction,
        }),
        QosRuleKind::DscpMarking { dscp_mark } => json!({"id": rule.id, "dscp_mark": dscp_mark}),
        QosRuleKind::MinimumBandwidth { min_kbps, direction } => {
            json!({"id": rule.id, "min_kbps": min_kbps, "direction": direction})
        }
    }
}

/// A policy with its rules.
pub fn view(state: &State, caller: &Caller, policy: &QosPolicy) -> Value {
    let rules = policy.rules.iter().map(|r| {
        let mut view = rule(r);
        view["type"] = json!(type_of(&r.kind));
        view["qos_policy_id"] = json!(policy.id);
        view
    });
    let mut view = json!({
        "id": policy.id,
        "name": policy.name,
        "tenant_id": policy.project_id,
        "project_id": policy.project_id,
        "shared": policy.shared || shared(state, caller, RbacObject::QosPolicy(policy.id)),
        "is_default": policy.is_default,
        "rules": rules.collect::<Vec<_>>(),
        "tags": policy.tags,
    });
    stamp(&mut view, policy.created_at, policy.updated_at, policy.revision, &policy.description);
    view
}
