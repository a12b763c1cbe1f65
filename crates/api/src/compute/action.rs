//! Server actions: `POST /servers/{id}/action`.

use super::{argument::arguments, console, guest, server_id};
use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::{
    evacuate, migrate, rescue,
    server::{self, ServerChange},
    shelve, suspend,
};
use lenticular_model::{
    ServerId, Txn,
    compute::server::{BootStyle, Server},
    error::{Error, Result},
    policy::Caller,
};
use lenticular_wire::{
    microversion::{Microversion, since},
    request,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// `POST /servers/{id}/action`
pub async fn act(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    let id = server_id(&id)?;
    let Value::Object(fields) = body else {
        return Err(Error::invalid("The request's body must be a JSON object with one action.").into());
    };
    let mut actions = fields.into_iter();
    let (Some((name, args)), None) = (actions.next(), actions.next()) else {
        return Err(Error::invalid("The request's body must name exactly one action.").into());
    };
    // As in Nova, the server is looked up before the action's arguments are read.
    ctx.state.visible::<Server>(&ctx.caller, &id)?;
    match name.as_str() {
        "os-start" | "os-stop" | "reboot" | "pause" | "unpause" | "suspend" | "resume" | "unrescue" => {
            return act_on_guest(&ctx, id, &name, args).await;
        }
        "lock" => {
            let reason = lock_reason(ctx.version, args)?;
            ctx.commit("server lock", move |txn, caller| server::lock(txn, caller, id, reason)).await?;
        }
        "unlock" => {
            ctx.commit("server unlock", move |txn, caller| server::unlock(txn, caller, id)).await?;
        }
        "os-resetState" => {
            let active = reset_state(args)?;
            ctx.commit("server reset state", move |txn, caller| server::reset_state(txn, caller, id, active))
                .await?;
        }
        "forceDelete" => {
            ctx.commit("server delete", move |txn, caller| server::delete(txn, caller, id)).await?;
        }
        "os-migrateLive" | "migrate" | "resize" | "confirmResize" | "revertResize" | "evacuate"
        | "shelve" | "shelveOffload" | "unshelve" => {
            return act_on_place(&ctx, id, &name, args).await;
        }
        "addSecurityGroup" | "removeSecurityGroup" => {
            return super::security_group::change_of_server(&ctx, id, &name, args).await;
        }
        "addFloatingIp" | "removeFloatingIp" => {
            return super::floating_ip::change_of_server(&ctx, id, &name, args).await;
        }
        "addFixedIp" | "removeFixedIp" => {
            return super::interface::change_address(&ctx, id, &name, args).await;
        }
        "changePassword" | "trigger_crash_dump" => return guest::act(ctx, id, &name, args).await,
        "rebuild" => return super::rebuild::rebuild(ctx, id, args).await,
        "rescue" => return super::rescue::rescue(&ctx, id, args).await,
        "createImage" | "createBackup" => return super::snapshot::create(&ctx, id, &name, args).await,
        "restore" => {
            ctx.commit("server restore", move |txn, caller| server::restore(txn, caller, id)).await?;
        }
        "injectNetworkInfo" => {
            let refresh =
                move |txn: &mut Txn<'_>, caller: &Caller| server::inject_network_info(txn, caller, id);
            ctx.commit("server without effect", refresh).await?;
        }
        "resetNetwork" => return super::extension::gone(ctx).await,
        "os-getConsoleOutput" => return console::show_log(&ctx, id, args).await,
        "os-getVNCConsole" | "os-getSPICEConsole" | "os-getRDPConsole" | "os-getSerialConsole" => {
            return console::show_url(&ctx, id, &name, args).await;
        }
        other => {
            let why = format!("There is no such action: {other}");
            return Err(Error::invalid(why).into());
        }
    }
    empty(202)
}

/// Actions that start or stop a guest, or let it stand still.
async fn act_on_guest(ctx: &Ctx, id: ServerId, name: &str, args: Value) -> Handled {
    match name {
        "os-start" => {
            ctx.commit("server start", move |txn, caller| server::start(txn, caller, id)).await?;
        }
        "os-stop" => {
            ctx.commit("server stop", move |txn, caller| server::stop(txn, caller, id)).await?;
        }
        "reboot" => {
            let style = reboot_style(args)?;
            ctx.commit("server reboot", move |txn, caller| server::reboot(txn, caller, id, style)).await?;
        }
        "pause" => {
            ctx.commit("server pause", move |txn, caller| suspend::pause(txn, caller, id)).await?;
        }
        "unpause" => {
            ctx.commit("server unpause", move |txn, caller| suspend::unpause(txn, caller, id)).await?;
        }
        "suspend" => {
            ctx.commit("server suspend", move |txn, caller| suspend::suspend(txn, caller, id)).await?;
        }
        "resume" => {
            ctx.commit("server resume", move |txn, caller| suspend::resume(txn, caller, id)).await?;
        }
        _ => {
            ctx.commit("server unrescue", move |txn, caller| rescue::unrescue(txn, caller, id)).await?;
        }
    }
    empty(202)
}

/// Actions that move a server to another host, or change its size.
async fn act_on_place(ctx: &Ctx, id: ServerId, name: &str, args: Value) -> Handled {
    match name {
        "os-migrateLive" => {
            let host = super::migrate::live_target(ctx.version, arguments(name, args)?)?;
            ctx.commit("server live-migrate", move |txn, caller| {
                migrate::live_migrate(txn, caller, id, host.as_deref())
            })
            .await?;
        }
        "migrate" => {
            let host = super::migrate::cold_target(ctx.version, args)?;
            ctx.commit("server migrate", move |txn, caller| {
                migrate::migrate(txn, caller, id, host.as_deref())
            })
            .await?;
        }
        "resize" => {
            let (flavor, disk_config_manual) = super::migrate::flavor(arguments(name, args)?)?;
            let change = ServerChange { disk_config_manual, ..ServerChange::default() };
            ctx.commit("server resize", move |txn, caller| {
                migrate::resize(txn, caller, id, &flavor)?;
                server::update(txn, caller, id, change)
            })
            .await?;
        }
        "confirmResize" => {
            ctx.commit("server confirm resize", move |txn, caller| migrate::confirm(txn, caller, id)).await?;
            return empty(204);
        }
        "revertResize" => {
            ctx.commit("server revert resize", move |txn, caller| migrate::revert(txn, caller, id)).await?;
        }
        "shelve" => {
            ctx.commit("server shelve", move |txn, caller| shelve::shelve(txn, caller, id)).await?;
        }
        "shelveOffload" => {
            ctx.commit("server shelve offload", move |txn, caller| shelve::offload(txn, caller, id)).await?;
        }
        "unshelve" => {
            let place = super::migrate::shelf_place(ctx.version, args)?;
            ctx.commit("server unshelve", move |txn, caller| shelve::unshelve(txn, caller, id, place))
                .await?;
        }
        _ => return evacuate(ctx, id, args).await,
    }
    empty(202)
}

async fn evacuate(ctx: &Ctx, id: ServerId, args: Value) -> Handled {
    let host = super::migrate::refuge(ctx.version, arguments("evacuate", args)?)?;
    // From this version on, an evacuated server is not started.
    let stopped = ctx.version.has(95);
    ctx.commit("server evacuate", move |txn, caller| {
        evacuate::evacuate(txn, caller, id, host.as_deref(), stopped)
    })
    .await?;
    match ctx.version.has(14) {
        true => empty(200),
        // No password is set: the guest has its key.
        false => json(200, &json!({"adminPass": ""})),
    }
}

fn reboot_style(args: Value) -> Result<BootStyle> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reboot {
        #[serde(rename = "type")]
        style: String,
    }
    let asked: Reboot = request::read(arguments("reboot", args)?)?;
    match asked.style.to_ascii_uppercase().as_str() {
        "SOFT" => Ok(BootStyle::Soft),
        "HARD" => Ok(BootStyle::Hard),
        _ => Err(Error::invalid("Invalid input for field/attribute type. It must be SOFT or HARD.")),
    }
}

