//! Availability zones for networks and routers: the hosts' zones.

use super::view::{self, Listed};
use crate::{ctx::Ctx, fault::Handled};
use lenticular_model::policy::{self, Action};
use serde_json::json;
use std::collections::BTreeSet;

/// `GET /v2.0/availability_zones`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let zones: BTreeSet<&str> = ctx.state.hosts.values().map(|h| h.zone.as_str()).collect();
    let lines = zones.iter().flat_map(|zone| {
        ["network", "router"].map(|what| json!({"name": zone, "resource": what, "state": "available"}))
    });
    let items = lines.collect();
    view::listing(&ctx, &Listed::plain("availability_zones", "availability_zones"), items)
}
