//! An RBAC policy as Neutron shows it.

use lenticular_model::{State, network::rbac_policy::RbacPolicy, policy::Caller};
use serde_json::{Value, json};

/// An RBAC policy.
pub fn view(_: &State, _: &Caller, policy: &RbacPolicy) -> Value {
    let object = json!(policy.object);
    json!({
        "id": policy.id,
        "tenant_id": policy.project_id,
        "project_id": policy.project_id,
        "object_type": object["type"],
        "object_id": object["id"],
        "action": policy.action,
        "target_tenant": policy.target,
        "target_project": policy.target,
    })
}
