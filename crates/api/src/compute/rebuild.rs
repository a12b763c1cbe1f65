//! The action `rebuild`: its arguments, and the server as its answer.

use super::{
    argument::arguments,
    server::{random_password, view},
};
use crate::{ctx::Ctx, fault::Handled, respond::json};
use axum::http::{HeaderValue, header::LOCATION};
use lenticular_control::command::compute::rebuild::{self, RebuildServer};
use lenticular_model::{
    ServerId,
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
    let mut shown = view(&ctx, &server).await?;
    shown["adminPass"] = json!(password);
    let mut answer = json(202, &json!({ "server": shown }))?;
    let location = location(&ctx, id)?;
    answer.headers_mut().insert(LOCATION, location);
    Ok(answer)
}

fn location(ctx: &Ctx, id: ServerId) -> Result<HeaderValue> {
    HeaderValue::from_str(&format!("{}/compute/v2.1/servers/{id}", ctx.url()))
        .map_err(|_| Error::internal("the server has no URL"))
}
