//! RBAC policies.

use super::{
    fields::{Fields, bad, required},
    resource::{Changeable, Names, Resource, by_name},
};
use crate::ctx::Ctx;
use lenticular_control::command::network::rbac_policy::{self, NewRbacPolicy};
use lenticular_model::{
    RbacPolicyId, Txn,
    error::Result,
    network::rbac_policy::{RbacAction, RbacObject, RbacPolicy as Record, RbacTarget},
    policy::{Action, Caller},
};
use serde_json::{Value, json};

/// RBAC policies.
pub struct RbacPolicy;

fn target(fields: &Fields) -> Result<Option<RbacTarget>> {
    match fields.get("target_project")? {
        Some(target) => Ok(Some(target)),
        None => fields.get("target_tenant"),
    }
}

/// The object types that a policy can share.
const OBJECT_TYPES: &[&str] =
    &["network", "qos_policy", "security_group", "address_scope", "subnetpool", "address_group"];

/// Reads a policy's object type.
pub fn object_type(text: &str) -> Result<&'static str> {
    let named = text.trim();
    let known = OBJECT_TYPES.iter().copied().find(|known| known.eq_ignore_ascii_case(named));
    known.ok_or_else(|| {
        let why = format!(
            "Invalid input for operation: '{text}' is not a valid RBAC object type; those are {OBJECT_TYPES:?}."
        );
        bad(why).coded("InvalidInput")
    })
}

fn object(fields: &Fields) -> Result<RbacObject> {
    let (kind, id): (String, String) = (fields.need("object_type")?, fields.need("object_id")?);
    let kind = object_type(&kind)?;
    serde_json::from_value(json!({"type": kind, "id": id}))
        .map_err(|_| bad(format!("Invalid input for object_id. Reason: '{id}' is not a valid UUID.")))
}

fn action(fields: &Fields) -> Result<RbacAction> {
    let said: Value = fields.need("action")?;
    let wrong = |_| {
        let why = format!(
            "Invalid action {said}: those are access_as_shared and, for networks, access_as_external."
        );
        bad(why).coded("InvalidActionForType")
    };
    serde_json::from_value(said.clone()).map_err(wrong)
}

impl Resource for RbacPolicy {
    type Record = Record;
    type New = NewRbacPolicy;
    const NAMES: Names = Names { one: "rbac_policy", many: "rbac_policies", path: "rbac-policies" };
    const FIELDS: &'static [&'static str] =
        &["project_id", "tenant_id", "object_type", "object_id", "action", "target_tenant", "target_project"];

    by_name!(rbac_policy);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewRbacPolicy> {
        Ok(NewRbacPolicy {
            project_id: fields.project(&ctx.caller, Action::RbacWrite)?,
            object: object(fields)?,
            action: action(fields)?,
            target: target(fields)?.ok_or_else(|| required("target_tenant"))?,
        })
    }
}

impl Changeable for RbacPolicy {
    type Change = RbacTarget;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "object_type", "object_id", "action"];

    fn read_change(fields: &Fields) -> Result<RbacTarget> {
        target(fields)?.ok_or_else(|| required("target_tenant"))
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: RbacPolicyId, change: RbacTarget) -> Result<()> {
        rbac_policy::update(txn, caller, id, change)
    }
}
