//! A server's consoles: the log of its serial line, URLs of its screen and its serial line, and what their tokens say.
//!
//! | protocol | type | answer |
//! |---|---|---|
//! | `vnc` | `novnc` | the URL of a page |
//! | `serial` | `serial` | the URL of a WebSocket |
//! | any other pair that Nova knows | | 400: this cloud has no such console |

use super::{argument::arguments, retired, server_id};
use crate::{
    body::Json,
    console::{SOCKET, VNC_PAGE, host::host_with_console, token::ConsoleToken},
    ctx::Ctx,
    fault::Handled,
    limits::{CONSOLE_BYTES_MAX, QUESTION_TIMEOUT},
    query::encode,
    respond::json,
};
use axum::extract::Path;
use lenticular_model::{
    ServerId,
    compute::server::Server,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    agent::{ConsoleKind, Subject},
    microversion::Microversion,
    request,
};
use serde::Deserialize;
use serde_json::{Value, json};

/// Nova's protocols and the types of each, with the first version that knows the type.
const TYPES: &[(&str, &str, u16)] = &[
    ("vnc", "novnc", 6),
    ("vnc", "xvpvnc", 6),
    ("spice", "spice-html5", 6),
    ("spice", "spice-direct", 99),
    ("rdp", "rdp-html5", 6),
    ("serial", "serial", 6),
    ("mks", "webmks", 8),
];

/// `POST /servers/{id}/remote-consoles`
pub async fn create(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    if !ctx.version.has(6) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let id = server_id(&id)?;
    let (protocol, kind) = asked_type(ctx.version, body)?;
    let url = url(&ctx, id, &kind).await?;
    json(200, &json!({"remote_console": {"protocol": protocol, "type": kind, "url": url}}))
}

/// The console of a request's body: its protocol and type.
fn asked_type(version: Microversion, body: Value) -> Result<(String, String)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Body {
        remote_console: Asked,
    }
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        protocol: String,
        #[serde(rename = "type")]
        kind: String,
    }
    let Body { remote_console: Asked { protocol, kind } } =
        request::read(arguments("remote_console", body)?)?;
    let known =
        |(of, name, since): &(&str, &str, u16)| *of == protocol && *name == kind && version.has(*since);
    match TYPES.iter().any(known) {
        true => Ok((protocol, kind)),
        false => Err(Error::invalid(format!(
            "Invalid input for field/attribute remote_console. There is no console of protocol '{protocol}' and type \
             '{kind}'. Ask for vnc with novnc, or for serial with serial."
        ))),
    }
}

/// The URL by an action, which versions before 2.6 have.
pub(super) async fn show_url(ctx: &Ctx, id: ServerId, action: &str, args: Value) -> Handled {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        #[serde(rename = "type")]
        kind: String,
    }
    retired(ctx, 6)?;
    let asked: Asked = request::read(arguments(action, args)?)?;
    let protocol = match action {
        "os-getVNCConsole" => "vnc",
        "os-getSPICEConsole" => "spice",
        "os-getRDPConsole" => "rdp",
        _ => "serial",
    };
    if !TYPES.iter().any(|(of, kind, since)| *of == protocol && *kind == asked.kind && *since == 6) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute type. {protocol} has no console '{}'. Ask for novnc or serial.",
            asked.kind
        ))
        .into());
    }
    let url = url(ctx, id, &asked.kind).await?;
    json(200, &json!({"console": {"type": asked.kind, "url": url}}))
}

/// The URL of a console of this type. Everyone with the URL may use the console, as long as the caller may.
async fn url(ctx: &Ctx, id: ServerId, kind: &str) -> Result<String> {
    let server = ctx.state.visible::<Server>(&ctx.caller, &id)?;
    policy::check(&ctx.caller, Action::ServerRemoteConsole, Some(server.project_id))?;
    let kind = match kind {
        "novnc" => ConsoleKind::Vnc,
        "serial" => ConsoleKind::Serial,
        other => {
            let why = format!("Unavailable console type {other}. This cloud has novnc and serial.");
            return Err(Error::invalid(why));
        }
    };
    host_with_console(&ctx.state, &server)?;
    let life_s = ctx.app.config.settings.console.token_life_s;
    let expires_at = ctx.app.now().plus_s(life_s.get().into());
    let token = ConsoleToken { kind, server_id: id, expires_at, client: ctx.token.clone() }.seal(&ctx.app);
    let base = ctx.url();
    Ok(match kind {
        // Clients read the WebSocket's path from the query, as noVNC's own page does.
        ConsoleKind::Vnc => format!(
            "{base}{VNC_PAGE}?path={}&title={}",
            encode(&format!("{}?token={token}", &SOCKET[1..])),
            encode(&server.name)
        ),
        // http becomes ws, and https becomes wss.
        ConsoleKind::Serial => format!("{}{SOCKET}?token={token}", base.replacen("http", "ws", 1)),
    })
}

