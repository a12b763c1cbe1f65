//! Routers.

use super::{
    fields::{Fields, bad, required},
    port::fixed_ips,
    resource::{self, Changeable, Names, Resource, by_name},
};
use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_control::command::network::router::{
    self, GatewayAsk, Interface, InterfaceAsk, NewRouter, RouterChange,
};
use lenticular_model::{
    RouterId, Txn,
    error::Result,
    network::{router::Router as Record, subnet::HostRoute},
    policy::{Action, Caller},
};
use serde_json::{Map, Value, json};

/// Routers.
pub struct Router;

/// Reads the external gateway; null and an empty object mean no gateway.
fn gateway(fields: &Fields) -> Result<Option<GatewayAsk>> {
    let info = fields.get::<Map<String, Value>>("external_gateway_info")?.filter(|info| !info.is_empty());
    let Some(info) = info.map(Fields) else { return Ok(None) };
    info.check(&["network_id", "enable_snat", "external_fixed_ips", "qos_policy_id"])?;
    let qos_policy_id = info.id("qos_policy_id")?;
    let missing = || bad("Invalid input for external_gateway_info. Reason: network_id is required.");
    Ok(Some(GatewayAsk {
        network_id: info.id("network_id")?.ok_or_else(missing)?,
        enable_snat: info.flag("enable_snat")?,
        fixed_ips: fixed_ips(&info, "external_fixed_ips")?,
        qos_policy_id: info.has("qos_policy_id").then_some(qos_policy_id),
    }))
}

impl Resource for Router {
    type Record = Record;
    type New = NewRouter;
    const NAMES: Names = Names { one: "router", many: "routers", path: "routers" };
    const FIELDS: &'static [&'static str] = &[
        "name",
        "description",
        "project_id",
        "tenant_id",
        "admin_state_up",
        "external_gateway_info",
        "routes",
        "distributed",
        "ha",
        "availability_zone_hints",
    ];

    by_name!(router);

    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<NewRouter> {
        if fields.has("routes") {
            return Err(bad("Attribute 'routes' not allowed in POST"));
        }
        Ok(NewRouter {
            project_id: fields.project(&ctx.caller, Action::RouterWrite)?,
            name: fields.text_or_empty("name")?,
            description: fields.text_or_empty("description")?,
            admin_state_up: fields.flag("admin_state_up")?.unwrap_or(true),
            gateway: gateway(fields)?,
            distributed: fields.flag("distributed")?,
            ha: fields.flag("ha")?,
            availability_zone_hints: fields.get("availability_zone_hints")?.unwrap_or_default(),
        })
    }
}

impl Changeable for Router {
    type Change = RouterChange;
    const FIXED: &'static [&'static str] = &["project_id", "tenant_id", "availability_zone_hints"];

    fn read_change(fields: &Fields) -> Result<RouterChange> {
        Ok(RouterChange {
            name: fields.text("name")?,
            description: fields.text("description")?,
            admin_state_up: fields.flag("admin_state_up")?,
            gateway: match fields.has("external_gateway_info") {
                true => Some(gateway(fields)?),
                false => None,
            },
            routes: fields.routes("routes")?,
            distributed: fields.flag("distributed")?,
            ha: fields.flag("ha")?,
        })
    }

    fn update(txn: &mut Txn<'_>, caller: &Caller, id: RouterId, change: RouterChange) -> Result<()> {
        router::update(txn, caller, id, change)
    }
}

fn interface(body: Value) -> Result<InterfaceAsk> {
    let fields = resource::bare(body)?;
    Ok(InterfaceAsk { subnet_id: fields.id("subnet_id")?, port_id: fields.id("port_id")? })
}

fn shown(interface: &Interface) -> Value {
    json!({
        "id": interface.router_id,
        "tenant_id": interface.project_id,
        "project_id": interface.project_id,
        "network_id": interface.network_id,
        "port_id": interface.port_id,
        "subnet_id": interface.subnet_ids.first(),
        "subnet_ids": interface.subnet_ids,
    })
}

/// `PUT /v2.0/routers/{id}/add_router_interface`
pub async fn add_interface(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, ask) = (resource::id::<Router>(&path)?, interface(body)?);
    let add = move |txn: &mut Txn<'_>, caller: &Caller, id| router::add_interface(txn, caller, id, ask);
    json(200, &shown(&resource::commit::<Router, _>(&ctx, "add interface", id, add).await?))
}

/// `PUT /v2.0/routers/{id}/remove_router_interface`
pub async fn remove_interface(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, ask) = (resource::id::<Router>(&path)?, interface(body)?);
    let remove = move |txn: &mut Txn<'_>, caller: &Caller, id| router::remove_interface(txn, caller, id, ask);
    json(200, &shown(&resource::commit::<Router, _>(&ctx, "remove interface", id, remove).await?))
}

fn routes(body: Value) -> Result<Vec<HostRoute>> {
    let fields = resource::envelope(body, "router")?;
    fields.check(&["routes"])?;
    fields.routes("routes")?.ok_or_else(|| required("routes"))
}

/// `PUT /v2.0/routers/{id}/add_extraroutes`
pub async fn add_routes(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, routes) = (resource::id::<Router>(&path)?, routes(body)?);
    let add = move |txn: &mut Txn<'_>, caller: &Caller, id| router::add_routes(txn, caller, id, routes);
    resource::commit::<Router, _>(&ctx, "add routes", id, add).await?;
    resource::answer::<Router>(&ctx, 200, &id)
}

/// `PUT /v2.0/routers/{id}/remove_extraroutes`
pub async fn remove_routes(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let (id, routes) = (resource::id::<Router>(&path)?, routes(body)?);
    let remove =
        move |txn: &mut Txn<'_>, caller: &Caller, id| router::remove_routes(txn, caller, id, &routes);
    resource::commit::<Router, _>(&ctx, "remove routes", id, remove).await?;
    resource::answer::<Router>(&ctx, 200, &id)
}
