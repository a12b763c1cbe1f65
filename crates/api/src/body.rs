//! Reads JSON bodies: checks size, depth and media type.

use crate::{
    app::App,
    fault::Fault,
    limits::{BODY_BYTES_MAX, BODY_TIMEOUT, REPORT_BYTES_MAX, REPORT_TEXT_MAX},
    path::OldCompute,
};
use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{Method, header},
};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use lenticular_model::error::Error;
use lenticular_wire::{agent::Answer, fault::Service};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// A JSON body.
pub struct Json(pub Value);

/// A JSON body of the agent protocol, parsed into its type.
pub struct Message<T>(pub T);

/// An agent's answer to a question. A console's log is long and has what the guest wrote, so only the words of a failure are
/// bounded like other texts of agents.
pub struct Answered(pub Answer);

/// Reads at most `limit` bytes.
pub async fn bytes(request: Request, limit: usize) -> Result<Bytes, Error> {
    let arrived =
        tokio::time::timeout(BODY_TIMEOUT, Limited::new(request.into_body(), limit).collect()).await;
    let arrived = arrived.map_err(|_| {
        let s = BODY_TIMEOUT.as_secs();
        Error::timed_out(format!("The request's body did not arrive within {s} s. Send it again."))
    })?;
    match arrived {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(Error::too_large(format!("The request's body is larger than {limit} bytes.")))
        }
        Err(error) => Err(Error::invalid(format!("The request's body did not arrive whole: {error}."))),
    }
}

/// The media type of Glance's patches of version 2.0, which name operations differently.
pub const OLD_PATCH: &str = "application/openstack-images-v2.0-json-patch";

/// The media type of Glance's patches.
const PATCH: &str = "application/openstack-images-v2.1-json-patch";

fn check_type(request: &Request) -> Result<(), Error> {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let is_patch = request.method() == Method::PATCH
        && request.extensions().get::<Service>().is_some_and(|service| *service == Service::Image);
    let (taken, send) = match is_patch {
        true => (kind == PATCH || kind == OLD_PATCH, PATCH),
        false => {
            let json = kind.is_empty() || (kind.starts_with("application/") && kind.ends_with("json"));
            (json, "application/json")
        }
    };
    match taken {
        true => Ok(()),
        false => Err(Error::unsupported_media(format!("Unsupported Content-Type: '{kind}'. Send {send}."))),
    }
}

impl FromRequest<App> for Json {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &App) -> Result<Self, Fault> {
        check_type(&request)?;
        let is_old = request.extensions().get::<OldCompute>().is_some();
        let bytes = bytes(request, BODY_BYTES_MAX).await?;
        if bytes.is_empty() {
            return Ok(Self(Value::Null));
        }
        // serde_json itself refuses more than 128 levels of nesting.
        let mut body: Value = serde_json::from_slice(&bytes)
            .map_err(|error| Error::invalid(format!("Malformed request body: {error}.")))?;
        // JSON can write a NUL only as an escape, and no database accepts a NUL in a text.
        if bytes.windows(NUL.len()).any(|part| part == NUL) && has_nul(&body) {
            return Err(Error::invalid("Texts must not contain the character NUL (\\u0000).").into());
        }
        if is_old {
            trim_names(&mut body);
        }
        Ok(Self(body))
    }
}

/// Removes blanks around names: Nova's version before microversions does so; later versions refuse them.
fn trim_names(body: &mut Value) {
    fn trim(fields: &mut Value) {
        for name in ["name", "key_name", "availability_zone"] {
            if let Some(Value::String(text)) = fields.get_mut(name) {
                *text = text.trim().to_owned();
            }
        }
    }
    for inner in body.as_object_mut().into_iter().flat_map(|body| body.values_mut()) {
        trim(inner);
        let groups = inner.get_mut("security_groups").and_then(Value::as_array_mut);
        groups.into_iter().flatten().for_each(trim);
    }
}

