//! A server's interfaces and their security groups.

use super::{retired, server::readable, server_id};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::interface::{self, AttachAsk};
use lenticular_model::{
    NetworkId, PortId, ServerId,
    error::{Error, Result},
    network::port::Port,
};
use lenticular_wire::{
    compute::tag::check_tag,
    microversion::since,
    network as wire,
    request::{self, sole},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::IpAddr;

fn attachment(ctx: &Ctx, port: &Port) -> Value {
    let mut view = json!({
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac,
        "port_state": wire::port::status(&ctx.state, port),
        "fixed_ips": port.fixed_ips,
    });
    if ctx.version.has(70) {
        view["tag"] = json!(port.device_tag);
    }
    view
}

/// `GET /servers/{id}/os-interface`
pub async fn list(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    let all: Vec<Value> = ctx.state.ports_of_server(server.id).map(|p| attachment(&ctx, p)).collect();
    json(200, &json!({"interfaceAttachments": all}))
}

/// `GET /servers/{id}/os-interface/{port}`
pub async fn show(ctx: Ctx, Path((id, port)): Path<(String, String)>) -> Handled {
    let server = readable(&ctx, &id)?;
    let found = ctx.state.ports_of_server(server.id).find(|p| p.id.to_string() == port);
    let found = found.ok_or_else(|| Error::not_found("Port", &port))?;
    json(200, &json!({"interfaceAttachment": attachment(&ctx, found)}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attach {
    #[serde(default)]
    net_id: Option<NetworkId>,
    #[serde(default)]
    port_id: Option<PortId>,
    #[serde(default)]
    fixed_ips: Option<Vec<FixedIp>>,
    #[serde(default, deserialize_with = "request::de_given")]
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    ip_address: IpAddr,
}

fn read(ctx: &Ctx, body: Value) -> Result<(AttachAsk, Option<String>)> {
    let body = if body.is_null() { json!({"interfaceAttachment": {}}) } else { body };
    let fields = sole(body, "interfaceAttachment")?;
    request::check_version(&fields, &[since("tag", 49)], ctx.version)?;
    let asked: Attach = request::read(fields)?;
    asked.tag.as_deref().map_or(Ok(()), check_tag)?;
    let tag = asked.tag;
    let addresses: Vec<IpAddr> = asked.fixed_ips.into_iter().flatten().map(|ip| ip.ip_address).collect();
    match (asked.port_id, asked.net_id) {
        (Some(_), Some(_)) => Err(Error::invalid("Either port_id or net_id should be specified, not both.")),
        (None, None) if !addresses.is_empty() => {
            Err(Error::invalid("Must input network_id when request IP address"))
        }
        (Some(_), None) if !addresses.is_empty() => {
            Err(Error::invalid("A port has its own addresses; fixed_ips go with net_id."))
        }
        (Some(port), None) => Ok((AttachAsk::Port(port), tag)),
        (None, network) => Ok((AttachAsk::Network(network, addresses), tag)),
    }
}

/// `POST /servers/{id}/os-interface`
pub async fn attach(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let id = server_id(&id)?;
    let (ask, tag) = read(&ctx, body)?;
    let attach = move |txn: &mut lenticular_model::Txn<'_>, caller: &lenticular_model::policy::Caller| {
        interface::attach_tagged(txn, caller, id, ask, tag)
    };
    let port = ctx.commit("server attach interface", attach).await?;
    let state = ctx.app.store.state();
    let port = state.ports.get(&port).ok_or_else(|| Error::not_found("Port", port))?;
    json(200, &json!({"interfaceAttachment": attachment(&ctx, port)}))
}

/// `DELETE /servers/{id}/os-interface/{port}`
pub async fn detach(ctx: Ctx, Path((id, port)): Path<(String, String)>) -> Handled {
    let id = server_id(&id)?;
    let port: PortId = port.parse().map_err(|_| Error::not_found("Port", &port))?;
    ctx.commit("server detach interface", move |txn, caller| interface::detach(txn, caller, id, port))
        .await?;
    empty(202)
}

/// `addFixedIp` and `removeFixedIp`, until 2.43.
pub async fn change_address(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    retired(ctx, 44)?;
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Add {
        #[serde(rename = "networkId")]
        network_id: NetworkId,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Remove {
        address: IpAddr,
    }
    if action == "addFixedIp" {
        let Add { network_id } = request::read_value(action, args)?;
        ctx.commit("server add fixed ip", move |txn, caller| {
            interface::add_fixed_ip(txn, caller, id, network_id)
        })
        .await?;
    } else {
        let Remove { address } = request::read_value(action, args)?;
        ctx.commit("server remove fixed ip", move |txn, caller| {
            interface::remove_fixed_ip(txn, caller, id, address)
        })
        .await?;
    }
    empty(202)
}
