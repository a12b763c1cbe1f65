//! QoS policies and their rules: their creation, change and removal.

use crate::lifecycle::network::{cascade, sharing};
use lenticular_model::{
    ProjectId, QosPolicyId, QosRuleId, State, Txn,
    error::{Error, Result},
    network::{
        qos_policy::{QosPolicy, QosRule, QosRuleKind},
        rbac_policy::{RbacAction, RbacObject},
    },
    policy::{self, Action, Caller},
};
use std::mem;

/// The marks that packets may carry (RFC 2474, RFC 4594).
pub const DSCP_MARKS: &[u8] =
    &[0, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 44, 46, 48, 56];

/// The settings of a new policy.
#[derive(Debug, Clone)]
pub struct NewQosPolicy {
    /// Its project.
    pub project_id: ProjectId,
    /// Its name.
    pub name: String,
    /// For people.
    pub description: String,
    /// True shows it to every project.
    pub shared: bool,
    /// True for the default policy of new networks.
    pub is_default: bool,
}

fn check_default(state: &State, project: ProjectId, wanted: bool, but: Option<QosPolicyId>) -> Result<()> {
    match state.default_qos_policy(project).filter(|id| wanted && Some(*id) != but) {
        Some(id) => {
            let why = format!("A default QoS policy exists for project {project}: {id}.");
            Err(Error::conflict(why).coded("QoSPolicyDefaultAlreadyExists"))
        }
        None => Ok(()),
    }
}

/// Creates a policy.
pub fn create(txn: &mut Txn<'_>, caller: &Caller, new: NewQosPolicy) -> Result<QosPolicyId> {
    policy::check(caller, Action::QosPolicyWrite, Some(new.project_id))?;
    if new.shared {
        policy::check(caller, Action::QosPolicyShared, None)?;
    }
    check_default(txn, new.project_id, new.is_default, None)?;
    let id = QosPolicyId::from_random(txn.random());
    txn.put(QosPolicy {
        id,
        created_at: txn.now,
        updated_at: Some(txn.now),
        project_id: new.project_id,
        name: new.name,
        description: new.description,
        shared: new.shared,
        is_default: new.is_default,
        rules: Vec::new(),
        tags: Vec::new(),
        revision: 1,
        unknown: Default::default(),
    });
    sharing::set_everyone(
        txn,
        new.project_id,
        RbacObject::QosPolicy(id),
        RbacAction::AccessAsShared,
        new.shared,
    )?;
    Ok(id)
}

/// The changes of an update; `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct QosPolicyChange {
    /// The name.
    pub name: Option<String>,
    /// The description.
    pub description: Option<String>,
    /// Whether every project sees it.
    pub shared: Option<bool>,
    /// Whether new networks get it.
    pub is_default: Option<bool>,
}

/// Changes a policy.
pub fn update(txn: &mut Txn<'_>, caller: &Caller, id: QosPolicyId, change: QosPolicyChange) -> Result<()> {
    let old = txn.changeable::<QosPolicy>(caller, &id)?;
    if change.shared.is_some() {
        policy::check(caller, Action::QosPolicyShared, None)?;
    }
    check_default(txn, old.project_id, change.is_default == Some(true), Some(id))?;
    txn.update::<QosPolicy>(&id, |p| {
        p.name = change.name.unwrap_or(mem::take(&mut p.name));
        p.description = change.description.unwrap_or(mem::take(&mut p.description));
        p.is_default = change.is_default.unwrap_or(p.is_default);
        p.revision += 1;
    });
    let shared = change.shared.unwrap_or(old.shared);
    sharing::set_everyone(txn, old.project_id, RbacObject::QosPolicy(id), RbacAction::AccessAsShared, shared)
}

/// Removes an unused policy.
pub fn delete(txn: &mut Txn<'_>, caller: &Caller, id: QosPolicyId) -> Result<()> {
    txn.changeable::<QosPolicy>(caller, &id)?;
    if !txn.projects_using_qos_policy(id).is_empty() {
        let why = format!(
            "QoS Policy {id} is used by ports, networks, floating IPs or routers. Take it from them first."
        );
        return Err(Error::conflict(why).coded("QosPolicyInUse"));
    }
    cascade::on_object_deleted(txn, RbacObject::QosPolicy(id));
    txn.delete::<QosPolicy>(&id);
    Ok(())
}

/// The error: a policy has no such rule.
pub fn no_rule(policy: QosPolicyId, id: impl std::fmt::Display) -> Error {
    let why = format!("QoS rule {id} for policy {policy} could not be found.");
    Error::not_found_text(why).coded("QosRuleNotFound")
}

fn bad(why: String) -> Error {
    Error::invalid(why).coded("HTTPBadRequest")
}

