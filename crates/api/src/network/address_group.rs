//! Address groups.

use super::{
    fields::{Fields, required},
    resource::{self, Changeable, Names, Resource, by_name},
};
use crate::{body::Json, ctx::Ctx, fault::Handled};
use axum::extract::Path;
use ipnet::IpNet;
use lenticular_control::command::network::address_group::{self, AddressGroupChange, NewAddressGroup};
use lenticular_model::{
    AddressGroupId, Txn,
    error::Result,
    network::address_group::AddressGroup as Record,
    policy::{Action, Caller},
};
use serde_json::Value;

/// Address groups.
pub struct AddressGroup;

impl Resource for AddressGroup {
    type Record = Record;
    type New = NewAddressGroup;
    const NAMES: Names = Names { one: "address_group", many: "address_groups", path: "address-groups" };
    const FIELDS: &'static [&'static str] = &["name", "description", "project_id", "tenant_id", "addresses"];

    by_name!(address_group);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewAddressGroup> {
        Ok(NewAddressGroup {
            project_id: fields.project(&ctx.caller, Action::AddressGroupWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            addresses: fields.ranges("addresses")?.unwrap_or_default(),
        })
    }
}

impl Changeable for AddressGroup {
    type Change = AddressGroupChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "addresses"];

    fn read_change(fields: &Fields) -> Result<AddressGroupChange> {
        Ok(AddressGroupChange { name: fields.text("name")?, description: fields.text("description")? })
    }

    fn update(
        txn: &mut Txn<'_>,
        caller: &Caller,
        id: AddressGroupId,
        change: AddressGroupChange,
    ) -> Result<()> {
        address_group::update(txn, caller, id, change)
    }
}

fn addresses(body: Value) -> Result<Vec<IpNet>> {
    let fields = resource::bare(body)?;
    let missing = || required("addresses");
    fields.ranges("addresses")?.ok_or_else(missing)
}

/// `PUT /v2.0/address-groups/{id}/add_addresses`
pub async fn add(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, more) = (resource::id::<AddressGroup>(&path)?, addresses(body)?);
    let add = move |txn: &mut Txn<'_>, caller: &Caller, id| address_group::add(txn, caller, id, &more);
    resource::commit::<AddressGroup, _>(&ctx, "add addresses", id, add).await?;
    resource::answer::<AddressGroup>(&ctx, 200, &id)
}

/// `PUT /v2.0/address-groups/{id}/remove_addresses`
pub async fn remove(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, less) = (resource::id::<AddressGroup>(&path)?, addresses(body)?);
    let remove = move |txn: &mut Txn<'_>, caller: &Caller, id| address_group::remove(txn, caller, id, &less);
    resource::commit::<AddressGroup, _>(&ctx, "remove addresses", id, remove).await?;
    resource::answer::<AddressGroup>(&ctx, 200, &id)
}
