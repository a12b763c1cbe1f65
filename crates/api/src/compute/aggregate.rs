//! Host aggregates.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::command::compute::aggregate;
use lenticular_model::{
    ImageId, Txn,
    compute::aggregate::Aggregate,
    error::{Error, Result},
    policy::{self, Action, Caller},
};
use lenticular_wire::compute::aggregate::{self as wire, Action as Asked};
use serde_json::{Value, json};
use std::sync::Arc;

/// Reads an aggregate's number. Nova numbers its aggregates.
fn number(text: &str) -> Result<u64> {
    match text.parse::<i128>().map(u64::try_from) {
        Ok(Ok(number)) => Ok(number),
        Ok(Err(_)) => Err(Error::not_found("Aggregate", text)),
        Err(_) => Err(Error::invalid(format!("Invalid input received: id must be an integer, not {text}"))),
    }
}

fn answer(ctx: &Ctx, aggregate: &Aggregate, is_new: bool) -> Handled {
    let view = wire::view(&ctx.app.store.state(), aggregate, ctx.version, is_new);
    json(200, &json!({ "aggregate": view }))
}

/// `GET /os-aggregates`
pub async fn list(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::AggregateRead, None)?;
    let in_order = ctx.state.aggregates_by_number();
    let list: Vec<Value> = in_order.map(|a| wire::view(&ctx.state, a, ctx.version, false)).collect();
    json(200, &json!({ "aggregates": list }))
}

/// `POST /os-aggregates`
pub async fn create(ctx: Ctx, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::AggregateWrite, None)?;
    let new = wire::read_create(body)?;
    let made = ctx
        .commit("aggregate create", move |txn, caller| {
            aggregate::create(txn, caller, new.name, new.availability_zone)
        })
        .await?;
    answer(&ctx, &made, true)
}

fn readable(ctx: &Ctx, id: &str) -> Result<Arc<Aggregate>> {
    policy::check(&ctx.caller, Action::AggregateRead, None)?;
    aggregate::by_number(&ctx.state, number(id)?)
}

/// `GET /os-aggregates/{id}`
pub async fn show(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let found = readable(&ctx, &id)?;
    answer(&ctx, &found, false)
}

/// `PUT /os-aggregates/{id}`
pub async fn update(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::AggregateWrite, None)?;
    let (id, change) = (number(&id)?, wire::read_update(body)?);
    let now = ctx
        .commit("aggregate update", move |txn, caller| {
            aggregate::update(txn, caller, id, change.name, change.availability_zone)
        })
        .await?;
    answer(&ctx, &now, false)
}

/// `DELETE /os-aggregates/{id}`
pub async fn delete(ctx: Ctx, Path(id): Path<String>) -> Handled {
    let id = number(&id)?;
    ctx.commit("aggregate delete", move |txn, caller| aggregate::delete(txn, caller, id)).await?;
    empty(200)
}

/// `POST /os-aggregates/{id}/action`
pub async fn act(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    policy::check(&ctx.caller, Action::AggregateWrite, None)?;
    let (id, asked) = (number(&id)?, wire::read_action(body)?);
    let now = match asked {
        Asked::AddHost(host) => {
            ctx.commit("aggregate add host", move |txn, caller| aggregate::add_host(txn, caller, id, &host))
                .await?
        }
        Asked::RemoveHost(host) => {
            let remove =
                move |txn: &mut Txn<'_>, caller: &Caller| aggregate::remove_host(txn, caller, id, &host);
            ctx.commit("aggregate remove host", remove).await?
        }
        Asked::SetMetadata(metadata) => {
            let set =
                move |txn: &mut Txn<'_>, caller: &Caller| aggregate::set_metadata(txn, caller, id, metadata);
            ctx.commit("aggregate set metadata", set).await?
        }
    };
    answer(&ctx, &now, false)
}

/// `POST /os-aggregates/{id}/images` (from 2.81). Hosts fetch an image when they first need it, so the handler
/// only checks that the images exist.
pub async fn images(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    if !ctx.version.has(81) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let ids = wire::read_images(body)?;
    readable(&ctx, &id)?;
    for id in ids {
        let known = id.parse().ok().is_some_and(|id: ImageId| ctx.state.images.contains_key(&id));
        if !known {
            return Err(Error::invalid(format!("Image {id} could not be found.")).into());
        }
    }
    empty(202)
}