/// Refuses a rule that is invalid by itself or with the other rules of its policy.
fn check_rule(rules: &[QosRule], new: &QosRule) -> Result<()> {
    use QosRuleKind::{BandwidthLimit, DscpMarking, MinimumBandwidth};
    if let DscpMarking { dscp_mark } = new.kind
        && !DSCP_MARKS.contains(&dscp_mark)
    {
        return Err(bad(format!(
            "Invalid input for dscp_mark. Reason: {dscp_mark} is not one of {DSCP_MARKS:?}."
        )));
    }
    let mut others = rules.iter().filter(|r| r.id != new.id);
    let conflict = |rule: &QosRule| match (rule.kind, new.kind) {
        (BandwidthLimit { direction: a, .. }, BandwidthLimit { direction: b, .. })
        | (MinimumBandwidth { direction: a, .. }, MinimumBandwidth { direction: b, .. }) => a == b,
        (DscpMarking { .. }, DscpMarking { .. }) => true,
        (BandwidthLimit { max_kbps, direction: a, .. }, MinimumBandwidth { min_kbps, direction: b })
        | (MinimumBandwidth { min_kbps, direction: b }, BandwidthLimit { max_kbps, direction: a, .. }) => {
            a == b && min_kbps > max_kbps
        }
        _ => false,
    };
    match others.find(|rule| conflict(rule)) {
        Some(rule) => {
            let why = format!("The rule conflicts with the policy's rule {}.", rule.id);
            Err(Error::conflict(why).coded("QoSRulesConflict"))
        }
        None => Ok(()),
    }
}

/// Adds a rule to a policy.
pub fn create_rule(
    txn: &mut Txn<'_>,
    caller: &Caller,
    policy: QosPolicyId,
    kind: QosRuleKind,
) -> Result<QosRuleId> {
    let old = txn.changeable::<QosPolicy>(caller, &policy)?;
    let rule = QosRule { id: QosRuleId::from_random(txn.random()), kind };
    check_rule(&old.rules, &rule)?;
    txn.update::<QosPolicy>(&policy, |p| {
        p.rules.push(rule);
        p.revision += 1;
    });
    Ok(rule.id)
}

/// Replaces a rule's content with content of the same kind.
pub fn update_rule(
    txn: &mut Txn<'_>,
    caller: &Caller,
    policy: QosPolicyId,
    id: QosRuleId,
    kind: QosRuleKind,
) -> Result<()> {
    let old = txn.changeable::<QosPolicy>(caller, &policy)?;
    let same = |r: &&QosRule| r.id == id && mem::discriminant(&r.kind) == mem::discriminant(&kind);
    old.rules.iter().find(same).ok_or_else(|| no_rule(policy, id))?;
    check_rule(&old.rules, &QosRule { id, kind })?;
    txn.update::<QosPolicy>(&policy, |p| {
        p.rules.iter_mut().filter(|r| r.id == id).for_each(|r| r.kind = kind);
        p.revision += 1;
    });
    Ok(())
}

/// Removes a rule from a policy.
pub fn delete_rule(txn: &mut Txn<'_>, caller: &Caller, policy: QosPolicyId, id: QosRuleId) -> Result<()> {
    let old = txn.changeable::<QosPolicy>(caller, &policy)?;
    old.rules.iter().find(|r| r.id == id).ok_or_else(|| no_rule(policy, id))?;
    txn.update::<QosPolicy>(&policy, |p| {
        p.rules.retain(|r| r.id != id);
        p.revision += 1;
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lenticular_model::network::security_group::Direction;

    fn rule(number: u8, kind: QosRuleKind) -> QosRule {
        QosRule { id: QosRuleId::from_random([number; 16]), kind }
    }

    #[test]
    fn a_policy_has_one_rule_of_a_kind_and_direction() {
        let limit =
            |max_kbps, direction| QosRuleKind::BandwidthLimit { max_kbps, max_burst_kbps: 0, direction };
        let least = |min_kbps| QosRuleKind::MinimumBandwidth { min_kbps, direction: Direction::Egress };
        let rules =
            [rule(1, limit(1_000, Direction::Egress)), rule(2, QosRuleKind::DscpMarking { dscp_mark: 10 })];
        let refused = |kind| check_rule(&rules, &rule(3, kind)).map_err(|e| e.code);
        assert_eq!(refused(limit(5, Direction::Ingress)), Ok(()));
        assert_eq!(refused(limit(5, Direction::Egress)), Err("QoSRulesConflict"));
        assert_eq!(refused(QosRuleKind::DscpMarking { dscp_mark: 12 }), Err("QoSRulesConflict"));
        assert_eq!(refused(least(1_000)), Ok(()));
        assert_eq!(refused(least(1_001)), Err("QoSRulesConflict"));
        assert_eq!(refused(QosRuleKind::DscpMarking { dscp_mark: 11 }), Err("HTTPBadRequest"));
        assert!(
            check_rule(&rules, &rule(1, limit(7, Direction::Egress))).is_ok(),
            "a rule may replace itself"
        );
    }
}
