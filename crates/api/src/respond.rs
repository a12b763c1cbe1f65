//! Answers that carry JSON or nothing.

use crate::fault;
use axum::{http::header, response::IntoResponse};
use lenticular_model::error::Error;

/// An answer with a JSON body.
pub fn json(status: u16, body: &impl serde::Serialize) -> fault::Handled {
    let bytes = serde_json::to_vec(body).map_err(Error::internal)?;
    let status = axum::http::StatusCode::from_u16(status).map_err(Error::internal)?;
    Ok((status, [(header::CONTENT_TYPE, "application/json")], bytes).into_response())
}

/// An answer without a body.
pub fn empty(status: u16) -> fault::Handled {
    let status = axum::http::StatusCode::from_u16(status).map_err(Error::internal)?;
    Ok(status.into_response())
}