/// `GET /os-console-auth-tokens/{token}`
pub async fn show_token(ctx: Ctx, Path(token): Path<String>) -> Handled {
    policy::check(&ctx.caller, Action::ConsoleToken, None)?;
    let token = ConsoleToken::open(&ctx.app, &ctx.state, &token).map_err(|_| {
        Error::not_found_text(
            "The console token is not valid, or not any more. Ask for a new URL of the console.",
        )
    })?;
    let server = ctx.state.servers.get(&token.server_id);
    let host = server.and_then(|server| ctx.state.hosts.get(&server.host_id?));
    let mut console = json!({
        "instance_uuid": token.server_id,
        "host": host.map(|host| host.name.clone()),
        // The bytes come by the agent's own connection, so no port of the host is open.
        "port": Value::Null,
        "internal_access_path": Value::Null,
    });
    if ctx.version.has(99) {
        console["tls_port"] = Value::Null;
    }
    json(200, &json!({ "console": console }))
}

/// The requested number of lines; `None` for all.
fn log_length(args: Value) -> Result<Option<u32>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Console {
        #[serde(default)]
        length: Option<Value>,
    }
    let asked: Console = request::read(arguments("os-getConsoleOutput", args)?)?;
    let Some(length) = asked.length else { return Ok(None) };
    let number = length.as_i64().or_else(|| length.as_str()?.parse().ok()).filter(|n| *n >= -1);
    let number = number.ok_or_else(|| {
        Error::invalid("Invalid input for field/attribute length. It must be a number, -1 or more.")
    })?;
    // Nova allows one negative number: -1 means all lines.
    Ok(u32::try_from(number).ok())
}

/// `os-getConsoleOutput`: the end of the log.
pub(super) async fn show_log(ctx: &Ctx, id: ServerId, args: Value) -> Handled {
    let server = ctx.state.visible::<Server>(&ctx.caller, &id)?;
    policy::check(&ctx.caller, Action::ServerConsole, Some(server.project_id))?;
    let lines = log_length(args)?;
    let not_ready =
        || Error::conflict(format!("Instance {id} is not ready: it has not run on any host yet."));
    let host = server.host_id.filter(|_| server.launched_at.is_some()).ok_or_else(not_ready)?;
    let text = ctx.app.links.ask(host, Subject::Console { server_id: id, lines }, QUESTION_TIMEOUT).await?;
    let text = lines.map_or(&*text, |lines| last_lines(&text, lines));
    let start = text.ceil_char_boundary(text.len().saturating_sub(CONSOLE_BYTES_MAX));
    json(200, &json!({"output": &text[start..]}))
}

/// The end of a console's log. As in Nova, the empty text behind the last line break counts as a line.
fn last_lines(text: &str, lines: u32) -> &str {
    match text.rmatch_indices('\n').nth((lines as usize).wrapping_sub(1)) {
        Some((at, _)) => &text[at + 1..],
        None if lines == 0 => "",
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_a_length() {
        assert_eq!(log_length(json!({"length": "7"})).unwrap(), Some(7));
        assert_eq!(log_length(json!({"length": -1})).unwrap(), None);
        assert_eq!(log_length(json!(null)).unwrap(), None);
        for bad in [json!({"length": -2}), json!({"length": "x"}), json!({"lines": 7}), json!(7)] {
            assert!(log_length(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_log_is_cut_as_nova_cuts_it() {
        assert_eq!(last_lines("a\nb\nc\n", 3), "b\nc\n");
        assert_eq!(last_lines("a\nb\nc", 2), "b\nc");
        assert_eq!((last_lines("a\nb", 9), last_lines("a\nb", 0)), ("a\nb", ""));
    }

    #[test]
    fn a_console_has_the_types_of_its_version() {
        let asked =
            |protocol: &str, kind: &str| json!({"remote_console": {"protocol": protocol, "type": kind}});
        assert!(asked_type(Microversion(6), asked("vnc", "novnc")).is_ok());
        assert!(asked_type(Microversion(7), asked("mks", "webmks")).is_err());
        assert!(asked_type(Microversion(8), asked("mks", "webmks")).is_ok());
        assert!(asked_type(Microversion(98), asked("spice", "spice-direct")).is_err());
        for bad in
            [asked("vnc", "serial"), asked("", ""), json!({"remote_console": {"type": "novnc"}}), json!({})]
        {
            assert!(asked_type(Microversion(100), bad.clone()).is_err(), "{bad}");
        }
    }
}
