//! The bodies of errors, in each OpenStack service's format.

use lenticular_model::error::{Error, Kind};
use serde_json::{Value, json};

/// The service that decides the format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Keystone.
    Identity,
    /// Nova.
    Compute,
    /// Glance.
    Image,
    /// Neutron.
    Network,
    /// Placement.
    Placement,
    /// The cloud's own APIs.
    Own,
}

impl Service {
    /// The service's type in the catalog; `None` for the cloud's own APIs.
    pub fn kind(self) -> Option<&'static str> {
        match self {
            Self::Identity => Some("identity"),
            Self::Compute => Some("compute"),
            Self::Image => Some("image"),
            Self::Network => Some("network"),
            Self::Placement => Some("placement"),
            Self::Own => None,
        }
    }
}

/// The HTTP status of an error.
pub fn status(error: &Error) -> u16 {
    match error.kind {
        Kind::Invalid => 400,
        Kind::Unauthorized => 401,
        Kind::Forbidden | Kind::OverQuota => 403,
        Kind::NotFound => 404,
        Kind::NotAcceptable => 406,
        Kind::TimedOut => 408,
        Kind::Conflict => 409,
        Kind::Gone => 410,
        Kind::Outdated => 412,
        Kind::TooLarge => 413,
        Kind::UnsupportedMedia => 415,
        Kind::TooMany => 429,
        Kind::Unavailable => 503,
        Kind::Internal => 500,
        Kind::NotImplemented => 501,
    }
}

/// The reason phrase of a status.
pub fn title(status: u16) -> &'static str {
    match status {
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        415 => "Unsupported Media Type",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

/// The body of an error.
pub fn body(service: Service, status: u16, error: &Error, request_id: &str) -> Value {
    let (title, message) = (title(status), error.message.as_ref());
    match service {
        // All services check tokens with the same program (keystonemiddleware), so this body is the same for all.
        _ if status == 401 => json!({"error": {"code": status, "message": message, "title": title}}),
        Service::Identity | Service::Own => {
            json!({"error": {"code": status, "message": message, "title": title}})
        }
        Service::Compute => json!({(nova_name(status)): {"code": status, "message": message}}),
        Service::Image => json!({"code": format!("{status} {title}"), "title": title, "message": message}),
        Service::Network => {
            let kind = match error.code {
                "" => neutron_name(error.kind),
                code => code,
            };
            json!({"NeutronError": {"type": kind, "message": message, "detail": ""}})
        }
        Service::Placement => {
            let mut one =
                json!({"status": status, "title": title, "detail": message, "request_id": request_id});
            // Clients recognize a concurrent change by this code, and try again.
            if !error.code.is_empty() {
                one["code"] = json!(error.code);
            }
            json!({ "errors": [one] })
        }
    }
}

fn nova_name(status: u16) -> &'static str {
    match status {
        400 => "badRequest",
        403 => "forbidden",
        404 => "itemNotFound",
        405 => "badMethod",
        409 => "conflictingRequest",
        410 => "gone",
        413 | 429 => "overLimit",
        415 => "badMediaType",
        501 => "notImplemented",
        503 => "serviceUnavailable",
        _ => "computeFault",
    }
}

fn neutron_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => "HTTPBadRequest",
        Kind::Forbidden => "PolicyNotAuthorized",
        Kind::OverQuota => "OverQuota",
        Kind::NotFound => "HTTPNotFound",
        Kind::Conflict => "Conflict",
        Kind::Gone => "HTTPGone",
        Kind::Outdated => "RevisionNumberConstraintFailed",
        Kind::Unauthorized => "HTTPUnauthorized",
        Kind::NotAcceptable => "HTTPNotAcceptable",
        Kind::TimedOut => "HTTPRequestTimeout",
        Kind::TooLarge => "HTTPRequestEntityTooLarge",
        Kind::UnsupportedMedia => "HTTPUnsupportedMediaType",
        Kind::TooMany => "HTTPTooManyRequests",
        Kind::Unavailable => "HTTPServiceUnavailable",
        Kind::Internal => "HTTPInternalServerError",
        Kind::NotImplemented => "HTTPNotImplemented",
    }
}
