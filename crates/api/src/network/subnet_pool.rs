//! Subnet pools.

use super::{
    fields::{Fields, required},
    resource::{self, Changeable, Names, Resource, by_name},
};
use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use ipnet::IpNet;
use lenticular_control::command::network::subnet_pool::{self, NewSubnetPool, SubnetPoolChange};
use lenticular_model::{
    SubnetPoolId, Txn,
    error::Result,
    network::subnet_pool::SubnetPool as Record,
    policy::{Action, Caller},
};
use serde_json::json;

/// Subnet pools.
pub struct SubnetPool;

fn prefixes(fields: &Fields) -> Result<Vec<IpNet>> {
    let missing = || required("prefixes");
    fields.ranges("prefixes")?.ok_or_else(missing)
}

impl Resource for SubnetPool {
    type Record = Record;
    type New = NewSubnetPool;
    const NAMES: Names = Names { one: "subnetpool", many: "subnetpools", path: "subnetpools" };
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "project_id",
        "tenant_id",
        "prefixes",
        "min_prefixlen",
        "max_prefixlen",
        "default_prefixlen",
        "default_quota",
        "address_scope_id",
        "shared",
        "is_default",
    ];

    by_name!(subnet_pool);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewSubnetPool> {
        Ok(NewSubnetPool {
            project_id: fields.project(&ctx.caller, Action::SubnetPoolWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            prefixes: prefixes(fields)?,
            min_prefixlen: fields.number("min_prefixlen")?,
            max_prefixlen: fields.number("max_prefixlen")?,
            default_prefixlen: fields.number("default_prefixlen")?,
            default_quota: fields.number("default_quota")?,
            address_scope_id: fields.id("address_scope_id")?,
            shared: fields.flag("shared")?.unwrap_or(false),
            is_default: fields.flag("is_default")?.unwrap_or(false),
        })
    }
}

impl Changeable for SubnetPool {
    type Change = SubnetPoolChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "shared"];

    fn read_change(fields: &Fields) -> Result<SubnetPoolChange> {
        Ok(SubnetPoolChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            prefixes: fields.ranges("prefixes")?,
            min_prefixlen: fields.number("min_prefixlen")?,
            max_prefixlen: fields.number("max_prefixlen")?,
            default_prefixlen: fields.number("default_prefixlen")?,
            default_quota: match fields.has("default_quota") {
                true => Some(fields.number("default_quota")?),
                false => None,
            },
            address_scope_id: fields.nullable("address_scope_id")?,
            is_default: fields.flag("is_default")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: SubnetPoolId, change: SubnetPoolChange) -> Result<()> {
        subnet_pool::update(txn, caller, id, change)
    }
}

fn shown(ctx: &Ctx, id: SubnetPoolId) -> Handled {
    let state = ctx.app.store.state();
    let pool = state.visible::<Record>(&ctx.caller, &id)?;
    json(200, &json!({"prefixes": pool.prefixes}))
}

/// `PUT /v2.0/subnetpools/{id}/add_prefixes`
pub async fn add_prefixes(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, more) = (resource::id::<SubnetPool>(&path)?, prefixes(&resource::bare(body)?)?);
    let add = move |txn: &mut Txn<'_>, caller: &Caller, id| subnet_pool::add_prefixes(txn, caller, id, &more);
    resource::commit::<SubnetPool, _>(&ctx, "add prefixes", id, add).await?;
    shown(&ctx, id)
}

/// `PUT /v2.0/subnetpools/{id}/remove_prefixes`
pub async fn remove_prefixes(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, less) = (resource::id::<SubnetPool>(&path)?, prefixes(&resource::bare(body)?)?);
    let remove =
        move |txn: &mut Txn<'_>, caller: &Caller, id| subnet_pool::remove_prefixes(txn, caller, id, &less);
    resource::commit::<SubnetPool, _>(&ctx, "remove prefixes", id, remove).await?;
    shown(&ctx, id)
}
