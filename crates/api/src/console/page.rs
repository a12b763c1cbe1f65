//! The page that shows a guest's screen, and noVNC, which it is made with.

use crate::fault::Handled;
use axum::{
    extract::Path,
    http::header::{
        CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    },
    response::IntoResponse,
};
use lenticular_model::error::Error;

/// The page runs its own scripts alone, and talks to this cloud alone.
const CONTENT_POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'";

/// The files: name, kind and text.
const FILES: &[(&str, &str, &str)] = &[
    ("vnc.html", "text/html", include_str!("vnc.html")),
    ("vnc.css", "text/css", include_str!("vnc.css")),
    ("vnc.js", "text/javascript", include_str!("vnc.js")),
    ("novnc.js", "text/javascript", include_str!("novnc/novnc.js")),
    ("LICENSE", "text/plain", include_str!("novnc/LICENSE")),
];

/// `GET /console/{file}`
pub async fn show(Path(name): Path<String>) -> Handled {
    let found = FILES.iter().find(|(own, ..)| *own == name);
    let (_, kind, text) = found.ok_or_else(|| Error::not_found_text("The resource could not be found."))?;
    let headers = [
        (CONTENT_TYPE, format!("{kind}; charset=utf-8")),
        (CACHE_CONTROL, "no-cache".to_owned()),
        (CONTENT_SECURITY_POLICY, CONTENT_POLICY.to_owned()),
        // The page's URL has the token.
        (REFERRER_POLICY, "no-referrer".to_owned()),
        (X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
    ];
    Ok((headers, *text).into_response())
}
