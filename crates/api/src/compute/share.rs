//! Shares of a server (from 2.97). This cloud has no service of shared file systems, so no share exists.

use super::server::readable;
use crate::{body::Json, ctx::Ctx, fault::Handled, respond::json};
use axum::extract::Path;
use lenticular_model::{
    compute::server::Server,
    error::{Error, Result},
    policy::{self, Action},
};
use lenticular_wire::request;
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// The server, if the version has shares.
fn find(ctx: &Ctx, id: &str, action: Action) -> Result<Arc<Server>> {
    if !ctx.version.has(97) {
        return Err(Error::not_found_text("The resource could not be found."));
    }
    let server = readable(ctx, id)?;
    policy::check(&ctx.caller, action, Some(server.project_id))?;
    Ok(server)
}

fn no_share(id: &str) -> Error {
    Error::not_found_text(format!(
        "Share {id} could not be found: this cloud has no service of shared file systems."
    ))
}

/// `GET /servers/{id}/shares`
pub async fn list(ctx: Ctx, Path(id): Path<String>) -> Handled {
    find(&ctx, &id, Action::ServerSharesRead)?;
    json(200, &json!({"shares": []}))
}

/// `POST /servers/{id}/shares`
pub async fn attach(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Attach {
        share_id: uuid::Uuid,
        #[serde(rename = "tag", default, deserialize_with = "request::de_given")]
        _tag: Option<String>,
    }
    find(&ctx, &id, Action::ServerSharesWrite)?;
    let asked: Attach = request::read(request::sole(body, "share")?)?;
    Err(no_share(&asked.share_id.to_string()).into())
}

/// `GET /servers/{id}/shares/{share}`
pub async fn show(ctx: Ctx, Path((id, share)): Path<(String, String)>) -> Handled {
    find(&ctx, &id, Action::ServerSharesRead)?;
    Err(no_share(&share).into())
}

/// `DELETE /servers/{id}/shares/{share}`
pub async fn detach(ctx: Ctx, Path((id, share)): Path<(String, String)>) -> Handled {
    find(&ctx, &id, Action::ServerSharesWrite)?;
    Err(no_share(&share).into())
}
