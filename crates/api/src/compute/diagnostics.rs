//! What a server's guest does on its host (`/servers/{id}/diagnostics`), and its CPU topology.

use super::{server::readable, server_id};
use crate::{ctx::Ctx, fault::Handled, limits::QUESTION_TIMEOUT, respond::json};
use axum::extract::Path;
use lenticular_model::{
    compute::server::Server,
    error::Error,
    host::host::PROTOCOL_WITH_QUESTIONS,
    policy::{self, Action},
};
use lenticular_wire::{
    agent::{Diagnostics, Subject},
    compute::diagnostics as wire,
};
use serde_json::json;

/// `GET /servers/{id}/diagnostics`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = server_id(&id)?;
    let server = ctx.state.visible::<Server>(&ctx.caller, &id)?;
    policy::check(&ctx.caller, Action::ServerDiagnostics, Some(server.project_id))?;
    let host = server.host_id.and_then(|host| ctx.state.hosts.get(&host)).filter(|_| server.powered);
    let host = host.ok_or_else(|| {
        Error::conflict(format!(
            "Cannot 'get_diagnostics' instance {id} while its power_state is {}: its guest does not run.",
            server.power_state()
        ))
    })?;
    if host.protocol < PROTOCOL_WITH_QUESTIONS {
        return Err(Error::not_implemented(format!(
            "The agent of the server's host is too old for that (version {}). Ask the operator to upgrade it.",
            host.protocol
        ))
        .into());
    }
    let text = ctx.app.links.ask(host.id, Subject::Diagnostics { server_id: id }, QUESTION_TIMEOUT).await?;
    let seen: Diagnostics = serde_json::from_str(&text).map_err(Error::internal)?;
    let config_drive = server.has_config_drive(&ctx.state);
    json(200, &wire::view(&seen, &server, config_drive, &host.hypervisor, ctx.version))
}

/// `GET /servers/{id}/topology` (from 2.78): guests of this cloud have no NUMA nodes of their own.
pub async fn topology(ctx: Ctx, Path(id): Path<String>) -> Handled {
    if !ctx.version.has(78) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let server = readable(&ctx, &id)?;
    policy::check(&ctx.caller, Action::ServerTopology, Some(server.project_id))?;
    json(200, &json!({"nodes": [], "pagesize_kb": null}))
}
