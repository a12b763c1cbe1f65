//! External events of servers: what other services tell Nova.
//!
//! This cloud's own records say what the events say, so an accepted event changes nothing.

use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use lenticular_model::{
    ServerId,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::{
    microversion::{Field, since},
    request::{self, de_given},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The events, each with its first version.
const NAMES: &[Field] = &[
    since("network-changed", 0),
    since("network-vif-plugged", 0),
    since("network-vif-unplugged", 0),
    since("network-vif-deleted", 0),
    since("volume-extended", 51),
    since("power-update", 76),
    since("accelerator-request-bound", 82),
    since("volume-reimaged", 93),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Failed,
    Completed,
    InProgress,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    name: String,
    server_uuid: ServerId,
    #[serde(default, deserialize_with = "de_given")]
    status: Option<Status>,
    #[serde(default, deserialize_with = "de_given")]
    tag: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    events: Vec<Event>,
}

/// An event of the answer.
#[derive(Serialize)]
struct Answered {
    name: String,
    server_uuid: ServerId,
    status: Status,
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// `POST /os-server-external-events`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::ExternalEventCreate, None)?;
    let asked: Events = request::read_value("", body)?;
    asked.events.iter().try_for_each(|event| check(&ctx, event))?;
    let answered: Vec<Answered> = asked.events.into_iter().map(|event| take(&ctx, event)).collect();
    if answered.iter().all(|event| event.code != 200) {
        return Err(Error::not_found_text("No instances found for any event").into());
    }
    let status = if answered.iter().all(|event| event.code == 200) { 200 } else { 207 };
    json(status, &json!({ "events": answered }))
}

fn check(ctx: &Ctx, event: &Event) -> Result<()> {
    if !NAMES.iter().any(|known| known.name == event.name && known.is_in(ctx.version)) {
        return Err(Error::invalid(format!(
            "Invalid input for field/attribute name. Value: {}. There is no such event.",
            event.name
        )));
    }
    let tag = event.tag.as_deref().unwrap_or_default();
    if event.name == "power-update" && !["POWER_ON", "POWER_OFF"].contains(&tag) {
        return Err(Error::invalid(
            "Invalid input for field/attribute tag. It must be POWER_ON or POWER_OFF.",
        ));
    }
    request::check_text("tag", tag, 255)
}

/// The answer to an event: 404 without a server, 422 if the server has no host, or has not the thing that the event is
/// about.
fn take(ctx: &Ctx, event: Event) -> Answered {
    let Event { name, server_uuid, status, tag } = event;
    let known = match ctx.state.servers.get(&server_uuid) {
        None => 404,
        Some(server) if server.host_id.is_none() || !name.starts_with("network-") => 422,
        Some(_) => 200,
    };
    let status = if known == 200 { status.unwrap_or(Status::Completed) } else { Status::Failed };
    Answered { name, server_uuid, status, code: known, tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_fields_that_nova_takes() {
        let id = "9a2d2f38-8f52-4f1c-a6b0-6cf2bd9f4a6d";
        let read = |event| request::read_value::<Events>("", json!({"events": [event]}));
        assert!(read(json!({"name": "network-changed", "server_uuid": id, "status": "in-progress"})).is_ok());
        for bad in [
            json!({"name": "network-changed"}),
            json!({"name": "network-changed", "server_uuid": "web"}),
            json!({"name": "network-changed", "server_uuid": id, "status": "done"}),
            json!({"name": "network-changed", "server_uuid": id, "tag": null}),
            json!({"name": "network-changed", "server_uuid": id, "colour": "blue"}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
