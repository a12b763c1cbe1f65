//! The auto-allocated topology: a network that the cloud makes for a project on request.

use crate::{
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::network::auto_allocated_topology;
use lenticular_model::{
    ProjectId, Txn,
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use serde_json::json;

/// The project in a path; `null` and `None` mean the caller's own.
fn project(ctx: &Ctx, text: &str) -> Result<ProjectId> {
    let id = match text {
        "null" | "None" => ctx.caller.need_project()?,
        text => text.parse().map_err(|_| Error::not_found("Project", text).coded("ProjectNotFound"))?,
    };
    policy::check(&ctx.caller, Action::NetworkWrite, Some(id)).map(|()| id)
}

/// `GET /v2.0/auto-allocated-topology/{project}`: creates the topology if it does not exist. With
/// `fields=dry-run`, only checks whether it could be created.
pub async fn show(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = project(&ctx, &path)?;
    let answer = |network: String| {
        json(200, &json!({"auto_allocated_topology": {"id": network, "tenant_id": id, "project_id": id}}))
    };
    if ctx.query.all("fields").any(|field| field == "dry-run") {
        auto_allocated_topology::check(&ctx.state)?;
        return answer("dry-run=pass".to_owned());
    }
    if let Some(network) = ctx.state.auto_allocated_network(id) {
        return answer(network.id.to_string());
    }
    let ensure = move |txn: &mut Txn<'_>, caller: &Caller| {
        auto_allocated_topology::check(txn)?;
        auto_allocated_topology::ensure(txn, caller, id)
    };
    answer(ctx.commit("auto allocated topology create", ensure).await?.to_string())
}

/// `DELETE /v2.0/auto-allocated-topology/{project}`
pub async fn delete(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let id = project(&ctx, &path)?;
    let delete = move |txn: &mut Txn<'_>, caller: &Caller| auto_allocated_topology::delete(txn, caller, id);
    ctx.commit("auto allocated topology delete", delete).await?;
    empty(204)
}
