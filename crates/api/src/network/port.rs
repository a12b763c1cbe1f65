//! Ports.

use super::{bad, check_fields, field, flag, project, text, view};
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::extract::Path;
use lenticular_control::command::{
    network,
    port::{self, AskIp, NewPort, PortChange},
};
use lenticular_model::{
    error::{Error, Result},
    policy::{self, Action, Caller},
    port::{AddressPair, Mac},
    NetworkId, PortId, SecurityGroupId, State,
};
use lenticular_wire::{network as wire, request::envelope};
use serde_json::{json, Map, Value};

const SETTABLE: &[&str] = &[
    "name",
    "description",
    "network_id",
    "project_id",
    "tenant_id",
    "admin_state_up",
    "mac_address",
    "fixed_ips",
    "device_id",
    "device_owner",
    "security_groups",
    "port_security_enabled",
    "allowed_address_pairs",
    "binding:vnic_type",
    "binding:host_id",
    "binding:profile",
];

fn id(text: &str) -> Result<PortId> {
    text.parse().map_err(|_| Error::not_found("Port", text).coded("PortNotFound"))
}

/// `GET /v2.0/ports`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let admin = ctx.caller.is_admin();
    let ports = &ctx.state.ports;
    // The questions that tools ask most are answered without looking at every port.
    let by_device = ctx.query.get("device_id").filter(|d| !d.is_empty());
    let by_network = ctx.query.get("network_id").and_then(|n| n.parse::<NetworkId>().ok());
    let candidates: Vec<_> = match (by_device, by_network) {
        (Some(device), _) => {
            let from = (device.to_owned(), PortId(Default::default()));
            let range = ctx.state.index.device_ports.range(from..).take_while(|(d, _)| d == device);
            range.filter_map(|(_, id)| ports.get(id)).collect()
        }
        (None, Some(network)) => network::ports(&ctx.state, network).collect(),
        (None, None) => ports.values().collect(),
    };
    let seen = candidates.into_iter().filter(|p| port::visible(&ctx.state, &ctx.caller, p.id).is_ok());
    let items = seen.map(|p| wire::port(&ctx.state, p, admin)).collect();
    view::listing(&ctx, "ports", "ports", items)
}

/// `GET /v2.0/ports/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let port = port::visible(&ctx.state, &ctx.caller, id(&path)?)?;
    view::one(&ctx, "port", wire::port(&ctx.state, &port, ctx.caller.is_admin()))
}

fn fixed_ips(fields: &Map<String, Value>) -> Result<Option<Vec<AskIp>>> {
    let Some(list) = field::<Vec<Map<String, Value>>>(fields, "fixed_ips")? else { return Ok(None) };
    let read = |ip: &Map<String, Value>| {
        check_fields(ip, &["subnet_id", "ip_address"])?;
        Ok(AskIp { subnet: field(ip, "subnet_id")?, address: field(ip, "ip_address")? })
    };
    list.iter().map(read).collect::<Result<_>>().map(Some)
}

fn groups(fields: &Map<String, Value>) -> Result<Option<Vec<SecurityGroupId>>> {
    let Some(list) = field::<Vec<String>>(fields, "security_groups")? else {
        // Null takes all groups away; a field that is not there leaves them.
        return Ok(fields.contains_key("security_groups").then(Vec::new));
    };
    let missing = |t: &str| {
        Error::not_found_text(format!("Security group {t} does not exist")).coded("SecurityGroupNotFound")
    };
    list.iter().map(|t| t.parse().map_err(|_| missing(t))).collect::<Result<_>>().map(Some)
}

fn pairs(fields: &Map<String, Value>) -> Result<Option<Vec<AddressPair>>> {
    let Some(list) = field::<Vec<AddressPair>>(fields, "allowed_address_pairs")? else {
        return Ok(fields.contains_key("allowed_address_pairs").then(Vec::new));
    };
    let legal = |text: &str| text.parse::<ipnet::IpNet>().is_ok() || text.parse::<std::net::IpAddr>().is_ok();
    if let Some(wrong) = list.iter().find(|p| !legal(&p.ip_address)) {
        return Err(bad(&format!(
            "Invalid input for allowed_address_pairs. Reason: '{}' is not a valid IP address.",
            wrong.ip_address
        )));
    }
    Ok(Some(list))
}

