//! What can be done to a server by `POST /servers/{id}/action`.

use super::server_id;
use crate::{
    app::{empty, json},
    body::Json,
    ctx::Ctx,
    fault::Handled,
    limits::{CONSOLE_BYTES_MAX, QUESTION_TIMEOUT},
};
use axum::extract::Path;
use lenticular_control::command::server;
use lenticular_model::{
    error::{Error, Result},
    policy::{self, Action},
    server::BootStyle,
    ServerId,
};
use lenticular_wire::agent::Ask;
use serde_json::{json, Value};

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
    // The server is looked for before the action's arguments are read, as Nova does.
    server::visible(&ctx.state, &ctx.caller, id)?;
    match name.as_str() {
        "os-start" => {
            ctx.commit("server start", move |txn, caller| server::start(txn, caller, id)).await?;
        }
        "os-stop" => {
            ctx.commit("server stop", move |txn, caller| server::stop(txn, caller, id)).await?;
        }
        "reboot" => {
            let style = reboot_style(&args)?;
            ctx.commit("server reboot", move |txn, caller| server::reboot(txn, caller, id, style)).await?;
        }
        "lock" => {
            let reason = lock_reason(&ctx, &args)?;
            ctx.commit("server lock", move |txn, caller| server::lock(txn, caller, id, reason)).await?;
        }
        "unlock" => {
            ctx.commit("server unlock", move |txn, caller| server::unlock(txn, caller, id)).await?;
        }
        "os-resetState" => {
            let active = reset_state(&args)?;
            ctx.commit("server reset state", move |txn, caller| server::reset_state(txn, caller, id, active))
                .await?;
        }
        "forceDelete" => {
            ctx.commit("server delete", move |txn, caller| server::delete(txn, caller, id)).await?;
        }
        "os-getConsoleOutput" => return console(&ctx, id, &args).await,
        other => {
            let why = format!("There is no such action: {other}");
            return Err(Error::invalid(why).into());
        }
    }
    empty(202)
}

fn reboot_style(args: &Value) -> Result<BootStyle> {
    match args.get("type").and_then(Value::as_str).map(str::to_ascii_uppercase).as_deref() {
        Some("SOFT") => Ok(BootStyle::Soft),
        Some("HARD") => Ok(BootStyle::Hard),
        _ => Err(Error::invalid("Invalid input for field/attribute type. It must be SOFT or HARD.")),
    }
}

fn lock_reason(ctx: &Ctx, args: &Value) -> Result<Option<String>> {
    match args.get("locked_reason") {
        None => Ok(None),
        Some(Value::String(reason)) if ctx.version.has(73) => {
            lenticular_wire::request::check_text("locked_reason", reason, 255)?;
            Ok(Some(reason.clone()))
        }
        Some(_) => {
            Err(Error::invalid("Additional properties are not allowed ('locked_reason' was unexpected)"))
        }
    }
}

fn reset_state(args: &Value) -> Result<bool> {
    match args.get("state").and_then(Value::as_str) {
        Some("active") => Ok(true),
        Some("error") => Ok(false),
        _ => Err(Error::invalid("Invalid input for field/attribute state. It must be active or error.")),
    }
}

async fn console(ctx: &Ctx, id: ServerId, args: &Value) -> Handled {
    let server = server::visible(&ctx.state, &ctx.caller, id)?;
    policy::check(&ctx.caller, Action::ServerConsole, Some(server.project_id))?;
    let lines = match args.get("length") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let number = value.as_i64().or_else(|| value.as_str()?.parse().ok());
            let number = number.filter(|n| *n >= -1);
            let number = number.ok_or_else(|| Error::invalid("Invalid input for field/attribute length."))?;
            u32::try_from(number).ok()
        }
    };
    let not_ready =
        || Error::conflict(format!("Instance {id} is not ready: it has not run on any host yet."));
    let host = server.host_id.filter(|_| server.launched_at.is_some()).ok_or_else(not_ready)?;
    let text = ctx.app.links.ask(host, Ask::Console { server_id: id, lines }, QUESTION_TIMEOUT).await?;
    let mut start = text.len().saturating_sub(CONSOLE_BYTES_MAX);
    while !text.is_char_boundary(start) {
        start += 1;
    }
    json(200, &json!({"output": &text[start..]}))
}
