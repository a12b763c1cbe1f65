//! Floating IPs and networks under Nova's names, for clients before version 2.36, and the actions that associate
//! a floating IP with a server.

use super::retired;
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::network::floating_ip::{self, FloatingIpChange, NewFloatingIp, Target};
use lenticular_model::{
    FloatingIpId, NetworkId, Scoped, ServerId, State, Txn,
    error::{Error, Kind, Result},
    network::{floating_ip::FloatingIp, network::Network},
    policy::{self, Action, Caller},
};
use lenticular_wire::{compute::floating_ip as wire, request};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{net::IpAddr, sync::Arc};

fn id(text: &str) -> Result<FloatingIpId> {
    text.parse().map_err(|_| Error::not_found_text(format!("Floating IP not found for ID {text}")))
}

/// The floating IPs of the caller's project.
fn own<'s>(state: &'s State, caller: &Caller) -> Result<impl Iterator<Item = &'s Arc<FloatingIp>>> {
    let project = caller.need_project()?;
    Ok(state.floating_ips_of_project(project))
}

/// The external networks that the caller can use.
fn external<'s>(state: &'s State, caller: &'s Caller) -> impl Iterator<Item = &'s Arc<Network>> {
    state.networks.values().filter(move |n| state.is_external_for(caller, n))
}

/// `GET /os-floating-ips`
pub async fn list(ctx: Ctx) -> Handled {
    retired(&ctx, 36)?;
    policy::check(&ctx.caller, Action::FloatingIpsRead, None)?;
    let all: Vec<Value> = own(&ctx.state, &ctx.caller)?.map(|f| wire::view(&ctx.state, f)).collect();
    json(200, &json!({"floating_ips": all}))
}

fn answer(ctx: &Ctx, id: FloatingIpId) -> Handled {
    let state = ctx.app.store.state();
    let floating = state.visible::<FloatingIp>(&ctx.caller, &id)?;
    json(200, &json!({"floating_ip": wire::view(&state, &floating)}))
}

/// `GET /os-floating-ips/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    answer(&ctx, id(&path)?)
}

/// `POST /os-floating-ips`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    retired(&ctx, 36)?;
    let asked = body.get("pool").and_then(Value::as_str);
    let is_asked = |n: &&Arc<Network>| asked.is_none_or(|pool| n.name == pool || n.id.to_string() == pool);
    let pool = external(&ctx.state, &ctx.caller).find(is_asked);
    let network_id = pool.ok_or_else(|| Error::not_found_text("Floating IP pool not found."))?.id;
    let new = NewFloatingIp {
        project_id: ctx.caller.need_project()?,
        description: String::new(),
        network_id,
        subnet_id: None,
        address: None,
        target: None,
        dns_name: String::new(),
        dns_domain: String::new(),
        qos_policy_id: None,
    };
    let made =
        ctx.commit("floatingip create", move |txn, caller| floating_ip::create(txn, caller, new)).await;
    answer(&ctx, made.map_err(worded)?)
}

/// `DELETE /os-floating-ips/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    let id = id(&path)?;
    ctx.commit("floatingip delete", move |txn, caller| floating_ip::delete(txn, caller, id)).await?;
    empty(202)
}

/// `GET /os-floating-ip-pools`
pub async fn pools(ctx: Ctx) -> Handled {
    retired(&ctx, 36)?;
    let pools: Vec<Value> = external(&ctx.state, &ctx.caller).map(|n| json!({"name": n.name})).collect();
    json(200, &json!({"floating_ip_pools": pools}))
}

fn network_view(network: &Network) -> Value {
    json!({"id": network.id, "label": network.name, "cidr": null})
}

/// `GET /os-tenant-networks`
pub async fn networks(ctx: Ctx) -> Handled {
    retired(&ctx, 36)?;
    policy::check(&ctx.caller, Action::TenantNetworksRead, None)?;
    let project = ctx.caller.need_project()?;
    let usable = |n: &&Arc<Network>| n.project_id == project || ctx.state.is_shared_with(&ctx.caller, n);
    let all: Vec<Value> = ctx.state.networks.values().filter(usable).map(|n| network_view(n)).collect();
    json(200, &json!({"networks": all}))
}

/// `GET /os-tenant-networks/{id}`
pub async fn network(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    policy::check(&ctx.caller, Action::TenantNetworksRead, None)?;
    let id: NetworkId = path.parse().map_err(|_| Network::missing(&path))?;
    let network = ctx.state.visible::<Network>(&ctx.caller, &id)?;
    json(200, &json!({"network": network_view(&network)}))
}

/// What an administrator reads of a network beside what everybody reads. Neutron's networks have none of it.
const ADMIN_FIELDS: &[&str] = &[
    "bridge",
    "bridge_interface",
    "created_at",
    "deleted",
    "deleted_at",
    "dhcp_server",
    "dhcp_start",
    "enable_dhcp",
    "host",
    "injected",
    "mtu",
    "multi_host",
    "priority",
    "project_id",
    "rxtx_base",
    "share_address",
    "updated_at",
    "vlan",
    "vpn_private_address",
    "vpn_public_address",
    "vpn_public_port",
];

