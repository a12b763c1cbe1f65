//! The common part of all Neutron resources: list, show, create, update and delete, with filters, bulk requests
//! and preconditions.

use super::{
    fields::{Fields, bad},
    view::{self, Listed},
};
use crate::{
    app::App,
    body::Json,
    ctx::Ctx,
    fault::Handled,
    respond::{empty, json},
    routes::{Methods, get},
};
use axum::extract::Path;
use lenticular_model::{
    Record, State, Txn,
    error::{Error, Result},
    policy::{self, Action, Caller},
    revision::Revised,
};
use serde_json::{Map, Value, json};
use std::{future::Future, sync::Arc};

/// The names of a resource: singular and plural in bodies, and in paths.
pub struct Names {
    /// `security_group`
    pub one: &'static str,
    /// `security_groups`
    pub many: &'static str,
    /// `security-groups`
    pub path: &'static str,
}

/// The id of a resource.
pub type Id<N> = <<N as Resource>::Record as Record>::Id;

/// A resource.
pub trait Resource: Send + Sync + 'static {
    /// Its record.
    type Record: Revised;
    /// The parameters of a new resource.
    type New: Send + 'static;
    /// The resource's names.
    const NAMES: Names;
    /// The fields of a create request.
    const FIELDS: &'static [&'static str];

    /// The error for an id that does not exist.
    fn missing(id: &str) -> Error;
    /// The record with this id, if the caller may see it.
    fn visible(state: &State, caller: &Caller, id: &Id<Self>) -> Result<Arc<Self::Record>>;
    /// The record as JSON.
    fn view(state: &State, caller: &Caller, record: &Self::Record) -> Value;
    /// Reads the parameters of a new resource.
    fn read_new(ctx: &Ctx, fields: &Fields) -> Result<Self::New>;
    /// Creates a resource.
    fn create(txn: &mut Txn<'_>, caller: &Caller, new: Self::New) -> Result<Id<Self>>;
    /// Deletes a resource.
    fn delete(txn: &mut Txn<'_>, caller: &Caller, id: Id<Self>) -> Result<()>;

    /// The candidates of a listing: all records, unless the query or the caller allow a smaller set.
    fn candidates(ctx: &Ctx, state: &State) -> Vec<Arc<Self::Record>> {
        let _ = ctx;
        state.all::<Self::Record>().cloned().collect()
    }
    /// Prepares for a read, and returns the state to read.
    fn prepare(ctx: &Ctx) -> impl Future<Output = Result<Arc<State>>> + Send {
        std::future::ready(Ok(ctx.state.clone()))
    }
}

/// A resource that can be updated.
pub trait Changeable: Resource {
    /// The parameters of an update.
    type Change: Send + 'static;
    /// The fields of a create request that cannot be updated.
    const FIXED: &'static [&'static str];

    /// Reads an update.
    fn read_change(fields: &Fields) -> Result<Self::Change>;
    /// Updates a resource.
    fn update(txn: &mut Txn<'_>, caller: &Caller, id: Id<Self>, change: Self::Change) -> Result<()>;
}

/// The functions of a resource with a command and a view of the same name, as most resources have.
macro_rules! by_name {
    ($resource:ident) => {
        fn missing(id: &str) -> lenticular_model::Error {
            <Self::Record as lenticular_model::Scoped>::missing(id)
        }

        fn visible(
            state: &lenticular_model::State,
            caller: &lenticular_model::policy::Caller,
            id: &super::resource::Id<Self>,
        ) -> lenticular_model::Result<std::sync::Arc<Self::Record>> {
            state.visible::<Self::Record>(caller, id)
        }

        fn view(
            state: &lenticular_model::State,
            caller: &lenticular_model::policy::Caller,
            record: &Self::Record,
        ) -> serde_json::Value {
            lenticular_wire::network::$resource::view(state, caller, record)
        }

        fn create(
            txn: &mut lenticular_model::Txn<'_>,
            caller: &lenticular_model::policy::Caller,
            new: Self::New,
        ) -> lenticular_model::Result<super::resource::Id<Self>> {
            lenticular_control::command::network::$resource::create(txn, caller, new)
        }

        fn delete(
            txn: &mut lenticular_model::Txn<'_>,
            caller: &lenticular_model::policy::Caller,
            id: super::resource::Id<Self>,
        ) -> lenticular_model::Result<()> {
            lenticular_control::command::network::$resource::delete(txn, caller, id)
        }
    };
}
pub(super) use by_name;

/// The routes that list and create a resource.
pub fn collection<N: Resource>() -> Methods<App> {
    get(list::<N>).post(create::<N>)
}

/// The routes that show, update and delete a resource.
pub fn member<N: Changeable>() -> Methods<App> {
    get(show::<N>).put(update::<N>).delete(delete::<N>)
}

/// The routes that show and delete a resource without updates.
pub fn fixed_member<N: Resource>() -> Methods<App> {
    get(show::<N>).delete(delete::<N>)
}

/// Reads an id. A malformed id gives the same error as an unknown id.
pub fn id<N: Resource>(text: &str) -> Result<Id<N>> {
    text.parse().map_err(|_| N::missing(text))
}

/// `GET /v2.0/{collection}`
pub async fn list<N: Resource>(ctx: Ctx) -> Handled {
    policy::check(&ctx.caller, Action::NetworkRead, None)?;
    let state = N::prepare(&ctx).await?;
    let all = N::candidates(&ctx, &state).into_iter();
    let seen = all.filter(|record| N::visible(&state, &ctx.caller, record.id()).is_ok());
    let items = seen.map(|record| N::view(&state, &ctx.caller, &record)).collect();
    let listed = Listed { many: N::NAMES.many, path: N::NAMES.path, fields: N::FIELDS, missing: N::missing };
    view::listing(&ctx, &listed, items)
}

/// `GET /v2.0/{collection}/{id}`
pub async fn show<N: Resource>(ctx: Ctx, Path(path): Path<String>) -> Handled {
    let record = N::visible(&ctx.state, &ctx.caller, &id::<N>(&path)?)?;
    view::one(&ctx, N::NAMES.one, N::view(&ctx.state, &ctx.caller, &record))
}

/// Answers with the current resource.
pub fn answer<N: Resource>(ctx: &Ctx, status: u16, id: &Id<N>) -> Handled {
    let state = ctx.app.store.state();
    let record = N::visible(&state, &ctx.caller, id)?;
    json(status, &json!({(N::NAMES.one): N::view(&state, &ctx.caller, &record)}))
}

/// The objects of a request: one object, or a list of objects.
fn one_or_many(body: Value, names: &Names) -> Result<(Vec<Fields>, bool)> {
    let Value::Object(mut body) = body else { return Err(bad("Resource body required")) };
    let object = |value| match value {
        Value::Object(fields) => Ok(Fields(fields)),
        _ => Err(bad("Resource body required")),
    };
    match (body.remove(names.one), body.remove(names.many)) {
        (Some(single), _) => Ok((vec![object(single)?], false)),
        (None, Some(Value::Array(list))) if list.is_empty() => Err(bad("Resources required")),
        (None, Some(Value::Array(list))) => Ok((list.into_iter().map(object).collect::<Result<_>>()?, true)),
        _ => Err(bad(format!("Unable to find '{}' in request body", names.one))),
    }
}

/// `POST /v2.0/{collection}`: creates one or several resources, all or none.
pub async fn create<N: Resource>(ctx: Ctx, Json(body): Json) -> Handled {
    let (asked, several) = one_or_many(body, &N::NAMES)?;
    let read = |fields: &Fields| {
        fields.check(N::FIELDS)?;
        N::read_new(&ctx, fields)
    };
    let new: Vec<N::New> = asked.iter().map(read).collect::<Result<_>>()?;
    let make_all = move |txn: &mut Txn<'_>, caller: &Caller| {
        new.into_iter().map(|new| N::create(txn, caller, new)).collect::<Result<Vec<Id<N>>>>()
    };
    let ids = ctx.commit(&format!("{} create", plain(N::NAMES.one)), make_all).await?;
    let state = ctx.app.store.state();
    let shown = |id: Id<N>| Some(N::view(&state, &ctx.caller, state.get::<N::Record>(&id)?));
    let mut views: Vec<Value> = ids.into_iter().filter_map(shown).collect();
    json(201, &if several { json!({(N::NAMES.many): views}) } else { json!({(N::NAMES.one): views.pop()}) })
}

