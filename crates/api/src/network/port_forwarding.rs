//! Port forwardings of floating IPs.

use super::{
    fields::{Fields, bad, required},
    resource,
    view::{self, Listed},
};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::network::port_forwarding::{self, NewPortForwarding, PortForwardingChange};
use lenticular_model::{
    FloatingIpId, PortForwardingId, Scoped, Txn,
    error::Result,
    network::{
        floating_ip::FloatingIp,
        port_forwarding::{ForwardedProtocol, PortRange},
    },
    policy::Caller,
};
use lenticular_wire::network as wire;
use serde_json::json;
use std::net::Ipv4Addr;

const FIELDS: &[&str] = &[
    "protocol",
    "internal_port_id",
    "internal_ip_address",
    "internal_port",
    "internal_port_range",
    "external_port",
    "external_port_range",
    "description",
];

fn floating_id(text: &str) -> Result<FloatingIpId> {
    text.parse().map_err(|_| FloatingIp::missing(text))
}

fn id(text: &str) -> Result<PortForwardingId> {
    text.parse().map_err(|_| port_forwarding::missing(text))
}

/// Reads one port, or a range of them (`80:90`).
fn ports(fields: &Fields, side: &str) -> Result<Option<PortRange>> {
    let (one, many) = (format!("{side}_port"), format!("{side}_port_range"));
    let wrong = |text: &str| {
        bad(format!(
            "Invalid input for {many}. Reason: '{text}' is not a port, or a range of two (first:last)."
        ))
    };
    match (fields.number::<u16>(&one)?, fields.get::<String>(&many)?) {
        (Some(_), Some(_)) => Err(bad(format!("{one} and {many} cannot be given together."))),
        (Some(port), None) => Ok(Some(PortRange { first: port, last: port })),
        (None, Some(text)) => {
            let (first, last) = text.split_once(':').unwrap_or((&text, &text));
            match (first.parse(), last.parse()) {
                (Ok(first), Ok(last)) => Ok(Some(PortRange { first, last })),
                _ => Err(wrong(&text)),
            }
        }
        (None, None) => Ok(None),
    }
}

fn protocol(fields: &Fields) -> Result<Option<ForwardedProtocol>> {
    match fields.get::<String>("protocol")?.map(|p| p.to_ascii_lowercase()).as_deref() {
        None => Ok(None),
        Some("tcp") => Ok(Some(ForwardedProtocol::Tcp)),
        Some("udp") => Ok(Some(ForwardedProtocol::Udp)),
        Some(other) => Err(bad(format!(
            "Invalid input for protocol. Reason: '{other}' is not one of those forwarded: tcp, udp."
        ))),
    }
}

/// `GET /v2.0/floatingips/{floating}/port_forwardings`
pub async fn list(ctx: Ctx, Path(floating): Path<String>) -> Handled {
    let of = floating_id(&floating)?;
    ctx.state.visible::<FloatingIp>(&ctx.caller, &of)?;
    let all = ctx.state.port_forwardings_of(of);
    let items = all.map(|f| wire::port_forwarding::view(&ctx.state, &ctx.caller, f)).collect();
    let path = format!("floatingips/{of}/port_forwardings");
    let missing = |id: &str| port_forwarding::missing(id);
    view::listing(&ctx, &Listed { many: "port_forwardings", path: &path, fields: FIELDS, missing }, items)
}

/// `GET /v2.0/floatingips/{floating}/port_forwardings/{id}`
pub async fn show(ctx: Ctx, Path((floating, path)): Path<(String, String)>) -> Handled {
    let found = port_forwarding::visible(&ctx.state, &ctx.caller, floating_id(&floating)?, id(&path)?)?;
    view::one(&ctx, "port_forwarding", wire::port_forwarding::view(&ctx.state, &ctx.caller, &found))
}

fn answer(ctx: &Ctx, status: u16, of: FloatingIpId, id: PortForwardingId) -> Handled {
    let state = ctx.app.store.state();
    let found = port_forwarding::visible(&state, &ctx.caller, of, id)?;
    json(status, &json!({"port_forwarding": wire::port_forwarding::view(&state, &ctx.caller, &found)}))
}

/// `POST /v2.0/floatingips/{floating}/port_forwardings`
pub async fn create(ctx: Ctx, Path(floating): Path<String>, Json(body): Json) -> Handled {
    let of = floating_id(&floating)?;
    let fields = resource::envelope(body, "port_forwarding")?;
    fields.check(FIELDS)?;
    let new = NewPortForwarding {
        floating_ip_id: of,
        protocol: protocol(&fields)?.ok_or_else(|| required("protocol"))?,
        external: ports(&fields, "external")?.ok_or_else(|| required("external_port"))?,
        internal_port_id: fields.id("internal_port_id")?.ok_or_else(|| required("internal_port_id"))?,
        internal_address: fields.get::<Ipv4Addr>("internal_ip_address")?,
        internal: ports(&fields, "internal")?.ok_or_else(|| required("internal_port"))?,
        description: fields.text_or_empty("description")?,
    };
    let create = move |txn: &mut Txn<'_>, caller: &Caller| port_forwarding::create(txn, caller, new);
    let id = ctx.commit("port forwarding create", create).await?;
    answer(&ctx, 201, of, id)
}

/// Runs a command on one port forwarding, if the client's precondition holds.
async fn commit(
    ctx: &Ctx,
    verb: &str,
    of: FloatingIpId,
    id: PortForwardingId,
    command: impl FnOnce(&mut Txn<'_>, &Caller) -> Result<()> + Send + 'static,
) -> Result<()> {
    let expected = resource::expected(ctx)?;
    ctx.commit(&format!("port forwarding {verb}"), move |txn, caller| {
        if let Some(expected) = expected {
            let now = port_forwarding::visible(txn, caller, of, id)?.revision;
            resource::check_revision(expected, Some(now))?;
        }
        command(txn, caller)
    })
    .await
}

/// `PUT /v2.0/floatingips/{floating}/port_forwardings/{id}`
pub async fn update(ctx: Ctx, Path((floating, path)): Path<(String, String)>, Json(body): Json) -> Handled {
    let (of, id) = (floating_id(&floating)?, id(&path)?);
    let fields = resource::envelope(body, "port_forwarding")?;
    fields.check(FIELDS)?;
    let change = PortForwardingChange {
        protocol: protocol(&fields)?,
        external: ports(&fields, "external")?,
        internal_port_id: fields.id("internal_port_id")?,
        internal_address: fields.get::<Ipv4Addr>("internal_ip_address")?,
        internal: ports(&fields, "internal")?,
        description: fields.text("description")?,
    };
    commit(&ctx, "update", of, id, move |txn, caller| port_forwarding::update(txn, caller, of, id, change))
        .await?;
    answer(&ctx, 200, of, id)
}

/// `DELETE /v2.0/floatingips/{floating}/port_forwardings/{id}`
pub async fn delete(ctx: Ctx, Path((floating, path)): Path<(String, String)>) -> Handled {
    let (of, id) = (floating_id(&floating)?, id(&path)?);
    commit(&ctx, "delete", of, id, move |txn, caller| port_forwarding::delete(txn, caller, of, id)).await?;
    empty(204)
}