fn check_binding(fields: &Map<String, Value>, caller: &Caller) -> Result<()> {
    let set = |name: &str| fields.get(name).is_some_and(|v| !v.is_null() && *v != "" && *v != json!({}));
    if set("binding:host_id") || set("binding:profile") {
        policy::check(caller, Action::PortBind, None)?;
    }
    Ok(())
}

fn read_new(fields: &Map<String, Value>, caller: &Caller) -> Result<NewPort> {
    check_fields(fields, SETTABLE)?;
    check_binding(fields, caller)?;
    let network_id = field(fields, "network_id")?
        .ok_or_else(|| bad("Failed to parse request. Required attribute 'network_id' not specified"))?;
    Ok(NewPort {
        project_id: project(fields, caller, Action::PortWrite)?,
        network_id,
        name: text(fields, "name")?.unwrap_or_default(),
        description: text(fields, "description")?.unwrap_or_default(),
        admin_state_up: flag(fields, "admin_state_up")?.unwrap_or(true),
        mac: field::<Mac>(fields, "mac_address")?,
        fixed_ips: fixed_ips(fields)?,
        device_id: text(fields, "device_id")?.unwrap_or_default(),
        device_owner: text(fields, "device_owner")?.unwrap_or_default(),
        security_groups: groups(fields)?,
        port_security_enabled: flag(fields, "port_security_enabled")?,
        allowed_address_pairs: pairs(fields)?.unwrap_or_default(),
        vnic_type: text(fields, "binding:vnic_type")?.unwrap_or_else(|| "normal".to_owned()),
    })
}

/// `POST /v2.0/ports`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let read = |fields: &Map<String, Value>| read_new(fields, &ctx.caller);
    let show = |state: &State, id| Some(wire::port(state, state.ports.get(&id)?, ctx.caller.is_admin()));
    super::create(&ctx, ("port", "ports"), body, read, port::create, show).await
}

/// `PUT /v2.0/ports/{id}`
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = id(&path)?;
    let fields = envelope(body, "port")?;
    check_fields(&fields, SETTABLE)?;
    check_binding(&fields, &ctx.caller)?;
    if let Some(name) = ["network_id", "project_id", "tenant_id"].iter().find(|n| fields.contains_key(**n)) {
        return Err(bad(&format!("Cannot update read-only attribute {name}")).into());
    }
    let fixed = ["binding:host_id", "binding:profile", "binding:vnic_type"];
    if let Some(name) =
        fixed.iter().find(|n| fields.get(**n).is_some_and(|v| !v.is_null() && *v != "" && *v != json!({})))
    {
        return Err(bad(&format!("{name} is decided by the cloud and cannot be set.")).into());
    }
    let change = PortChange {
        mac: field(&fields, "mac_address")?,
        name: text(&fields, "name")?,
        description: text(&fields, "description")?,
        admin_state_up: flag(&fields, "admin_state_up")?,
        fixed_ips: fixed_ips(&fields)?,
        device_id: text(&fields, "device_id")?,
        device_owner: text(&fields, "device_owner")?,
        security_groups: groups(&fields)?,
        port_security_enabled: flag(&fields, "port_security_enabled")?,
        allowed_address_pairs: pairs(&fields)?,
    };
    ctx.commit("port update", move |txn, caller| port::update(txn, caller, id, change)).await?;
    let state = ctx.app.store.state();
    let port = port::visible(&state, &ctx.caller, id)?;
    json(200, &json!({"port": wire::port(&state, &port, ctx.caller.is_admin())}))
}

/// `DELETE /v2.0/ports/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = id(&path)?;
    ctx.commit("port delete", move |txn, caller| port::delete(txn, caller, id)).await?;
    empty(204)
}
