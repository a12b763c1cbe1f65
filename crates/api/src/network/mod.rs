//! Neutron.

#[allow(clippy::module_inception, reason = "one noun has one file name in every layer")]
mod network;
mod port;
mod quota;
mod security_group;
mod subnet;
mod tags;
mod view;

use crate::{
    app::{json, App},
    ctx::Ctx,
    fault::Handled,
};
use axum::{
    extract::{Path, State},
    routing::get,
    Router,
};
use lenticular_model::{
    error::{Error, Result},
    policy::{Action, Caller},
    ProjectId, State as Cloud, Txn,
};
use lenticular_wire::network as wire;
use serde_json::{json, Map, Value};

/// The routes.
pub fn routes() -> Router<App> {
    let v2 = Router::new()
        .route("/", get(resources))
        .route("/extensions", get(extensions))
        .route("/extensions/{alias}", get(extension))
        .route("/networks", get(network::list).post(network::create))
        .route("/networks/{id}", get(network::show).put(network::update).delete(network::delete))
        .route("/subnets", get(subnet::list).post(subnet::create))
        .route("/subnets/{id}", get(subnet::show).put(subnet::update).delete(subnet::delete))
        .route("/ports", get(port::list).post(port::create))
        .route("/ports/{id}", get(port::show).put(port::update).delete(port::delete))
        .route("/security-groups", get(security_group::list).post(security_group::create))
        .route(
            "/security-groups/{id}",
            get(security_group::show).put(security_group::update).delete(security_group::delete),
        )
        .route("/security-group-rules", get(security_group::list_rules).post(security_group::create_rule))
        .route(
            "/security-group-rules/{id}",
            get(security_group::show_rule).delete(security_group::delete_rule),
        )
        .route("/{collection}/{id}/tags", get(tags::list).put(tags::replace).delete(tags::clear))
        .route("/{collection}/{id}/tags/{tag}", get(tags::has).put(tags::add).delete(tags::remove))
        .route("/quotas", get(quota::list))
        .route("/quotas/{project}", get(quota::show).put(quota::update).delete(quota::reset))
        .route("/quotas/{project}/default", get(quota::defaults))
        .route("/quotas/{project}/details", get(quota::details));
    Router::new()
        .route("/network", get(versions))
        .route("/network/", get(versions))
        .nest("/network/v2.0", v2)
        .route("/network/v2.0/", get(resources))
}

async fn versions(State(app): State<App>) -> Handled {
    let href = format!("{}/network/v2.0/", app.config.public_url);
    json(
        200,
        &json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": [{"rel": "self", "href": href}]}]}),
    )
}

async fn resources(State(app): State<App>) -> Handled {
    let names = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("port", "ports"),
        ("security_group", "security-groups"),
        ("security_group_rule", "security-group-rules"),
        ("quota", "quotas"),
        ("extension", "extensions"),
    ];
    let list: Vec<Value> = names
        .iter()
        .map(|(name, path)| {
            let href = format!("{}/network/v2.0/{path}", app.config.public_url);
            json!({"name": name, "collection": path.replace('-', "_"), "links": [{"rel": "self", "href": href}]})
        })
        .collect();
    json(200, &json!({ "resources": list }))
}

async fn extensions(_: Ctx) -> Handled {
    let list: Vec<Value> = wire::PRESENT.iter().map(|(alias, name)| wire::extension(alias, name)).collect();
    json(200, &json!({ "extensions": list }))
}

async fn extension(_: Ctx, Path(alias): Path<String>) -> Handled {
    match wire::PRESENT.iter().find(|(a, _)| *a == alias) {
        Some((alias, name)) => json(200, &json!({"extension": wire::extension(alias, name)})),
        None => Err(Error::not_found_text(format!("Extension with alias {alias} does not exist"))
            .coded("ExtensionNotFound")
            .into()),
    }
}

/// The objects of a request that may hold one or several.
fn one_or_many(body: Value, one: &str, many: &str) -> Result<(Vec<Map<String, Value>>, bool)> {
    let Value::Object(mut body) = body else {
        return Err(bad("Resource body required"));
    };
    let object = |value| match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(bad("Resource body required")),
    };
    match (body.remove(one), body.remove(many)) {
        (Some(single), _) => Ok((vec![object(single)?], false)),
        (None, Some(Value::Array(list))) => Ok((list.into_iter().map(object).collect::<Result<_>>()?, true)),
        _ => Err(bad(&format!("Unable to find '{one}' in request body"))),
    }
}

