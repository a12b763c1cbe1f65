//! Host aggregates.

use crate::{
    body::Json,
    ctx::Ctx,
    fault::Handled,
    limits::QUESTION_TIMEOUT,
    respond::{empty, json},
};
use axum::extract::Path;
use lenticular_control::{command::compute::aggregate, orders::base_of};
use lenticular_model::{
    ImageId, Txn,
    compute::aggregate::Aggregate,
    error::{Error, Result},
    host::host::PROTOCOL_WITH_QUESTIONS,
    policy::{self, Action, Caller},
};
use lenticular_wire::{
    agent::Subject,
    compute::aggregate::{self as wire, Action as Asked},
};
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

/// How long hosts may take until they read the images, in seconds.
const FETCH_S_MAX: i64 = 24 * 3_600;

/// `POST /os-aggregates/{id}/images` (from 2.81): the aggregate's hosts fetch images before a server needs them. A host that
/// is down fetches them when it needs them.
pub async fn images(ctx: Ctx, Path(id): Path<String>, Json(body): Json) -> Handled {
    if !ctx.version.has(81) {
        return Err(Error::not_found_text("The resource could not be found.").into());
    }
    let ids = wire::read_images(body)?;
    let aggregate = readable(&ctx, &id)?;
    let mut bases = Vec::new();
    for id in ids {
        let image = id.parse().ok().and_then(|id: ImageId| ctx.state.images.get(&id));
        let image = image.ok_or_else(|| Error::invalid(format!("Image {id} could not be found.")))?;
        let base = base_of(image);
        bases.push(
            base.ok_or_else(|| Error::invalid(format!("Image {id} has no data yet. Upload it before.")))?,
        );
    }
    let hosts = aggregate.hosts.iter().filter_map(|host| ctx.state.hosts.get(host));
    for host in hosts.filter(|host| host.is_up() && host.protocol >= PROTOCOL_WITH_QUESTIONS) {
        for base in &bases {
            let (app, host, base) = (ctx.app.clone(), host.id, base.clone());
            let now = app.now();
            app.links.let_fetch(host, base.image_id, now, now.plus_s(FETCH_S_MAX));
            // As in Nova, nobody waits for the hosts.
            tokio::spawn(async move {
                let image = base.image_id;
                if let Err(error) = app.links.ask(host, Subject::FetchImage { base }, QUESTION_TIMEOUT).await
                {
                    tracing::warn!(%host, %image, %error, "a host was not told to fetch an image");
                }
            });
        }
    }
    empty(202)
}
