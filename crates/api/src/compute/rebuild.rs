//! The action `rebuild`: its arguments, and the server as its answer.

use super::{
    argument::arguments,
    server::{changed_view, random_password},
};
use crate::{ctx::Ctx, fault::Handled, respond::json};
use axum::http::{HeaderValue, header::LOCATION};
use lenticular_control::command::compute::rebuild::{self, RebuildServer};
use lenticular_model::{
    Kind, ServerId,
    compute::server::Server,
    error::{Error, Result},
};
use lenticular_wire::compute::server_rebuild::read;
use serde_json::{Value, json};

/// `POST /servers/{id}/action` with `rebuild`.
pub async fn rebuild(mut ctx: Ctx, id: ServerId, args: Value) -> Handled {
    let asked = read(arguments("rebuild", args)?, ctx.version)?;
    let password = match asked.admin_pass.clone() {
        Some(password) => password,
        None => random_password()?,
    };
    let change = RebuildServer {
        image_id: asked.image_id()?,
        files: asked.files()?,
        name: asked.name,
        metadata: asked.metadata,
        description: asked.description,
        key_name: asked.key_name,
        user_data: asked.user_data,
        hostname: asked.hostname,
        access_ipv4: asked.access_ipv4,
        access_ipv6: asked.access_ipv6,
        disk_config_manual: asked.disk_config_manual,
        preserve_ephemeral: asked.preserve_ephemeral,
    };
    ctx.commit("server rebuild", move |txn, caller| rebuild::rebuild(txn, caller, id, change)).await?;
    ctx.state = ctx.app.store.state();
    let server = ctx.state.visible::<Server>(&ctx.caller, &id)?;
    let mut shown = changed_view(&ctx, &server).await?;
    // As in Nova, the user data has one name in this answer, below.
    shown.as_object_mut().and_then(|shown| shown.remove("OS-EXT-SRV-ATTR:user_data"));
    shown["adminPass"] = json!(password);
    if ctx.version.has(54) {
        shown["key_name"] = json!(server.key.as_ref().map(|key| &key.name));
    }
    if ctx.version.has(57) {
        // The caller may have sent it just now, so no right is needed.
        shown["user_data"] = match server.has_user_data {
            true => user_data(&ctx, id).await?,
            false => Value::Null,
        };
    }
    let mut answer = json(202, &json!({ "server": shown }))?;
    let location = location(&ctx, id)?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

async fn user_data(ctx: &Ctx, id: ServerId) -> Result<Value> {
    let doc = ctx.app.store.get(Kind::UserData, &id.to_string()).await?;
    doc.map_or(Ok(Value::Null), |doc| serde_json::from_str(&doc).map_err(Error::internal))
}

fn location(ctx: &Ctx, id: ServerId) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("{}/compute/v2.1/servers/{id}", ctx.url()))
        .map_err(|_| Error::internal("the server has no URL"))
}
