//! Trunks.

use super::{
    fields::{Fields, bad, required},
    resource::{self, Changeable, Names, Resource, by_name},
};
use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::network::trunk::{self, NewTrunk, TrunkChange};
use lenticular_model::{
    PortId, TrunkId, Txn,
    error::Result,
    network::trunk::{SubPort, Trunk as Record},
    policy::{Action, Caller},
};
use lenticular_wire::network as wire;
use serde_json::json;

/// Trunks.
pub struct Trunk;

fn items(fields: &Fields) -> Result<Vec<Fields>> {
    let known = &["port_id", "segmentation_type", "segmentation_id"];
    Ok(fields.objects("sub_ports", known)?.unwrap_or_default())
}

fn port_of(fields: &Fields) -> Result<PortId> {
    let missing = || required("port_id");
    fields.id("port_id")?.ok_or_else(missing)
}

fn sub_ports(fields: &Fields) -> Result<Vec<SubPort>> {
    let read = |one: Fields| {
        let kind = one.get::<String>("segmentation_type")?;
        if kind.as_deref().is_some_and(|kind| kind != "vlan") {
            return Err(
                bad("Invalid input for segmentation_type. Reason: it must be vlan.").coded("InvalidInput")
            );
        }
        let missing = || bad("Invalid input for sub_ports. Reason: a subport has a segmentation_id.");
        Ok(SubPort {
            port_id: port_of(&one)?,
            segmentation_id: one.number("segmentation_id")?.ok_or_else(missing)?,
        })
    };
    items(fields)?.into_iter().map(read).collect()
}

impl Resource for Trunk {
    type Record = Record;
    type New = NewTrunk;
    const NAMES: Names = Names { one: "trunk", many: "trunks", path: "trunks" };
    const FIELDS: &'static [&'static str] =
        &["name", "description", "project_id", "tenant_id", "admin_state_up", "port_id", "sub_ports"];

    by_name!(trunk);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewTrunk> {
        Ok(NewTrunk {
            project_id: fields.project(&ctx.caller, Action::TrunkWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            admin_state_up: fields.flag("admin_state_up")?.unwrap_or(true),
            port_id: port_of(fields)?,
            sub_ports: sub_ports(fields)?,
        })
    }
}

impl Changeable for Trunk {
    type Change = TrunkChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "port_id", "sub_ports"];

    fn read_change(fields: &Fields) -> Result<TrunkChange> {
        Ok(TrunkChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            admin_state_up: fields.flag("admin_state_up")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: TrunkId, change: TrunkChange) -> Result<()> {
        trunk::update(txn, caller, id, change)
    }
}

/// Answers an action with the trunk itself, without a name around it.
fn answer(ctx: &Ctx, id: TrunkId) -> Handled {
    let state = ctx.app.store.state();
    let trunk = state.visible::<Record>(&ctx.caller, &id)?;
    json(200, &wire::trunk::view(&state, &ctx.caller, &trunk))
}

/// `PUT /v2.0/trunks/{id}/add_subports`
pub async fn add(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, more) = (resource::id::<Trunk>(&path)?, sub_ports(&resource::bare(body)?)?);
    let add = move |txn: &mut Txn<'_>, caller: &Caller, id| trunk::add_subports(txn, caller, id, &more);
    resource::commit::<Trunk, _>(&ctx, "add subports", id, add).await?;
    answer(&ctx, id)
}

/// `PUT /v2.0/trunks/{id}/remove_subports`
pub async fn remove(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = resource::id::<Trunk>(&path)?;
    let less: Vec<PortId> = items(&resource::bare(body)?)?.iter().map(port_of).collect::<Result<_>>()?;
    let remove = move |txn: &mut Txn<'_>, caller: &Caller, id| trunk::remove_subports(txn, caller, id, &less);
    resource::commit::<Trunk, _>(&ctx, "remove subports", id, remove).await?;
    answer(&ctx, id)
}

/// `GET /v2.0/trunks/{id}/get_subports`
pub async fn sub_ports_of(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let trunk = ctx.state.visible::<Record>(&ctx.caller, &resource::id::<Trunk>(&path)?)?;
    json(200, &json!({"sub_ports": wire::trunk::sub_ports(&trunk)}))
}
