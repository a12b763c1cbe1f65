//! Servers: create, show, change, delete, and the resources of a server.

use super::{list::context, server_id};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::{
    extract::Path,
    http::{HeaderValue, header},
};
use lenticular_control::command::compute::{
    server::{self, ServerChange},
    server_create::{self, NewServers},
};
use lenticular_model::{
    Kind, ServerId,
    compute::server::Server,
    error::{Error, Result},
    network::port::Port,
    policy::{self, Action},
};
use lenticular_wire::{
    compute::{
        query::VOLUME_ATTACHMENTS,
        server::{Addresses, Context, Full},
        server_create::{self as wire, CreateServer, DiskConfig},
    },
    request::{self, de_present},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{collections::BTreeMap, num::NonZeroU32, sync::Arc};

/// `POST /servers`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    // Scheduler hints stand beside the server, under one of two names.
    let asked = wire::read(body, ctx.version)?;
    let password = match asked.admin_pass.clone() {
        Some(password) => password,
        None => random_password()?,
    };
    let with_reservation = asked.return_reservation_id;
    // As in Nova, the answer has the requested groups under the requested names.
    let groups: Vec<Value> = match &asked.security_groups {
        Some(groups) => groups.iter().map(|group| json!({"name": group.name})).collect(),
        None => vec![json!({"name": "default"})],
    };
    let new = to_command(&ctx, asked)?;
    let ids = ctx.commit("server create", move |txn, caller| server_create::create(txn, caller, new)).await?;
    let state = ctx.app.store.state();
    let first = ids.first().and_then(|id| state.servers.get(id));
    let first = first.ok_or_else(|| Error::internal("the created server is not in the state"))?;
    if with_reservation {
        return json(202, &json!({"reservation_id": first.reservation_id}));
    }
    let manual = if first.disk_config_manual { "MANUAL" } else { "AUTO" };
    let url = ctx.url();
    let body = json!({"server": {
        "id": first.id,
        "links": [
            {"rel": "self", "href": format!("{url}/compute/v2.1/servers/{}", first.id)},
            {"rel": "bookmark", "href": format!("{url}/compute/servers/{}", first.id)},
        ],
        "OS-DCF:diskConfig": manual,
        "security_groups": groups,
        "adminPass": password,
    }});
    let mut response = json(202, &body)?;
    if let Ok(location) = HeaderValue::from_str(&format!("{url}/compute/v2.1/servers/{}", first.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

pub(super) fn random_password() -> Result<String> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes).map_err(Error::internal)?;
    let alphabet = b"abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    Ok(bytes.iter().map(|b| char::from(alphabet[usize::from(*b) % alphabet.len()])).collect())
}

fn to_command(ctx: &Ctx, asked: CreateServer) -> Result<NewServers> {
    // `zone:host` forces a host; operators' tools still use this form.
    let (zone, zone_host) = match asked.availability_zone.as_deref() {
        None => (None, None),
        Some(text) => match text.split_once(':') {
            Some((zone, host)) => {
                // The third part names a node. Here the node is the host itself.
                let host = match host.split_once(':') {
                    Some(("", node)) => node,
                    Some((host, _)) => host,
                    None => host,
                };
                (
                    Some(zone.to_owned()).filter(|z| !z.is_empty()),
                    Some(host.to_owned()).filter(|h| !h.is_empty()),
                )
            }
            None => (Some(text.to_owned()), None),
        },
    };
    let min_count = asked.min_count.unwrap_or(1);
    Ok(NewServers {
        nic_tags: asked.nic_tags(),
        disk_tag: asked.disk_tag(),
        files: asked.files()?,
        image_id: asked.image_id()?,
        flavor_id: asked.flavor_id()?.as_str().into(),
        networks: asked.networks(ctx.version)?,
        name: asked.name,
        description: asked.description,
        hostname: asked.hostname,
        key_name: asked.key_name,
        security_groups: asked.security_groups.into_iter().flatten().map(|g| g.name).collect(),
        user_data: asked.user_data.filter(|d| !d.is_empty()),
        metadata: asked.metadata.unwrap_or_default(),
        tags: asked.tags,
        config_drive: asked.config_drive,
        zone,
        group: asked.group,
        hints: asked.hints,
        host: asked.host.or(asked.hypervisor_hostname).or(zone_host),
        disk_config_manual: asked.disk_config == Some(DiskConfig::Manual),
        access_ipv4: asked.access_ipv4.unwrap_or_default(),
        access_ipv6: asked.access_ipv6.unwrap_or_default(),
        min_count,
        max_count: asked.max_count.unwrap_or(min_count),
    })
}

/// The user data of those servers that have any. Only admins get it.
pub async fn user_data_of(ctx: &Ctx, servers: &[Arc<Server>]) -> Result<BTreeMap<ServerId, String>> {
    let mut found = BTreeMap::new();
    if !(ctx.caller.is_admin() && ctx.version.has(3)) {
        return Ok(found);
    }
    for server in servers.iter().filter(|s| s.has_user_data) {
        if let Some(doc) = ctx.app.store.get(Kind::UserData, &server.id.to_string()).await? {
            found.insert(server.id, serde_json::from_str(&doc).map_err(Error::internal)?);
        }
    }
    Ok(found)
}

/// The server, if the caller may see it.
pub fn readable(ctx: &Ctx, text: &str) -> Result<Arc<Server>> {
    let server = ctx.state.visible::<Server>(&ctx.caller, &server_id(text)?)?;
    policy::check(&ctx.caller, Action::ServerRead, Some(server.project_id))?;
    Ok(server)
}

async fn view(ctx: &Ctx, server: &Arc<Server>) -> Result<Value> {
    let user_data = user_data_of(ctx, std::slice::from_ref(server)).await?;
    let context = Context { single: true, ..context(ctx, Some(&user_data)) };
    serde_json::to_value(Full(context, server)).map_err(Error::internal)
}

/// A server as the answer to a change shows it.
pub(super) async fn changed_view(ctx: &Ctx, server: &Arc<Server>) -> Result<Value> {
    let user_data = user_data_of(ctx, std::slice::from_ref(server)).await?;
    let context = Context { single: true, changed: true, ..context(ctx, Some(&user_data)) };
    serde_json::to_value(Full(context, server)).map_err(Error::internal)
}

/// `GET /servers/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    json(200, &json!({"server": view(&ctx, &server).await?}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpdateServer {
    #[serde(default)]
    name: Option<String>,
    #[serde(default, deserialize_with = "de_present")]
    description: Option<Option<String>>,
    #[serde(default)]
    hostname: Option<String>,
    #[serde(rename = "accessIPv4", default)]
    access_ipv4: Option<String>,
    #[serde(rename = "accessIPv6", default)]
    access_ipv6: Option<String>,
    #[serde(rename = "OS-DCF:diskConfig", default)]
    disk_config: Option<DiskConfig>,
}

