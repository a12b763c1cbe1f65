//! Network agents: one for each host. An agent connects ports on its host.

use super::{
    fields::bad,
    view::{self, Listed},
};
use crate::{body::Json, ctx::Ctx, fault::Handled};
use axum::extract::Path;
use lenticular_model::{
    HostId,
    error::{Error, Result},
    host::host::Host,
    policy::{self, Action},
};
use lenticular_wire::network as wire;
use std::sync::Arc;

/// `GET /v2.0/agents`: empty for callers who may not see hosts.
pub async fn list(ctx: Ctx) -> Handled {
    let sees = policy::check(&ctx.caller, Action::AgentRead, None).is_ok();
    let hosts = ctx.state.hosts.values().filter(|_| sees);
    let items = hosts.map(|h| wire::agent::view(&ctx.state, h)).collect();
    view::listing(&ctx, &Listed::plain("agents", "agents"), items)
}

/// The host of an agent that the caller may see.
fn host_of(ctx: &Ctx, path: &str) -> Result<Arc<Host>> {
    let missing = || Error::not_found("Agent", path).coded("AgentNotFound");
    policy::check(&ctx.caller, Action::AgentRead, None).map_err(|_| missing())?;
    let id: HostId = path.parse().map_err(|_| missing())?;
    ctx.state.hosts.get(&id).cloned().ok_or_else(missing)
}

/// `GET /v2.0/agents/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let host = host_of(&ctx, &path)?;
    view::one(&ctx, "agent", wire::agent::view(&ctx.state, &host))
}

/// `PUT /v2.0/agents/{id}`: as with Neutron on OVN, no field can be set.
pub async fn update(ctx: Ctx, Path(path): Path<String>, Json(_): Json) -> Handled {
    let host = host_of(&ctx, &path)?;
    let why = format!(
        "Bad agent request: an OVN agent cannot be changed. Enable and disable its host {} as a compute service.",
        host.name
    );
    Err(bad(why).coded("BadRequest").into())
}

/// `DELETE /v2.0/agents/{id}`: refused, because the agent exists as long as its host.
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let host = host_of(&ctx, &path)?;
    let why = format!("Agent {path} belongs to host {}. Retire the host instead.", host.name);
    Err(Error::conflict(why).coded("AgentInUse").into())
}
