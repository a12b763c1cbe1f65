//! A subnet pool as Neutron shows it.

use super::{shared, stamp};
use lenticular_model::{
    State,
    network::{rbac_policy::RbacObject, subnet_pool::SubnetPool},
    policy::Caller,
};
use serde_json::{Value, json};

/// A subnet pool.
pub fn view(state: &State, caller: &Caller, pool: &SubnetPool) -> Value {
    let mut view = json!({
        "id": pool.id,
        "name": pool.name,
        "tenant_id": pool.project_id,
        "project_id": pool.project_id,
        "prefixes": pool.prefixes,
        "ip_version": pool.ip_version(),
        "min_prefixlen": pool.min_prefixlen,
        "max_prefixlen": pool.max_prefixlen,
        "default_prefixlen": pool.default_prefixlen,
        "default_quota": pool.default_quota,
        "address_scope_id": pool.address_scope_id,
        "shared": pool.shared || shared(state, caller, RbacObject::SubnetPool(pool.id)),
        "is_default": pool.is_default,
        "tags": pool.tags,
    });
    stamp(&mut view, pool.created_at, pool.updated_at, pool.revision, &pool.description);
    view
}
