//! A server's interfaces and their security groups.

use super::{server::readable, server_id};
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::extract::Path;
use lenticular_control::command::{
    interface::{self, AttachAsk},
    server::ports,
};
use lenticular_model::{
    error::{Error, Result},
    port::Port,
    NetworkId, PortId, ServerId,
};
use lenticular_wire::{
    microversion::since,
    network as wire,
    request::{self, envelope},
};
use serde::Deserialize;
use serde_json::{json, Value};
use std::net::IpAddr;

fn attachment(port: &Port) -> Value {
    json!({
        "port_id": port.id,
        "net_id": port.network_id,
        "mac_addr": port.mac,
        "port_state": wire::port::status(port),
        "fixed_ips": port.fixed_ips,
    })
}

/// `GET /servers/{id}/os-interface`
pub async fn list(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    let all: Vec<Value> = ports(&ctx.state, server.id).map(|p| attachment(p)).collect();
    json(200, &json!({"interfaceAttachments": all}))
}

/// `GET /servers/{id}/os-interface/{port}`
pub async fn show(ctx: Ctx, Path((id, port)): Path<(String, String)>) -> Handled {
    let server = readable(&ctx, &id)?;
    let found = ports(&ctx.state, server.id).find(|p| p.id.to_string() == port);
    let found = found.ok_or_else(|| Error::not_found("Port", &port))?;
    json(200, &json!({"interfaceAttachment": attachment(found)}))
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
    #[serde(default)]
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FixedIp {
    ip_address: IpAddr,
}

fn read(ctx: &Ctx, body: Value) -> Result<AttachAsk> {
    let body = if body.is_null() { json!({"interfaceAttachment": {}}) } else { body };
    let fields = envelope(body, "interfaceAttachment")?;
    request::check_version(&fields, &[since("tag", 49)], ctx.version)?;
    let asked: Attach = request::read(fields)?;
    if asked.tag.is_some() {
        return Err(Error::invalid(
            "Interfaces of this cloud have no tags: the guest is told its MAC addresses.",
        ));
    }
    let addresses: Vec<IpAddr> = asked.fixed_ips.into_iter().flatten().map(|ip| ip.ip_address).collect();
    match (asked.port_id, asked.net_id) {
        (Some(_), Some(_)) => Err(Error::invalid("Either port_id or net_id should be specified, not both.")),
        (None, None) if !addresses.is_empty() => {
            Err(Error::invalid("Must input network_id when request IP address"))
        }
        (Some(_), None) if !addresses.is_empty() => {
            Err(Error::invalid("A port has its own addresses; fixed_ips go with net_id."))
        }
        (Some(port), None) => Ok(AttachAsk::Port(port)),
        (None, network) => Ok(AttachAsk::Network(network, addresses)),
    }
}

/// `POST /servers/{id}/os-interface`
pub async fn attach(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let id = server_id(&id)?;
    let ask = read(&ctx, body)?;
    let attach = move |txn: &mut lenticular_model::Txn<'_>, caller: &lenticular_model::policy::Caller| {
        interface::attach(txn, caller, id, ask)
    };
    let port = ctx.commit("server attach interface", attach).await?;
    let state = ctx.app.store.state();
    let port = state.ports.get(&port).ok_or_else(|| Error::not_found("Port", port))?;
    json(200, &json!({"interfaceAttachment": attachment(port)}))
}

/// `DELETE /servers/{id}/os-interface/{port}`
pub async fn detach(ctx: Ctx, Path((id, port)): Path<(String, String)>) -> Handled {
    let id = server_id(&id)?;
    let port: PortId = port.parse().map_err(|_| Error::not_found("Port", &port))?;
    ctx.commit("server detach interface", move |txn, caller| interface::detach(txn, caller, id, port))
        .await?;
    empty(202)
}

/// `GET /servers/{id}/os-security-groups`
pub async fn security_groups(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    let mut groups: Vec<_> = ports(&ctx.state, server.id).flat_map(|p| p.security_groups.clone()).collect();
    groups.sort();
    groups.dedup();
    let found = groups.iter().filter_map(|id| ctx.state.security_groups.get(id));
    let views: Vec<Value> = found
        .map(|g| {
            let mut view = wire::security_group::view(&ctx.state, &ctx.caller, g);
            view["rules"] = view["security_group_rules"].take();
            view
        })
        .collect();
    json(200, &json!({"security_groups": views}))
}

/// Puts a server into a security group, or takes it out of one.
pub async fn change_group(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Group {
        name: String,
    }
    let asked: Group = request::read_value(action, args)?;
    request::check_name("name", &asked.name)?;
    match action {
        "addSecurityGroup" => {
            ctx.commit("server add security group", move |txn, caller| {
                interface::add_group(txn, caller, id, &asked.name)
            })
            .await?;
        }
        _ => {
            ctx.commit("server remove security group", move |txn, caller| {
                interface::remove_group(txn, caller, id, &asked.name)
            })
            .await?;
        }
    }
    empty(202)
}
