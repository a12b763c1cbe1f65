//! Network agents: what plugs ports on hosts. There is one for each host.

use super::view::{self, Listed};
use crate::{ctx::Ctx, fault::Handled};
use axum::extract::Path;
use lenticular_model::{
    error::Error,
    policy::{self, Action},
    HostId,
};
use lenticular_wire::network as wire;

/// `GET /v2.0/agents`: nothing for those who do not see hosts.
pub async fn list(ctx: Ctx) -> Handled {
    let sees = policy::check(&ctx.caller, Action::AgentRead, None).is_ok();
    let hosts = ctx.state.hosts.values().filter(|_| sees);
    let items = hosts.map(|h| wire::agent::view(&ctx.state, h)).collect();
    view::listing(&ctx, &Listed::plain("agents", "agents"), items)
}

/// `GET /v2.0/agents/{id}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let missing = || Error::not_found("Agent", &path).coded("AgentNotFound");
    policy::check(&ctx.caller, Action::AgentRead, None).map_err(|_| missing())?;
    let id: HostId = path.parse().map_err(|_| missing())?;
    let host = ctx.state.hosts.get(&id).ok_or_else(missing)?;
    view::one(&ctx, "agent", wire::agent::view(&ctx.state, host))
}