const NUL: &[u8] = b"\\u0000";

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl<T: DeserializeOwned> FromRequest<App> for Message<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &App) -> Result<Self, Fault> {
        let mut message = object(&bytes(request, REPORT_BYTES_MAX).await?)?;
        bound(&mut message);
        serde_json::from_value(message).map(Self).map_err(|error| malformed(error).into())
    }
}

impl FromRequest<App> for Answered {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &App) -> Result<Self, Fault> {
        Ok(Self(answer(&bytes(request, REPORT_BYTES_MAX).await?)?))
    }
}

fn malformed(error: serde_json::Error) -> Error {
    Error::invalid(format!("Malformed message: {error}."))
}

/// Reads a JSON object. Structs could be read from arrays, too, field by field.
fn object(bytes: &[u8]) -> Result<Value, Error> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(bytes).map_err(malformed),
        _ => Err(Error::invalid("The request needs a body: a JSON object.")),
    }
}

fn answer(bytes: &[u8]) -> Result<Answer, Error> {
    let Answer { id, result } = serde_json::from_value(object(bytes)?).map_err(malformed)?;
    let result = result.map_err(|why| {
        let mut why = Value::String(why);
        bound(&mut why);
        why.as_str().unwrap_or_default().to_owned()
    });
    Ok(Answer { id, result })
}

/// Shortens long texts, and removes terminal control characters: people read the texts of hosts.
fn bound(value: &mut Value) {
    match value {
        Value::String(text) => {
            let unfit = |c: char| c.is_control() && c != '\n' && c != '\t';
            if text.len() > REPORT_TEXT_MAX || text.contains(unfit) {
                let kept = text.chars().take(REPORT_TEXT_MAX);
                *text = kept.map(|c| if unfit(c) { char::REPLACEMENT_CHARACTER } else { c }).collect();
            }
        }
        Value::Array(items) => items.iter_mut().for_each(bound),
        Value::Object(fields) => fields.values_mut().for_each(bound),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_whole_and_its_failure_is_bounded() {
        let log = "count 1\u{1b}[0m\n".repeat(10_000);
        let said = |result: Result<&str, &str>| {
            answer(json!({"id": 1, "result": result}).to_string().as_bytes()).map(|answer| answer.result)
        };
        assert_eq!(said(Ok(&log)).unwrap(), Ok(log.clone()));
        let failure = said(Err(&log)).unwrap().unwrap_err();
        assert!(failure.chars().count() == REPORT_TEXT_MAX && !failure.contains('\u{1b}'));
        let no_object = answer(b"[1, null]").unwrap_err();
        assert_eq!(no_object.to_string(), "The request needs a body: a JSON object.");
    }

    #[test]
    fn names_lose_their_blanks_and_nothing_else_does() {
        let mut body =
            json!({"server": {"name": " a b ", "user_data": " x ", "security_groups": [{"name": "g "}, 7]}});
        trim_names(&mut body);
        let wanted =
            json!({"server": {"name": "a b", "user_data": " x ", "security_groups": [{"name": "g"}, 7]}});
        assert_eq!(body, wanted);
        trim_names(&mut json!([" a "]));
    }

    #[test]
    fn nul_is_found_in_every_place() {
        for bad in [json!("a\u{0}"), json!({"a": [{"b": "\u{0}"}]}), json!({"\u{0}": 1})] {
            assert!(has_nul(&bad), "{bad}");
        }
        assert!(!has_nul(&json!({"a": ["b", 1, null, true, "\\u0000"]})));
    }

    #[test]
    fn what_hosts_say_is_bounded_and_steers_no_terminal() {
        let mut said = json!({"a": ["plain\n", "\u{1b}]0;x\u{7}", "x".repeat(5_000)], "n": 7});
        bound(&mut said);
        let long = "x".repeat(4_096);
        assert_eq!(said, json!({"a": ["plain\n", "\u{fffd}]0;x\u{fffd}", long], "n": 7}));
    }
}