fn plain(name: &str) -> String {
    name.replace('_', " ")
}

/// The object under a resource's name in a request's body.
pub fn envelope(body: Value, name: &str) -> Result<Fields> {
    let Value::Object(mut body) = body else { return Err(bad("Resource body required")) };
    match body.remove(name) {
        Some(Value::Object(fields)) => Ok(Fields(fields)),
        _ => Err(bad(format!("Unable to find '{name}' in request body"))),
    }
}

/// `PUT /v2.0/{collection}/{id}`
pub async fn update<N: Changeable>(ctx: Ctx, Path(path): Path<String>, Json(body): Json) -> Handled {
    let id = id::<N>(&path)?;
    let fields = envelope(body, N::NAMES.one)?;
    if let Some(name) = N::FIXED.iter().find(|name| fields.has(name)) {
        return Err(bad(format!("Cannot update read-only attribute {name}")).into());
    }
    fields.check(N::FIELDS)?;
    N::visible(&ctx.state, &ctx.caller, &id)?;
    let change = N::read_change(&fields)?;
    commit::<N, ()>(&ctx, "update", id.clone(), move |txn, caller, id| N::update(txn, caller, id, change))
        .await?;
    answer::<N>(&ctx, 200, &id)
}

/// `DELETE /v2.0/{collection}/{id}`
pub async fn delete<N: Resource>(ctx: Ctx, Path(path): Path<String>) -> Handled {
    commit::<N, ()>(&ctx, "delete", id::<N>(&path)?, N::delete).await?;
    empty(204)
}

