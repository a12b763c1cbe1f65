//! The password that a guest has posted to the metadata service, encrypted to its owner's key.

use super::{server::readable, server_id};
use crate::{
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::server;
use serde_json::json;

/// `GET /servers/{id}/os-server-password`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    json(200, &json!({"password": readable(&ctx, &id)?.guest_password.as_deref().unwrap_or("")}))
}

/// `DELETE /servers/{id}/os-server-password`
pub async fn clear(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = server_id(&id)?;
    ctx.commit("server password clear", move |txn, caller| server::clear_password(txn, caller, id)).await?;
    empty(204)
}
