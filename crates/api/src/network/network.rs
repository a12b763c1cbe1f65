//! Networks.

use super::{check_fields, flag, number, project, text, view};
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::extract::Path;
use lenticular_control::command::network::{self, NetworkChange, NewNetwork};
use lenticular_model::{
    error::{Error, Result},
    network::Provider,
    policy::{self, Action, Caller},
    NetworkId, State,
};
use lenticular_wire::{network as wire, request::envelope};
use serde_json::{json, Map, Value};

const SETTABLE: &[&str] = &[
    "name",
    "description",
    "admin_state_up",
    "shared",
    "router:external",
    "is_default",
    "mtu",
    "port_security_enabled",
    "project_id",
    "tenant_id",
    "provider:network_type",
    "provider:physical_network",
    "provider:segmentation_id",
    "availability_zone_hints",
];

const FIXED: &[&str] = &["project_id", "tenant_id", "availability_zone_hints"];

fn id(text: &str) -> Result<NetworkId> {
    text.parse().map_err(|_| Error::not_found("Network", text).coded("NetworkNotFound"))
}

/// `GET /v2.0/networks`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let admin = ctx.caller.is_admin();
    let seen =
        ctx.state.networks.values().filter(|n| n.shared || n.external || ctx.caller.sees(n.project_id));
    let items = seen.map(|n| wire::network(&ctx.state, n, admin)).collect();
    view::listing(&ctx, "networks", "networks", items)
}

/// `GET /v2.0/networks/{id}`
pub async fn show(ctx: Ctx, Path(text): Path<String>) -> Handled {
    let network = network::visible(&ctx.state, &ctx.caller, id(&text)?)?;
    view::one(&ctx, "network", wire::network(&ctx.state, &network, ctx.caller.is_admin()))
}

fn check_mtu(mtu: Option<u32>) -> Result<()> {
    match mtu {
        Some(mtu) if !(68..=9_000).contains(&mtu) => {
            Err(super::bad(&format!("Invalid input for mtu. Reason: '{mtu}' is not between 68 and 9000.")))
        }
        _ => Ok(()),
    }
}

fn read_new(fields: &Map<String, Value>, caller: &Caller) -> Result<NewNetwork> {
    check_fields(fields, SETTABLE)?;
    let mtu = number::<u32>(fields, "mtu")?.filter(|mtu| *mtu != 0);
    check_mtu(mtu)?;
    Ok(NewNetwork {
        project_id: project(fields, caller, Action::NetworkWrite)?,
        name: text(fields, "name")?.unwrap_or_default(),
        description: text(fields, "description")?.unwrap_or_default(),
        admin_state_up: flag(fields, "admin_state_up")?.unwrap_or(true),
        shared: flag(fields, "shared")?.unwrap_or(false),
        external: flag(fields, "router:external")?.unwrap_or(false),
        is_default: flag(fields, "is_default")?.unwrap_or(false),
        mtu,
        port_security_enabled: flag(fields, "port_security_enabled")?.unwrap_or(true),
        provider: Provider {
            network_type: text(fields, "provider:network_type")?.unwrap_or_default(),
            physical_network: text(fields, "provider:physical_network")?,
            segmentation_id: number(fields, "provider:segmentation_id")?,
        },
    })
}

/// `POST /v2.0/networks`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let read = |fields: &Map<String, Value>| read_new(fields, &ctx.caller);
    let show =
        |state: &State, id| Some(wire::network(state, state.networks.get(&id)?, ctx.caller.is_admin()));
    super::create(&ctx, ("network", "networks"), body, read, network::create, show).await
}

/// `PUT /v2.0/networks/{id}`
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = id(&path)?;
    let fields = envelope(body, "network")?;
    check_fields(&fields, SETTABLE)?;
    if let Some(name) = fields.keys().find(|n| n.starts_with("provider:") || FIXED.contains(&n.as_str())) {
        return Err(super::bad(&format!("Cannot update read-only attribute {name}")).into());
    }
    let mtu = number(&fields, "mtu")?;
    check_mtu(mtu)?;
    let change = NetworkChange {
        name: text(&fields, "name")?,
        description: text(&fields, "description")?,
        admin_state_up: flag(&fields, "admin_state_up")?,
        shared: flag(&fields, "shared")?,
        external: flag(&fields, "router:external")?,
        is_default: flag(&fields, "is_default")?,
        mtu,
        port_security_enabled: flag(&fields, "port_security_enabled")?,
    };
    ctx.commit("network update", move |txn, caller| network::update(txn, caller, id, change)).await?;
    let state = ctx.app.store.state();
    let network = network::visible(&state, &ctx.caller, id)?;
    json(200, &json!({"network": wire::network(&state, &network, ctx.caller.is_admin())}))
}

/// `DELETE /v2.0/networks/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = id(&path)?;
    ctx.commit("network delete", move |txn, caller| network::delete(txn, caller, id)).await?;
    empty(204)
}
