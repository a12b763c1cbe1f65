//! Subnets.

use super::{bad, check_fields, field, flag, number, project, text, view};
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
};
use axum::extract::Path;
use ipnet::IpNet;
use lenticular_control::command::{
    network,
    subnet::{self, Gateway, NewSubnet, SubnetChange},
};
use lenticular_model::{
    error::{Error, Result},
    policy::{self, Action, Caller},
    subnet::{HostRoute, Pool},
    State, SubnetId,
};
use lenticular_wire::{network as wire, request::envelope};
use serde_json::{json, Map, Value};
use std::net::IpAddr;

const SETTABLE: &[&str] = &[
    "name",
    "description",
    "network_id",
    "project_id",
    "tenant_id",
    "ip_version",
    "cidr",
    "gateway_ip",
    "enable_dhcp",
    "allocation_pools",
    "dns_nameservers",
    "host_routes",
    "ipv6_ra_mode",
    "ipv6_address_mode",
    "subnetpool_id",
    "prefixlen",
    "use_default_subnetpool",
    "service_types",
    "dns_publish_fixed_ip",
    "segment_id",
];

fn id(text: &str) -> Result<SubnetId> {
    text.parse().map_err(|_| Error::not_found("Subnet", text).coded("SubnetNotFound"))
}

/// `GET /v2.0/subnets`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let seen = ctx.state.subnets.values().filter(|s| subnet::visible(&ctx.state, &ctx.caller, s.id).is_ok());
    view::listing(&ctx, "subnets", "subnets", seen.map(|s| wire::subnet(s)).collect())
}

/// `GET /v2.0/subnets/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let subnet = subnet::visible(&ctx.state, &ctx.caller, id(&path)?)?;
    view::one(&ctx, "subnet", wire::subnet(&subnet))
}

fn addresses(fields: &Map<String, Value>, name: &str) -> Result<Option<Vec<IpAddr>>> {
    let Some(list) = field::<Vec<String>>(fields, name)? else { return Ok(None) };
    let read = |text: &String| {
        text.parse().map_err(|_| {
            bad(&format!("Invalid input for {name}. Reason: '{text}' is not a valid IP address."))
        })
    };
    list.iter().map(read).collect::<Result<_>>().map(Some)
}

fn pools(fields: &Map<String, Value>) -> Result<Option<Vec<Pool>>> {
    field::<Vec<Pool>>(fields, "allocation_pools")
}

fn routes(fields: &Map<String, Value>) -> Result<Option<Vec<HostRoute>>> {
    field::<Vec<HostRoute>>(fields, "host_routes")
}

fn check_family(cidr: &IpNet, dns: &[IpAddr], hops: &[HostRoute]) -> Result<()> {
    let v4 = cidr.addr().is_ipv4();
    if let Some(wrong) = hops.iter().find(|r| r.nexthop.is_ipv4() != v4) {
        return Err(bad(&format!(
            "Invalid input for operation: nexthop {} is of another IP version.",
            wrong.nexthop
        )));
    }
    if dns.len() > 5 {
        return Err(bad("Unable to complete operation. The number of DNS nameservers exceeds the limit 5.")
            .coded("DNSNameServersExhausted"));
    }
    Ok(())
}

