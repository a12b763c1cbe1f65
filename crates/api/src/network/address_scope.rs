//! Address scopes.

use super::{
    fields::{Fields, bad},
    resource::{Changeable, Names, Resource, by_name},
};
use crate::ctx::Ctx;
use lenticular_control::command::network::address_scope::{self, AddressScopeChange, NewAddressScope};
use lenticular_model::{
    AddressScopeId, Txn,
    error::Result,
    network::address_scope::AddressScope as Record,
    policy::{Action, Caller},
};

/// Address scopes.
pub struct AddressScope;

impl Resource for AddressScope {
    type Record = Record;
    type New = NewAddressScope;
    const NAMES: Names = Names { one: "address_scope", many: "address_scopes", path: "address-scopes" };
    const FIELDS: &'static [&'static str] = &["name", "project_id", "tenant_id", "ip_version", "shared"];

    by_name!(address_scope);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewAddressScope> {
        let version = fields.number::<u8>("ip_version")?;
        let wrong = || bad("Invalid input for ip_version. Reason: it must be 4 or 6.");
        Ok(NewAddressScope {
            project_id: fields.project(&ctx.caller, Action::AddressScopeWrite)?,
            name: fields.text_or_empty("name")?,
            ip_version: version.filter(|v| matches!(v, 4 | 6)).ok_or_else(wrong)?,
            shared: fields.flag("shared")?.unwrap_or(false),
        })
    }
}

impl Changeable for AddressScope {
    type Change = AddressScopeChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "ip_version"];

    fn read_change(fields: &Fields) -> Result<AddressScopeChange> {
        Ok(AddressScopeChange { name: fields.text("name")?, shared: fields.flag("shared")? })
    }

    fn update(
        txn: &mut Txn<'_>,
        caller: &Caller,
        id: AddressScopeId,
        change: AddressScopeChange,
    ) -> Result<()> {
        address_scope::update(txn, caller, id, change)
    }
}
