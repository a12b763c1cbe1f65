//! Turns errors into answers, in the format of the requested service.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use lenticular_model::error::{Error, Kind};
use lenticular_wire::fault::{Service, body, status};

/// An error on its way out of a handler. An outer layer, which knows the service, renders it.
#[derive(Debug)]
pub struct Fault(pub Error);

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(status(&self.0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self.0);
        response
    }
}

/// The result of a handler.
pub type Handled<T = Response> = Result<T, Fault>;

/// The service that a path belongs to; it decides the format of errors.
pub fn service_of(path: &str) -> Service {
    match path.split('/').nth(1) {
        Some("identity") => Service::Identity,
        Some("compute") => Service::Compute,
        Some("image") => Service::Image,
        Some("network") => Service::Network,
        Some("placement") => Service::Placement,
        _ => Service::Own,
    }
}

/// Gives an error its body; other answers pass through.
pub fn render(service: Service, response: Response, request_id: &str, public_url: &str) -> Response {
    let (mut parts, old_body) = response.into_parts();
    let status = parts.status.as_u16();
    let error = match parts.extensions.remove::<Error>() {
        Some(error) => error,
        // The router's own refusals have no body.
        None if matches!(status, 404 | 405) && !parts.headers.contains_key(header::CONTENT_TYPE) => {
            let mut error = Error::not_found_text(match status {
                404 => "The resource could not be found.",
                _ => "The method is not allowed for this resource.",
            });
            if status == 405 {
                error.kind = Kind::Invalid;
            }
            error
        }
        // The router refuses a URL that cannot be decoded in plain text.
        None if status == 400 && is_plain_text(&parts.headers) => {
            Error::invalid("The URL is malformed: its path must be percent-encoded UTF-8.")
        }
        None => return Response::from_parts(parts, old_body),
    };
    let json = body(service, status, &error, request_id).to_string();
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    parts.headers.remove(header::CONTENT_LENGTH);
    if status == 429 {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    if status == 401 {
        let challenge = format!("Keystone uri=\"{public_url}/identity\"");
        if let Ok(value) = HeaderValue::from_str(&challenge) {
            parts.headers.insert(header::WWW_AUTHENTICATE, value);
        }
    }
    Response::from_parts(parts, Body::from(json))
}

fn is_plain_text(headers: &axum::http::HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"))
}
