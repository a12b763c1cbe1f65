//! Fencing: an operator or a driver declares that a host is off, so that nothing runs there any more.

use crate::{body::Message, ctx::Ctx, fault::Handled, operator::host, respond::json};
use axum::extract::Path;
use lenticular_control::command::host::fence as command;
use lenticular_model::{
    HostId,
    error::{Error, Result},
    host::host::{Host, Proof},
    policy::{self, Action},
};
use lenticular_wire::operator::FenceAsk;
use std::{collections::BTreeMap, future::Future, pin::Pin, sync::Arc};

/// A driver's future answer: its report for the record, or why the host may not be off.
pub type Fencing<'a> = Pin<Box<dyn Future<Output = Result<String, String>> + Send + 'a>>;

/// Switches hosts off. A driver reports success only if it has seen that the host is off. A caller may repeat the
/// call at any time; the driver keeps its own deadline.
pub trait FenceDriver: Send + Sync {
    /// Switches the host off, and checks that it is off.
    fn off<'a>(&'a self, host: &'a Host) -> Fencing<'a>;
}

/// The drivers, by name.
pub type FenceDrivers = BTreeMap<String, Arc<dyn FenceDriver>>;

/// `POST /operator/v1/hosts/{host}/fence`
pub async fn declare(ctx: Ctx, Path(name): Path<String>, Message(ask): Message<FenceAsk>) -> Handled {
    let id =
        ctx.state.host_named(&name).map(|host| host.id).ok_or_else(|| Error::not_found("Host", &name))?;
    let proof = match &ask.driver {
        Some(driver) if !ask.lift => Some(switch_off(&ctx, id, driver).await?),
        _ => None,
    };
    let (verb, lost) =
        (if ask.lift { "unfence" } else { "fence" }, if ask.disks_lost { ", disks lost" } else { "" });
    let by = ask.driver.as_ref().map(|driver| format!(", by {driver}")).unwrap_or_default();
    let why = format!("{verb} host {name}{lost}{by}");
    ctx.commit(&why, move |txn, caller| match ask.lift {
        true => command::lift(txn, caller, id),
        false => command::fence(txn, caller, id, ask.disks_lost, proof),
    })
    .await?;
    let state = ctx.app.store.state();
    let host = state.hosts.get(&id).ok_or_else(|| Error::not_found("Host", &name))?;
    json(200, &host::view(&state, host))
}

/// Makes a driver switch a host off.
async fn switch_off(ctx: &Ctx, id: HostId, name: &str) -> Result<Proof> {
    policy::check(&ctx.caller, Action::HostFence, None)?;
    let driver = ctx.app.config.fencing.get(name).ok_or_else(|| {
        let known: Vec<&str> = ctx.app.config.fencing.keys().map(String::as_str).collect();
        Error::invalid(format!(
            "There is no fencing driver '{name}'; the control plane's configuration has: {}.",
            if known.is_empty() { "none".to_owned() } else { known.join(", ") }
        ))
    })?;
    let host = ctx.state.hosts.get(&id).ok_or_else(|| Error::not_found("Host", id))?;
    let said = driver.off(host).await.map_err(|why| {
        Error::conflict(format!(
            "It is not certain that host {} is off, so nothing was changed. The driver '{name}' says: {why}",
            host.name
        ))
    })?;
    tracing::warn!(host = host.name, driver = name, said, "a host was switched off");
    Ok(Proof { driver: name.to_owned(), said })
}
