//! The state of the cloud: which hosts take servers, why others do not, and what operators overrule.

use super::{host, readiness::overrides};
use crate::{ctx::Ctx, fault::Handled, respond::json};
use lenticular_model::{
    State,
    host::{host::Host, readiness},
    policy::{self, Action},
};
use lenticular_wire::operator::{ClosedFor, StatusView};
use std::collections::{BTreeMap, BTreeSet};

/// `GET /operator/v1/status`
pub async fn show(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::OperatorRead, None)?;
    json(200, &status(&ctx.state))
}

fn status(state: &State) -> StatusView {
    let mut closed: BTreeMap<(String, String), ClosedFor> = BTreeMap::new();
    let mut ready = 0;
    let mut close = |what: &str, host: &Host, why: &str| {
        // Hosts with the same reason stand together.
        let group = closed.entry((what.to_owned(), why.to_owned()));
        let new = || ClosedFor { what: what.to_owned(), hosts: Vec::new(), why: why.to_owned() };
        group.or_insert_with(new).hosts.push(host.name.clone());
    };
    for one in state.hosts_by_name() {
        let view = host::view(state, one);
        match view.state.as_str() {
            "up" => ready += 1,
            "not ready" => {
                let standing = readiness::of_host(state, one).into_iter().filter(|line| !line.overruled);
                standing.for_each(|line| close(&line.name, one, &line.text));
            }
            other => close(other, one, view.reason.as_deref().unwrap_or("no reason given")),
        }
    }
    let zones: BTreeSet<&str> = state.hosts.values().map(|host| host.zone.as_str()).collect();
    let cut_off = zones.into_iter().filter_map(|zone| {
        let (failing, all) = readiness::cut_off(state, zone)?;
        Some(format!(
            "{failing} of {all} hosts of zone {zone} reach no other host. So many at once are one event of the network \
             between hosts, and none of them is closed for it."
        ))
    });
    StatusView {
        events: cut_off.collect(),
        hosts: state.hosts.len(),
        ready,
        closed: closed.into_values().collect(),
        overrides: state.hosts_by_name().flat_map(|host| overrides(state, host)).collect(),
    }
}
