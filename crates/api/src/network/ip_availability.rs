//! The number of networks' addresses, and how many are in use.

use super::{
    resource,
    view::{self, Listed},
};
use crate::{ctx::Ctx, fault::Handled};
use axum::extract::Path;
use lenticular_model::{
    network::network::Network,
    policy::{self, Action},
};
use lenticular_wire::network as wire;

/// `GET /v2.0/network-ip-availabilities`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::IpAvailabilityRead, None)?;
    let versions: Vec<u8> = ctx.query.all("ip_version").filter_map(|v| v.parse().ok()).collect();
    let mut items: Vec<_> =
        ctx.state.networks.values().map(|n| wire::ip_availability::view(&ctx.state, n)).collect();
    if !versions.is_empty() {
        items.retain(|item| {
            let subnets = item["subnet_ip_availability"].as_array().into_iter().flatten();
            subnets
                .filter_map(|s| s["ip_version"].as_u64())
                .any(|v| versions.iter().any(|w| u64::from(*w) == v))
        });
    }
    view::listing(&ctx, &Listed::plain("network_ip_availabilities", "network-ip-availabilities"), items)
}

/// `GET /v2.0/network-ip-availabilities/{network}`
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::IpAvailabilityRead, None)?;
    let network =
        ctx.state.visible::<Network>(&ctx.caller, &resource::id::<super::network::Network>(&path)?)?;
    view::one(&ctx, "network_ip_availability", wire::ip_availability::view(&ctx.state, &network))
}