fn read_new(fields: &Map<String, Value>, caller: &Caller) -> Result<NewSubnet> {
    check_fields(fields, SETTABLE)?;
    if field::<String>(fields, "subnetpool_id")?.is_some()
        || flag(fields, "use_default_subnetpool")? == Some(true)
    {
        return Err(bad("Subnet pools are not supported by this cloud yet: name a cidr."));
    }
    let network_id = field(fields, "network_id")?
        .ok_or_else(|| bad("Failed to parse request. Required attribute 'network_id' not specified"))?;
    let text_cidr: String = field(fields, "cidr")?
        .ok_or_else(|| bad("Failed to parse request. Required attribute 'cidr' not specified"))?;
    let not_cidr =
        || bad(&format!("Invalid input for cidr. Reason: '{text_cidr}' is not a valid IP subnet."));
    let cidr: IpNet = match text_cidr.parse() {
        Ok(cidr) => cidr,
        Err(_) => text_cidr.parse::<IpAddr>().map(IpNet::from).map_err(|_| not_cidr())?,
    };
    let version = number::<u8>(fields, "ip_version")?
        .ok_or_else(|| bad("Failed to parse request. Required attribute 'ip_version' not specified"))?;
    if (version == 4) != cidr.addr().is_ipv4() || !matches!(version, 4 | 6) {
        return Err(bad(&format!(
            "Invalid input for operation: cidr {text_cidr} does not match the ip_version {version}."
        ))
        .coded("InvalidInput"));
    }
    let gateway = match fields.get("gateway_ip") {
        None => Gateway::First,
        Some(Value::Null) => Gateway::None,
        Some(_) => match addresses_one(fields, "gateway_ip")? {
            Some(address) if address.is_unspecified() => Gateway::None,
            Some(address) => Gateway::At(address),
            None => Gateway::First,
        },
    };
    let dns_nameservers = addresses(fields, "dns_nameservers")?.unwrap_or_default();
    let host_routes = routes(fields)?.unwrap_or_default();
    check_family(&cidr, &dns_nameservers, &host_routes)?;
    let project_id = project(fields, caller, Action::NetworkWrite)?;
    Ok(NewSubnet {
        project_id,
        network_id,
        name: text(fields, "name")?.unwrap_or_default(),
        description: text(fields, "description")?.unwrap_or_default(),
        cidr,
        gateway,
        enable_dhcp: flag(fields, "enable_dhcp")?.unwrap_or(true),
        pools: pools(fields)?.filter(|p| !p.is_empty()),
        dns_nameservers,
        host_routes,
        ipv6_ra_mode: text(fields, "ipv6_ra_mode")?,
        ipv6_address_mode: text(fields, "ipv6_address_mode")?,
    })
}

fn addresses_one(fields: &Map<String, Value>, name: &str) -> Result<Option<IpAddr>> {
    let Some(text) = field::<String>(fields, name)? else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| bad(&format!("Invalid input for {name}. Reason: '{text}' is not a valid IP address.")))
}

/// `POST /v2.0/subnets`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    let read = |fields: &Map<String, Value>| {
        let mut new = read_new(fields, &ctx.caller)?;
        // What an admin adds to somebody's network is that somebody's.
        let owner = network::visible(&ctx.state, &ctx.caller, new.network_id)?;
        if !fields.contains_key("project_id") && !fields.contains_key("tenant_id") {
            new.project_id = owner.project_id;
        }
        Ok(new)
    };
    let show = |state: &State, id| state.subnets.get(&id).map(|s| wire::subnet(s));
    super::create(&ctx, ("subnet", "subnets"), body, read, subnet::create, show).await
}

/// `PUT /v2.0/subnets/{id}`
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = id(&path)?;
    let fields = envelope(body, "subnet")?;
    let fixed =
        ["network_id", "cidr", "ip_version", "project_id", "tenant_id", "ipv6_ra_mode", "ipv6_address_mode"];
    if let Some(name) = fixed.iter().find(|name| fields.contains_key(**name)) {
        return Err(bad(&format!("Cannot update read-only attribute {name}")).into());
    }
    check_fields(&fields, SETTABLE)?;
    let old = subnet::visible(&ctx.state, &ctx.caller, id)?;
    let dns_nameservers = addresses(&fields, "dns_nameservers")?;
    let host_routes = routes(&fields)?;
    check_family(
        &old.cidr,
        dns_nameservers.as_deref().unwrap_or(&[]),
        host_routes.as_deref().unwrap_or(&[]),
    )?;
    let change = SubnetChange {
        name: text(&fields, "name")?,
        description: text(&fields, "description")?,
        gateway: match fields.get("gateway_ip") {
            None => None,
            Some(_) => Some(addresses_one(&fields, "gateway_ip")?),
        },
        enable_dhcp: flag(&fields, "enable_dhcp")?,
        pools: pools(&fields)?,
        dns_nameservers,
        host_routes,
    };
    ctx.commit("subnet update", move |txn, caller| subnet::update(txn, caller, id, change)).await?;
    let state = ctx.app.store.state();
    let subnet = subnet::visible(&state, &ctx.caller, id)?;
    json(200, &json!({"subnet": wire::subnet(&subnet)}))
}

/// `DELETE /v2.0/subnets/{id}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = id(&path)?;
    ctx.commit("subnet delete", move |txn, caller| subnet::delete(txn, caller, id)).await?;
    empty(204)
}