/// `PUT /servers/{id}`
pub async fn update(mut ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let id = server_id(&id)?;
    let fields = request::sole(body, "server")?;
    request::check_version(&fields, wire::FIELDS, ctx.version)?;
    let asked: UpdateServer = request::read(fields)?;
    if let Some(name) = &asked.name {
        request::check_name("name", name)?;
    }
    if let Some(Some(description)) = &asked.description {
        request::check_description(description, 255)?;
    }
    if let Some(hostname) = &asked.hostname {
        wire::check_hostname(hostname, ctx.version)?;
    }
    let change = ServerChange {
        name: asked.name,
        description: asked.description,
        hostname: asked.hostname,
        access_ipv4: wire::access("accessIPv4", asked.access_ipv4, true)?,
        access_ipv6: wire::access("accessIPv6", asked.access_ipv6, false)?,
        disk_config_manual: asked.disk_config.map(|d| d == DiskConfig::Manual),
    };
    ctx.commit("server update", move |txn, caller| server::update(txn, caller, id, change)).await?;
    ctx.state = ctx.app.store.state();
    let server = ctx.state.visible::<Server>(&ctx.caller, &id)?;
    json(200, &json!({"server": changed_view(&ctx, &server).await?}))
}

/// `DELETE /servers/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = server_id(&id)?;
    let keep_s = NonZeroU32::new(ctx.app.config.settings.compute.reclaim_instance_interval);
    ctx.commit("server delete", move |txn, caller| match keep_s {
        Some(keep_s) => server::soft_delete(txn, caller, id, keep_s),
        None => server::delete(txn, caller, id),
    })
    .await?;
    empty(204)
}

/// `GET /servers/{id}/ips`
pub async fn ips(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let server = readable(&ctx, &id)?;
    let ports: Vec<&Arc<Port>> = ctx.state.ports_of_server(server.id).collect();
    json(200, &json!({"addresses": Addresses { state: &ctx.state, ports: &ports, plain: true }}))
}

/// `GET /servers/{id}/ips/{network}`
pub async fn ips_of(ctx: Ctx, Path((id, network)): Path<(String, String)>) -> Handled {
    let server = readable(&ctx, &id)?;
    let ports: Vec<&Arc<Port>> = ctx.state.ports_of_server(server.id).collect();
    let all = Addresses { state: &ctx.state, ports: &ports, plain: true };
    let all = serde_json::to_value(all).map_err(Error::internal)?;
    match all.get(&network) {
        Some(list) => json(200, &json!({(network): list})),
        None => Err(Error::not_found_text("Instance is not a member of specified network").into()),
    }
}

/// `GET /servers/{id}/os-volume_attachments`: there are no volumes yet.
pub async fn volumes(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let ctx = ctx.asking(&VOLUME_ATTACHMENTS)?;
    readable(&ctx, &id)?;
    json(200, &json!({"volumeAttachments": []}))
}