const FIELDS: &[&str] =
    &["broadcast", "cidr", "cidr_v6", "dns1", "dns2", "gateway", "gateway_v6", "netmask", "netmask_v6"];

fn full_network(ctx: &Ctx, network: &Network) -> Value {
    let more = if ctx.caller.is_admin() { ADMIN_FIELDS } else { &[] };
    let mut view: serde_json::Map<String, Value> =
        FIELDS.iter().chain(more).map(|name| ((*name).to_owned(), Value::Null)).collect();
    view.insert("id".to_owned(), json!(network.id));
    view.insert("label".to_owned(), json!(network.name));
    Value::Object(view)
}

/// `GET /os-networks`
pub async fn all_networks(ctx: Ctx) -> Handled {
    retired(&ctx, 36)?;
    policy::check(&ctx.caller, Action::NetworksRead, None)?;
    let project = ctx.caller.need_project()?;
    let mut seen: Vec<&Arc<Network>> = match ctx.caller.is_admin() {
        true => ctx.state.networks.values().collect(),
        false => ctx.state.networks_of_project(project).collect(),
    };
    if !ctx.caller.is_admin() {
        let others = ctx.state.open_networks().filter(|n| n.project_id != project);
        seen.extend(others.filter(|n| n.visible_to(&ctx.state, &ctx.caller)));
    }
    let all: Vec<Value> = seen.into_iter().map(|n| full_network(&ctx, n)).collect();
    json(200, &json!({"networks": all}))
}

/// `GET /os-networks/{id}`
pub async fn one_network(ctx: Ctx, Path(path): Path<String>) -> Handled {
    retired(&ctx, 36)?;
    policy::check(&ctx.caller, Action::NetworksRead, None)?;
    let id: NetworkId = path.parse().map_err(|_| Network::missing(&path))?;
    let network = ctx.state.visible::<Network>(&ctx.caller, &id)?;
    json(200, &json!({"network": full_network(&ctx, &network)}))
}

/// Changes Neutron's conflict into a bad request, as Nova answers.
fn worded(error: Error) -> Error {
    match error.kind {
        Kind::Conflict if error.code == "OverQuota" => Error { kind: Kind::OverQuota, ..error },
        Kind::Conflict => Error { kind: Kind::Invalid, ..error },
        _ => error,
    }
}

/// The floating IP of an address that the caller names.
fn by_address(state: &State, caller: &Caller, address: IpAddr) -> Result<Arc<FloatingIp>> {
    let found = own(state, caller)?.find(|f| f.address == address).cloned();
    found.ok_or_else(|| Error::not_found_text(format!("floating IP {address} not found")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    address: IpAddr,
    #[serde(default)]
    fixed_address: Option<IpAddr>,
}

/// The target on a server that a floating IP is associated with.
fn target(txn: &Txn<'_>, id: ServerId, asked: Option<IpAddr>) -> Result<Target> {
    let addresses = txn.ports_of_server(id).flat_map(|p| p.fixed_ips.iter().map(|ip| (p.id, ip.ip_address)));
    let mut v4 = addresses.filter(|(_, ip)| ip.is_ipv4() && asked.is_none_or(|asked| asked == *ip));
    let (port_id, fixed_ip) = v4.next().ok_or_else(|| match asked {
        Some(asked) => Error::invalid(format!("Specified fixed address {asked} not assigned to instance")),
        None => Error::invalid(
            "No fixed IPv4 address is assigned to the instance, so no floating IP can lead to it.",
        ),
    })?;
    Ok(Target { port_id, fixed_ip: Some(fixed_ip) })
}

/// `addFloatingIp` and `removeFloatingIp`, until 2.43.
pub async fn change_of_server(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    retired(ctx, 44)?;
    let asked: Asked = request::read_value(action, args)?;
    let adds = action == "addFloatingIp";
    if !adds && asked.fixed_address.is_some() {
        return Err(request::unexpected("fixed_address").into());
    }
    let why = if adds { "server add floating ip" } else { "server remove floating ip" };
    let done = ctx
        .commit(why, move |txn, caller| {
            let floating = by_address(txn, caller, asked.address)?;
            let leads_here = floating
                .fixed
                .and_then(|a| txn.ports.get(&a.port_id))
                .is_some_and(|p| p.server_id == Some(id));
            let target = match adds {
                true => Some(target(txn, id, asked.fixed_address)?),
                false if leads_here => None,
                false => {
                    let why = format!("Floating IP {} is not associated with instance {id}.", asked.address);
                    return Err(Error::conflict(why));
                }
            };
            let change = FloatingIpChange { target: Some(target), ..Default::default() };
            floating_ip::update(txn, caller, floating.id, change)
        })
        .await;
    done.map_err(|error| if adds { worded(error) } else { error })?;
    empty(202)
}