/// The revision number in the client's precondition.
pub fn expected(ctx: &Ctx) -> Result<Option<u64>> {
    let Some(text) = ctx.if_match.as_deref() else { return Ok(None) };
    let number =
        text.trim().trim_matches('"').strip_prefix("revision_number=").and_then(|n| n.trim().parse().ok());
    let wrong = || bad(format!("Invalid If-Match '{text}': it must be revision_number=<number>."));
    number.map(Some).ok_or_else(wrong)
}

/// Refuses a resource with another revision than the client expects.
pub fn check_revision(expected: u64, now: Option<u64>) -> Result<()> {
    match now.filter(|now| *now != expected) {
        Some(now) => {
            let why = format!(
                "Constrained to {expected}, but current revision is {now}. Look at it again before you change it."
            );
            Err(Error::outdated(why).coded("RevisionNumberConstraintFailed"))
        }
        None => Ok(()),
    }
}

/// Runs a command on one resource, if the client's precondition holds.
pub async fn commit<N: Resource, T: Send + 'static>(
    ctx: &Ctx,
    verb: &str,
    id: Id<N>,
    command: impl FnOnce(&mut Txn<'_>, &Caller, Id<N>) -> Result<T> + Send + 'static,
) -> Result<T> {
    let expected = expected(ctx)?;
    let why = format!("{} {verb}", plain(N::NAMES.one));
    ctx.commit(&why, move |txn, caller| {
        if let Some(expected) = expected {
            check_revision(expected, N::visible(txn, caller, &id)?.revision())?;
        }
        command(txn, caller, id)
    })
    .await
}

/// The object of an action's body. Some clients leave out the name around it.
pub fn bare(body: Value) -> Result<Fields> {
    match body {
        Value::Null => Ok(Fields(Map::new())),
        Value::Object(fields) => Ok(Fields(fields)),
        _ => Err(bad("Resource body required")),
    }
}