/// Creates what a request asks for, one or several, all of it or nothing, and answers with what was made.
///
/// `names` are what a body calls one and several; `read`, `make` and `show` are given one.
async fn create<New: Send + 'static, Id: Send + 'static>(
    ctx: &Ctx,
    names: (&str, &str),
    body: Value,
    read: impl Fn(&Map<String, Value>) -> Result<New>,
    make: impl Fn(&mut Txn<'_>, &Caller, New) -> Result<Id> + Send + 'static,
    show: impl Fn(&Cloud, Id) -> Option<Value>,
) -> Handled {
    let (one, many) = names;
    let (asked, several) = one_or_many(body, one, many)?;
    let new: Vec<New> = asked.iter().map(read).collect::<Result<_>>()?;
    let make_all = move |txn: &mut Txn<'_>, caller: &Caller| {
        new.into_iter().map(|new| make(txn, caller, new)).collect::<Result<Vec<Id>>>()
    };
    let ids = ctx.commit(&format!("{} create", one.replace('_', " ")), make_all).await?;
    let state = ctx.app.store.state();
    let mut views: Vec<Value> = ids.into_iter().filter_map(|id| show(&state, id)).collect();
    json(201, &if several { json!({ (many): views }) } else { json!({ (one): views.pop() }) })
}

/// A bad request, in Neutron's words.
fn bad(message: &str) -> Error {
    Error::invalid(message.to_owned()).coded("HTTPBadRequest")
}

/// Refuses fields that a resource does not have, or that a client may not set.
fn check_fields(fields: &Map<String, Value>, known: &[&str]) -> Result<()> {
    let unknown: Vec<&str> = fields.keys().map(String::as_str).filter(|k| !known.contains(k)).collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(bad(&format!("Unrecognized attribute(s) '{}'", unknown.join(", "))))
}

/// Reads one field; null is not there.
fn field<T: serde::de::DeserializeOwned>(fields: &Map<String, Value>, name: &str) -> Result<Option<T>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|error| bad(&format!("Invalid input for {name}. Reason: '{value}': {error}."))),
    }
}

/// Reads a text of at most 255 characters.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<String>> {
    let found = field::<String>(fields, name)?;
    if found.as_ref().is_some_and(|t| t.chars().count() > 255) {
        return Err(bad(&format!("Invalid input for {name}. Reason: it exceeds maximum length of 255.")));
    }
    Ok(found)
}

/// Reads a whole number, as old clients send it too: as a text.
fn number<T: TryFrom<i64>>(fields: &Map<String, Value>, name: &str) -> Result<Option<T>> {
    let Some(value) = fields.get(name).filter(|value| !value.is_null()) else { return Ok(None) };
    let number = value.as_i64().or_else(|| value.as_str()?.parse().ok()).and_then(|n| T::try_from(n).ok());
    let refused = || bad(&format!("Invalid input for {name}. Reason: '{value}' is not an integer in range."));
    number.map(Some).ok_or_else(refused)
}

/// Reads a flag, as old clients send it too.
fn flag(fields: &Map<String, Value>, name: &str) -> Result<Option<bool>> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => lenticular_wire::request::lenient_bool(value).map(Some).ok_or_else(|| {
            bad(&format!("Invalid input for {name}. Reason: '{value}' cannot be converted to boolean."))
        }),
    }
}

/// The project that something new is for: the caller's, unless an admin names another.
fn project(fields: &Map<String, Value>, caller: &Caller, action: Action) -> Result<ProjectId> {
    let named = match field::<ProjectId>(fields, "project_id")? {
        Some(id) => Some(id),
        None => field::<ProjectId>(fields, "tenant_id")?,
    };
    match named {
        Some(id) => {
            lenticular_model::policy::check(caller, action, Some(id))?;
            Ok(id)
        }
        None => caller.need_project(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_texts_too() {
        let read =
            |value: Value| number::<u8>(&Map::from_iter([("ip_version".to_owned(), value)]), "ip_version");
        assert_eq!(read(json!(4)).unwrap(), Some(4));
        assert_eq!(read(json!("6")).unwrap(), Some(6));
        assert_eq!(read(json!(null)).unwrap(), None);
        for bad in [json!("four"), json!(256), json!(4.5), json!([4]), json!("")] {
            assert!(read(bad.clone()).unwrap_err().message.contains("ip_version"), "{bad}");
        }
    }
}