fn lock_reason(version: Microversion, args: Value) -> Result<Option<String>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lock {
        #[serde(default)]
        locked_reason: Option<String>,
    }
    let fields = arguments("lock", args)?;
    request::check_version(&fields, &[since("locked_reason", 73)], version)?;
    let asked: Lock = request::read(fields)?;
    if let Some(reason) = &asked.locked_reason {
        request::check_text("locked_reason", reason, 255)?;
        if reason.is_empty() {
            return Err(Error::invalid("Invalid input for field/attribute locked_reason. It is too short."));
        }
    }
    Ok(asked.locked_reason)
}

fn reset_state(args: Value) -> Result<bool> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Reset {
        state: String,
    }
    let asked: Reset = request::read(arguments("os-resetState", args)?)?;
    match asked.state.as_str() {
        "active" => Ok(true),
        "error" => Ok(false),
        _ => Err(Error::invalid("Invalid input for field/attribute state. It must be active or error.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_that_an_action_does_not_have_are_refused() {
        assert_eq!(reboot_style(json!({"type": "Hard"})).unwrap(), BootStyle::Hard);
        for bad in [
            json!(null),
            json!({}),
            json!({"type": "warm"}),
            json!({"type": "SOFT", "when": 1}),
            json!(["SOFT"]),
        ] {
            assert!(reboot_style(bad.clone()).is_err(), "{bad}");
        }
        assert!(reset_state(json!({"state": "active"})).unwrap());
        for bad in [json!(null), json!({"state": "gone"}), json!({"state": "error", "why": ""})] {
            assert!(reset_state(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_lock_has_a_reason_from_its_version_on() {
        let reason = json!({"locked_reason": "mine"});
        assert_eq!(lock_reason(Microversion(73), reason.clone()).unwrap().as_deref(), Some("mine"));
        assert!(lock_reason(Microversion(72), reason).is_err());
        for version in [Microversion(1), Microversion(73)] {
            assert_eq!(lock_reason(version, Value::Null).unwrap(), None);
            assert_eq!(lock_reason(version, json!({})).unwrap(), None);
            assert!(lock_reason(version, json!({"reason": "mine"})).is_err());
            assert!(lock_reason(version, json!({"locked_reason": ""})).is_err());
        }
    }
}
